"""What every head attends to."""

from collections.abc import Sequence
from copy import copy
from pathlib import Path

from torch import Tensor, nn

from headwatch.interventions.arguments import whole_number
from headwatch.model.architecture import Architecture
from headwatch.prompts.pairs import PromptPairs
from headwatch.scores.attention_patterns import attention_patterns, head_scores
from headwatch_callbacks.questions.fewer_pairs import balanced_subset, levels_of
from headwatch_callbacks.questions.pass_plan import Plan, Spare
from headwatch_callbacks.questions.prompt_source import PromptSource, TaskPairs, Tokenizer
from headwatch_callbacks.questions.question import QUESTIONS, Moment, Progress, Question
from headwatch_callbacks.questions.result import AttentionFrame, ProbeResult


@QUESTIONS.register("patterns")
class Attention(Question):
    """Attention maps of a few clean prompts, and scores of every head; arguments as for `AttentionMaps`."""

    probe = "patterns"
    asked = "patterns"
    has_no_use_for = frozenset({"seed"})  # of evaluations, whose seed is that of resampling

    def __init__(
        self,
        pairs: str | Path | TaskPairs | PromptPairs,
        tokenizer: Tokenizer | None = None,
        *,
        n_maps: int = 4,
        seed: int = 0,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.source = PromptSource(pairs, tokenizer)
        self.n_maps, self.seed = whole_number("n_maps", n_maps, at_least=1), seed
        self.pairs: PromptPairs | None = None
        self.scored: PromptPairs | None = None

    def prepare(self, network: Architecture) -> None:
        """Read the pairs."""
        self.pairs = self.scored = self.source.read(network.sizes).to(network.device)

    def spare(self, network: Architecture) -> Spare:
        """Pairs, for the scores; the maps are always those of the same prompts."""
        assert self.pairs is not None
        return Spare(levels_of(len(self.pairs)))

    def reduced(self, plan: Plan) -> "Attention":
        """Scores on a fixed subset of the pairs."""
        assert self.pairs is not None
        reduced = copy(self)
        if plan.n_pairs is not None and plan.n_pairs < len(self.pairs):
            reduced.scored = balanced_subset(self.pairs, plan.n_pairs)
        return reduced

    def measure(self, model: nn.Module, at: Moment, progress: Progress) -> Sequence[ProbeResult]:
        """Look at every head."""
        assert self.pairs is not None
        assert self.scored is not None
        shown = self.pairs[: self.n_maps]
        maps = attention_patterns(model, shown.clean, shown.attention_mask)
        found = head_scores(model, self.scored.clean, self.scored.attention_mask, seed=self.seed)
        scores = {name: score.cpu() for name, score in found.as_dict().items()}
        answer = ProbeResult(
            self.probe,
            self.identity,
            at.step,
            at.epoch,
            scores=scores,
            frame=AttentionFrame(maps.float().cpu(), shown.tokens),
            scalars=_largest(scores),
            pairs=self.scored,
        )
        return [answer]


def _largest(scores: dict[str, Tensor]) -> dict[str, float]:
    """The score of the head that is most of each kind; NaN where any is no number."""
    kinds = ("previous_token", "duplicate_token", "induction")
    return {f"largest_{kind}": scores[kind].max().item() for kind in kinds}
