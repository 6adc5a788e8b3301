"""The questions as Lightning callbacks: what users put into their Trainer."""

from pathlib import Path
from typing import Any, Unpack, get_type_hints

from headwatch.estimates.target import TargetStderr
from headwatch.interventions.options import SweepSettings
from headwatch.interventions.sites import AblationKind, Direction, SiteName
from headwatch.prompts.pairs import PromptPairs
from headwatch.registry import unknown
from headwatch_callbacks.lightning_trainer.options import ProbeOptions
from headwatch_callbacks.lightning_trainer.probe_callback import ProbeCallback
from headwatch_callbacks.questions.ablation import Ablation
from headwatch_callbacks.questions.attention import Attention
from headwatch_callbacks.questions.patching import Patching
from headwatch_callbacks.questions.prompt_source import TaskPairs, Tokenizer


class SweepProbeOptions(SweepSettings, ProbeOptions, total=False):
    """What every sweep may be told, and when and where it is asked."""

    budget: float | None
    target_stderr: TargetStderr


class HeadAblation(ProbeCallback):
    """Removes each head in turn and measures what that does, by `headwatch.ablate_heads`.

    Example:
        >>> probe = HeadAblation("pairs.jsonl", tokenizer="gpt2", kind="mean", metric="loss", every_n_train_steps=100)
        >>> trainer = L.Trainer(callbacks=[probe])
        >>> trainer.fit(module, data)
        >>> hw.Record.read(record_folder(trainer)).effects[-1].label
        'ablation/z/mean/loss'

    Its series is `ablation/z/KIND/METRIC`. Logged under `headwatch/SERIES/`: `map` (a picture), `clean`,
    `largest_effect`, `top_effect`, `top_head`, `importance_entropy`, `effective_heads`, and at the end a table.
    `ModelCheckpoint(monitor="headwatch/SERIES/clean")` and its like see `clean` and `largest_effect`.

    Args:
        pairs: prompt pairs: a JSON Lines file, a task, or the pairs themselves. Ablation reads the clean prompts.
        tokenizer: a tokenizer, its name on the Hugging Face hub, or its folder; None where pairs are token ids.
        kind: what replaces the head's z: `zero`, `mean`, `position_mean` or `resample`.
        metric: the metric that is read, or several, each a series of its own at one sweep's cost; None for the
            pairs' own. An effect's sign is that of the metric's change.
        **options: those of every question (`headwatch.interventions.options.SweepOptions`); `budget` and
            `target_stderr`, with which `headwatch.estimate_heads` answers in the place of the exact sweep; and when
            and where it is asked, see `ProbeCallback`.

    Raises:
        ValueError: options that contradict each other or can't take effect.
    """

    def __init__(
        self,
        pairs: str | Path | TaskPairs | PromptPairs,
        tokenizer: Tokenizer | None = None,
        kind: AblationKind = "mean",
        metric: str | list[str] | None = None,
        **options: Unpack[SweepProbeOptions],
    ) -> None:
        asked, when = _split(options, SweepProbeOptions, "kind", "metric")
        super().__init__(Ablation(pairs, tokenizer, kind=kind, metric=metric, **asked), **when)


class ActivationPatching(ProbeCallback):
    """Gives each activation its value on the pair's other prompt, by `headwatch.patch_activations`.

    Example:
        >>> probe = ActivationPatching("pairs.jsonl", tokenizer="gpt2", site="resid_pre", by_position=True)
        >>> trainer = L.Trainer(callbacks=[probe])
        >>> trainer.fit(module, data)
        >>> hw.Record.read(record_folder(trainer)).effects[-1].dims
        ('layer', 'position')

    Its series is `patching/SITE/DIRECTION/METRIC`; what is logged under it is that of `HeadAblation`, and `corrupted`.

    Args:
        pairs: prompt pairs: a JSON Lines file, a task, or the pairs themselves.
        tokenizer: a tokenizer, its name on the Hugging Face hub, or its folder; None where pairs are token ids.
        site: the activation: `z`, `q`, `k`, `v`, `pattern`, `result`, `resid_pre`, `resid_mid`, `resid_post`,
            `attn_out`, `mlp_out`, `post` or `pre`.
        direction: `denoise` puts clean values into the corrupted run, `noise` the other way round.
        metric: the metric that is read, or several, each a series of its own at one sweep's cost; None for the
            pairs' own.
        **options: those of every question (`headwatch.interventions.options.SweepOptions`); `budget` and
            `target_stderr`, with which `headwatch.estimate_heads` answers in the place of the exact sweep; and when
            and where it is asked, see `ProbeCallback`.

    Raises:
        ValueError: options that contradict each other or can't take effect.
    """

    def __init__(
        self,
        pairs: str | Path | TaskPairs | PromptPairs,
        tokenizer: Tokenizer | None = None,
        site: SiteName = "z",
        direction: Direction = "denoise",
        metric: str | list[str] | None = None,
        **options: Unpack[SweepProbeOptions],
    ) -> None:
        asked, when = _split(options, SweepProbeOptions, "site", "direction", "metric")
        question = Patching(pairs, tokenizer, site=site, direction=direction, metric=metric, **asked)
        super().__init__(question, **when)


class AttentionMaps(ProbeCallback):
    """Attention maps of a few clean prompts, and scores that say which kind of head each one is.

    Example:
        >>> probe = AttentionMaps("pairs.jsonl", tokenizer="gpt2", every_n_epochs=1)
        >>> trainer = L.Trainer(callbacks=[probe])
        >>> trainer.fit(module, data)
        >>> sorted(hw.Record.read(record_folder(trainer)).scores[-1].scores)[:3]
        ['duplicate_token', 'entropy', 'first_token']

    Previous-token, duplicate-token and induction scores are read on random repeated tokens, entropy, attention to
    the first token and the largest weight on all clean prompts; see `headwatch.head_scores`.

    Its series is `patterns`. Logged under `headwatch/patterns/`: a `map` a score, `attention` (a mosaic of the maps of
    one prompt), `largest_previous_token`, `largest_duplicate_token`, `largest_induction`.

    Args:
        pairs: prompt pairs: a JSON Lines file, a task, or the pairs themselves.
        tokenizer: a tokenizer, its name on the Hugging Face hub, or its folder; None where pairs are token ids.
        n_maps: how many maps of a head are kept at each pass: those of the first so many clean prompts.
        seed: of the random repeated tokens.
        **options: when and where; see `ProbeCallback`.

    Raises:
        ValueError: options that contradict each other or can't take effect.
    """

    def __init__(
        self,
        pairs: str | Path | TaskPairs | PromptPairs,
        tokenizer: Tokenizer | None = None,
        n_maps: int = 4,
        seed: int = 0,
        **options: Unpack[ProbeOptions],
    ) -> None:
        asked, when = _split(options, ProbeOptions, "n_maps", "seed")
        super().__init__(Attention(pairs, tokenizer, n_maps=n_maps, seed=seed, **asked), **when)


def _split(options: Any, known: type, *own_names: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is told the question, and what its callback.

    Raises:
        TypeError: there is no such option.
    """
    names = (*own_names, *get_type_hints(known))
    for name in options:
        if name not in names:
            raise TypeError(str(unknown("option", name, names)))
    own = {*get_type_hints(SweepSettings), "name", "budget", "target_stderr"}
    asked = {name: value for name, value in options.items() if name in own}
    return asked, {name: value for name, value in options.items() if name not in own}
