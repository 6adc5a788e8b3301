"""Which activations carry the answer: each one taken from the other prompt, on a schedule, while the model trains."""

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from transformers import GPT2LMHeadModel

from headwatch.interventions.options import Options, Precision
from headwatch.interventions.sites import DIRECTIONS, Direction, SiteName
from headwatch.interventions.spec import make_spec
from headwatch.model.find import find_architecture
from headwatch.model.gpt2 import layout
from headwatch.patching import patch_activations
from headwatch.prompts.pairs import PromptPairs
from headwatch.registry import one_of
from headwatch_callbacks.lightning_trainer.probe_callback import (
    Findings,
    ProbeCallback,
    ProbeOptions,
    summary_of,
)
from headwatch_callbacks.lightning_trainer.progress import PassProgress
from headwatch_callbacks.questions.prompt_source import PromptSource, TaskPairs, Tokenizer


class ActivationPatching(ProbeCallback):
    """Gives each activation its value on the pair's other prompt, by `headwatch.patch_activations`.

    Example:
        >>> probe = ActivationPatching("pairs.jsonl", tokenizer="gpt2", site="resid_pre", by_position=True)
        >>> trainer = L.Trainer(callbacks=[probe])
        >>> trainer.fit(module, data)
        >>> hw.Record.read(record_folder(trainer)).effects[-1].dims
        ('layer', 'position')

    Args:
        pairs: prompt pairs: a JSON Lines file, a task, or the pairs themselves.
        tokenizer: a tokenizer, its name on the Hugging Face hub, or its folder; None where pairs are token ids.
        site: the activation: `z`, `q`, `k`, `v`, `pattern`, `resid_pre`, `resid_mid`, `attn_out`, `mlp_out`, `post`.
        direction: `denoise` puts clean values into the corrupted run, `noise` the other way round.
        by_position: one position at a time rather than all at once; needs prompts of one length.
        metric: the metric that is read.
        neurons: which neurons, for a site with neurons.
        max_tokens_per_batch: tokens of interventions that are under way at once, which bounds the memory; None for
            a default that suits the device.
        precision: `bf16` for a quicker screening in bfloat16, rough by some per cent; None for the training's own.
        **options: when and where; see `ProbeCallback`.

    Raises:
        ValueError: options that contradict each other or can't take effect.
    """

    probe = "patching"

    def __init__(
        self,
        pairs: str | Path | TaskPairs | PromptPairs,
        tokenizer: Tokenizer | None = None,
        site: SiteName = "z",
        direction: Direction = "denoise",
        by_position: bool = False,
        metric: str = "logit_diff",
        neurons: Sequence[int] | None = None,
        max_tokens_per_batch: int | None = None,
        precision: Precision | None = None,
        **options: Unpack[ProbeOptions],
    ) -> None:
        super().__init__(**options)
        self.source = PromptSource(pairs, tokenizer)
        one_of("direction", direction, DIRECTIONS)
        self.site, self.direction, self.by_position = site, direction, by_position
        self.metric, self.neurons = metric, neurons
        self.max_tokens_per_batch, self.precision = max_tokens_per_batch, precision
        self._pairs: PromptPairs | None = None

    @property
    def question(self) -> str:
        """`patching/SITE/DIRECTION/METRIC`, with `by_position` and the precision where that is asked."""
        by_position = "/by_position" if self.by_position else ""
        precision = "" if self.precision is None else f"/{self.precision}"
        return f"patching/{self.site}/{self.direction}/{self.metric}{by_position}{precision}"

    def prepare(self, model: GPT2LMHeadModel) -> None:
        """Read the pairs, and refuse a question that can't be asked of them."""
        self._pairs = self.source.read(layout(model))
        options = Options.of(
            {
                "neurons": self.neurons,
                "by_position": self.by_position,
                "max_tokens_per_batch": self.max_tokens_per_batch,
                "precision": self.precision,
            }
        )
        make_spec(find_architecture(model), self._pairs, self.site, self.direction, self.metric, options)

    def measure(self, model: GPT2LMHeadModel, progress: PassProgress) -> Findings:
        """Patch every activation of the site."""
        assert self._pairs is not None
        effects = patch_activations(
            model,
            self._pairs,
            self.site,
            direction=self.direction,
            by_position=self.by_position,
            metric=self.metric,
            neurons=self.neurons,
            max_tokens_per_batch=self.max_tokens_per_batch,
            precision=self.precision,
            progress=progress,
        )
        return Findings(effects=effects, scalars=summary_of(effects), pairs=self._pairs)
