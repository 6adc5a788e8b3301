"""Which activations carry the answer: each one taken from the other prompt."""

from pathlib import Path
from typing import Unpack

from headwatch.estimates.target import TargetStderr
from headwatch.interventions.options import SweepSettings
from headwatch.interventions.sites import DIRECTIONS, Direction, SiteName, get_site
from headwatch.prompts.pairs import PromptPairs
from headwatch.registry import one_of
from headwatch_callbacks.questions.prompt_source import TaskPairs, Tokenizer
from headwatch_callbacks.questions.question import QUESTIONS
from headwatch_callbacks.questions.sweep_question import Metrics, SweepQuestion


@QUESTIONS.register("patching")
class Patching(SweepQuestion):
    """Patches each activation of a site, by `headwatch.patch_activations`; arguments as for `ActivationPatching`."""

    probe = "patching"
    has_no_use_for = frozenset({"seed"})

    def __init__(
        self,
        pairs: str | Path | TaskPairs | PromptPairs,
        tokenizer: Tokenizer | None = None,
        *,
        site: SiteName = "z",
        direction: Direction = "denoise",
        metric: Metrics = None,
        name: str | None = None,
        budget: float | None = None,
        target_stderr: TargetStderr = None,
        **options: Unpack[SweepSettings],
    ) -> None:
        get_site(site)
        one_of("direction", direction, DIRECTIONS)
        self._site: SiteName = site
        self.direction: Direction = direction
        super().__init__(
            pairs,
            tokenizer,
            metric=metric,
            name=name,
            budget=budget,
            target_stderr=target_stderr,
            **options,
        )

    @property
    def stem(self) -> str:
        """`patching/SITE/DIRECTION`."""
        return f"patching/{self._site}/{self.direction}"

    @property
    def site(self) -> str:
        """The activation that is replaced."""
        return self._site

    @property
    def replaced_by(self) -> str:
        """The direction of patching."""
        return self.direction
