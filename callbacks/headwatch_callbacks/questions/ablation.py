"""What every head is worth: each one removed in turn."""

from pathlib import Path
from typing import Unpack

from headwatch.estimates.target import TargetStderr
from headwatch.interventions.options import SweepSettings
from headwatch.interventions.sites import ABLATIONS, AblationKind
from headwatch.prompts.pairs import PromptPairs
from headwatch.registry import one_of
from headwatch_callbacks.questions.prompt_source import TaskPairs, Tokenizer
from headwatch_callbacks.questions.question import QUESTIONS
from headwatch_callbacks.questions.sweep_question import Metrics, SweepQuestion


@QUESTIONS.register("ablation")
class Ablation(SweepQuestion):
    """Removes each head in turn, by `headwatch.ablate_heads`; arguments as for `HeadAblation`."""

    probe = "ablation"
    site = "z"
    has_no_use_for = frozenset({"neurons"})

    def __init__(
        self,
        pairs: str | Path | TaskPairs | PromptPairs,
        tokenizer: Tokenizer | None = None,
        *,
        kind: AblationKind = "mean",
        metric: Metrics = None,
        name: str | None = None,
        budget: float | None = None,
        target_stderr: TargetStderr = None,
        **options: Unpack[SweepSettings],
    ) -> None:
        super().__init__(
            pairs,
            tokenizer,
            metric=metric,
            name=name,
            budget=budget,
            target_stderr=target_stderr,
            **options,
        )
        self.kind: AblationKind = kind
        one_of("kind", kind, ABLATIONS)

    @property
    def stem(self) -> str:
        """`ablation/z/KIND`."""
        return f"ablation/z/{self.kind}"

    @property
    def replaced_by(self) -> str:
        """The kind of ablation."""
        return self.kind
