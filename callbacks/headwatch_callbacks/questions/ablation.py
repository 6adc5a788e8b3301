"""What every head is worth: each one removed in turn, on a schedule, while the model trains."""

from pathlib import Path
from typing import Unpack

from transformers import GPT2LMHeadModel

from headwatch.ablation import ablate_heads
from headwatch.interventions.options import Options, Precision
from headwatch.interventions.sites import ABLATIONS, AblationKind
from headwatch.interventions.spec import make_spec
from headwatch.model.find import find_architecture
from headwatch.model.gpt2 import layout
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


class HeadAblation(ProbeCallback):
    """Removes each head in turn and measures what that does, by `headwatch.ablate_heads`.

    Example:
        >>> probe = HeadAblation("pairs.jsonl", tokenizer="gpt2", kind="mean", metric="loss", every_n_train_steps=100)
        >>> trainer = L.Trainer(callbacks=[probe])
        >>> trainer.fit(module, data)
        >>> hw.Record.read(record_folder(trainer)).effects[-1].label
        'ablation/z/mean/loss'

    Args:
        pairs: prompt pairs: a JSON Lines file, a task, or the pairs themselves. Ablation reads the clean prompts.
        tokenizer: a tokenizer, its name on the Hugging Face hub, or its folder; None where pairs are token ids.
        kind: what replaces the head's z: `zero`, `mean`, `position_mean` or `resample`.
        metric: the metric that is read; its effect's sign is that of the change.
        seed: of `resample`'s permutation.
        max_tokens_per_batch: tokens of interventions that are under way at once, which bounds the memory; None for
            a default that suits the device.
        precision: `bf16` for a quicker screening in bfloat16, rough by some per cent; None for the training's own.
        **options: when and where; see `ProbeCallback`.

    Raises:
        ValueError: options that contradict each other or can't take effect.
    """

    probe = "ablation"

    def __init__(
        self,
        pairs: str | Path | TaskPairs | PromptPairs,
        tokenizer: Tokenizer | None = None,
        kind: AblationKind = "mean",
        metric: str = "loss",
        seed: int = 0,
        max_tokens_per_batch: int | None = None,
        precision: Precision | None = None,
        **options: Unpack[ProbeOptions],
    ) -> None:
        super().__init__(**options)
        self.source = PromptSource(pairs, tokenizer)
        one_of("kind", kind, ABLATIONS)
        self.kind, self.metric, self.seed = kind, metric, seed
        self.max_tokens_per_batch, self.precision = max_tokens_per_batch, precision
        self._pairs: PromptPairs | None = None

    @property
    def question(self) -> str:
        """`ablation/z/KIND/METRIC`, with the precision where one is asked for."""
        precision = "" if self.precision is None else f"/{self.precision}"
        return f"ablation/z/{self.kind}/{self.metric}{precision}"

    def prepare(self, model: GPT2LMHeadModel) -> None:
        """Read the pairs, and refuse a question that can't be asked of them."""
        self._pairs = self.source.read(layout(model))
        options = Options.of({"max_tokens_per_batch": self.max_tokens_per_batch, "precision": self.precision})
        make_spec(find_architecture(model), self._pairs, "z", self.kind, self.metric, options)

    def measure(self, model: GPT2LMHeadModel, progress: PassProgress) -> Findings:
        """Ablate every head."""
        assert self._pairs is not None
        effects = ablate_heads(
            model,
            self._pairs,
            kind=self.kind,
            metric=self.metric,
            max_tokens_per_batch=self.max_tokens_per_batch,
            precision=self.precision,
            seed=self.seed,
            progress=progress,
        )
        return Findings(effects=effects, scalars=summary_of(effects), pairs=self._pairs)
