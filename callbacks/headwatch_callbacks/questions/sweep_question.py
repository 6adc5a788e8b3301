"""What ablation and patching have in common as questions: prompts, metrics, and the options of every sweep."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

from torch import Tensor, nn

from headwatch.cell_names import place_name
from headwatch.effects.measured import MeasuredCells
from headwatch.engine.run_sweep import run_sweep
from headwatch.estimates.allocate import PILOT
from headwatch.estimates.estimate import estimate_heads
from headwatch.estimates.least_budget import least_budget
from headwatch.estimates.target import TargetStderr, check_least
from headwatch.interventions.arguments import heads as heads_of
from headwatch.interventions.arguments import indices
from headwatch.interventions.batch import Sweep
from headwatch.interventions.options import DEFAULTS, Options, SweepSettings
from headwatch.interventions.sites import takes_means
from headwatch.interventions.spec import make_spec
from headwatch.metrics import get_metrics
from headwatch.model.architecture import Architecture, Sizes
from headwatch.prompts.pairs import PromptPairs
from headwatch_callbacks.questions.estimate import Estimate, cannot_be_estimated
from headwatch_callbacks.questions.fewer_pairs import balanced_subset, levels_of
from headwatch_callbacks.questions.pair_shares import join_pairs, shares
from headwatch_callbacks.questions.pass_plan import Plan, Spare
from headwatch_callbacks.questions.prompt_source import PromptSource, TaskPairs, Tokenizer
from headwatch_callbacks.questions.question import Moment, Progress, Question
from headwatch_callbacks.questions.result import ProbeResult

Metrics = str | Sequence[str] | None


class SweepQuestion(Question):
    """Every intervention of a sweep on some prompt pairs, measured by one metric or by several at one sweep's cost.

    Args:
        pairs: prompt pairs: a JSON Lines file, a task, or the pairs themselves.
        tokenizer: a tokenizer, its name on the Hugging Face hub, or its folder; None where pairs are token ids.
        metric: the metric, or several; None for the pairs' own.
        name: what tells this question from another one that asks the same.
        budget: what a pass may cost, as a share of the exact sweep: `headwatch.estimate_heads` answers then.
        target_stderr: the standard error that a pass shall have, likewise; without both, passes are exact.
        **options: those of `SweepOptions` that a file can hold.

    Raises:
        ValueError: an unknown metric, a value that is none for its option, or estimates of what has none.
    """

    def __init__(
        self,
        pairs: str | Path | TaskPairs | PromptPairs,
        tokenizer: Tokenizer | None = None,
        *,
        metric: Metrics = None,
        name: str | None = None,
        budget: float | None = None,
        target_stderr: TargetStderr = None,
        **options: Unpack[SweepSettings],
    ) -> None:
        super().__init__(name)
        self.estimate = Estimate(budget, target_stderr)
        self.source = PromptSource(pairs, tokenizer)
        self.metric = metric
        self._metrics = None if metric is None else tuple(one.name for one in get_metrics(_as_list(metric)))
        self.options: Mapping[str, Any] = dict(options)
        self._checked = Options.of(self.options)
        self.estimate.check(self.site, self._checked)
        self.pairs: PromptPairs | None = None
        self.all_pairs: PromptPairs | None = None  # where only some are asked about
        self.rows: Tensor | None = None  # those of a part of the question

    @property
    @abstractmethod
    def stem(self) -> str:
        """What is asked, whatever the metric: `ablation/z/mean`."""

    @property
    @abstractmethod
    def site(self) -> str:
        """The activation that is replaced."""

    @property
    @abstractmethod
    def replaced_by(self) -> str:
        """The kind of ablation or the direction of patching."""

    @property
    def asked(self) -> str:
        """The stem, the metrics (`own` where the pairs decide), and what narrows the question down."""
        return self._with("own" if self._metrics is None else "+".join(self._metrics))

    def labels(self, sizes: Sizes) -> tuple[str, ...]:
        """One series for each metric."""
        metrics = self._metrics
        if metrics is None:
            pairs = self.source.read(sizes) if self.pairs is None else self.pairs
            metrics = (pairs.metric,)
        return tuple(self._named(self._with(metric)) for metric in metrics)

    def prepare(self, network: Architecture) -> None:
        """Read the pairs, and refuse a question that can't be asked of them."""
        self.pairs = self.source.read(network.sizes)
        sweep = self._sweep(network, self.pairs)
        if self.estimate.wanted:
            least = least_budget(network, self.pairs, sweep, self.replaced_by, self._checked)
            check_least(self.estimate.budget, least, min(PILOT, len(self.pairs)), len(self.pairs))

    def measure(self, model: nn.Module, at: Moment, progress: Progress) -> Sequence[ProbeResult]:
        """One answer a metric."""
        assert self.pairs is not None
        metrics = [self.pairs.metric] if self.metric is None else _as_list(self.metric)
        options = {**self.options, "progress": progress}
        ask = self._ask_estimates if self.estimate.wanted else self._ask
        found = ask(model, self.pairs, metrics, options)
        return [self._answer(metric, effects, at) for metric, effects in found.items()]

    def spare(self, network: Architecture) -> Spare:
        """Exact runs, where heads are asked for, and pairs."""
        assert self.pairs is not None
        levels = levels_of(len(self.pairs))
        if cannot_be_estimated(self.site, self._checked) is not None or levels[-1] <= PILOT:
            return Spare(levels)
        sweep = self._sweep(network, self.pairs)
        least = tuple(
            least_budget(network, balanced_subset(self.pairs, n), sweep, self.replaced_by, self._checked)
            for n in levels
        )
        n_estimates, own = len(sweep.metrics), self.estimate
        whole = n_estimates * (own.budget or 1.0) if own.wanted else 1.0
        return Spare(levels, least, n_estimates, whole)

    def reduced(self, plan: Plan) -> "SweepQuestion":
        """On a fixed subset of the pairs, balanced over tasks, or with fewer exact runs."""
        assert self.pairs is not None
        reduced = copy(self)
        if plan.n_pairs is not None and plan.n_pairs < len(self.pairs):
            reduced.pairs, reduced.all_pairs = balanced_subset(self.pairs, plan.n_pairs), self.pairs
        if plan.budget is not None:
            reduced.estimate = Estimate(plan.budget, self.estimate.target_stderr)
        elif len(reduced.pairs or ()) <= PILOT:
            reduced.estimate = Estimate()
        return reduced

    def parts(self, n_parts: int) -> Sequence["SweepQuestion"]:
        """An exact sweep on some of the pairs each; what is written comes from all pairs in each of them."""
        assert self.pairs is not None
        if self.estimate.wanted:
            return (self,)
        parts = []
        for rows in shares(self.pairs, n_parts):
            part = copy(self)
            part.rows = rows
            parts.append(part)
        return parts

    def joined(self, answers: Sequence[Sequence[ProbeResult]]) -> Sequence[ProbeResult]:
        """Effects on all pairs, in their order."""
        assert self.pairs is not None
        if len(answers) == 1:
            return answers[0]
        rows, found = shares(self.pairs, len(answers)), list[ProbeResult]()
        for of_metric in zip(*answers, strict=True):
            effects = join_pairs([answer.effects for answer in of_metric], rows)
            found.append(self._answer(effects.metric, effects, Moment(of_metric[0].step, of_metric[0].epoch)))
        return found

    def _sweep(self, network: Architecture, pairs: PromptPairs) -> Sweep:
        """The exact sweep that is asked for, or a sentence that says why there is none."""
        metric = None if self.metric is None else _as_list(self.metric)
        return make_spec(network, pairs, self.site, self.replaced_by, metric, self._checked)

    def _ask(
        self, model: nn.Module, pairs: PromptPairs, metrics: list[str], options: dict[str, Any]
    ) -> Mapping[str, MeasuredCells]:
        """Put the question to a model, exactly."""
        asked: Any = {"reference": self.reference, "rows": self.rows}
        found = run_sweep(model, pairs, self.site, self.replaced_by, metrics, options, **asked)
        assert isinstance(found, dict)
        return found

    def _ask_estimates(
        self, model: nn.Module, pairs: PromptPairs, metrics: list[str], options: dict[str, Any]
    ) -> Mapping[str, MeasuredCells]:
        asked: Any = {"kind": self.replaced_by, "site": self.site, **vars(self.estimate), **options}
        return estimate_heads(model, pairs, metric=metrics, reference=self.reference, **asked)

    @property
    def reference(self) -> PromptPairs | None:
        """All pairs, where only some are asked about and means are written: those of a few are another question."""
        return self.all_pairs if takes_means(self.replaced_by) else None

    def _answer(self, metric: str, effects: MeasuredCells, at: Moment) -> ProbeResult:
        return ProbeResult(
            self.probe,
            self._named(self._with(metric)),
            at.step,
            at.epoch,
            effects=effects,
            scalars=summary_of(effects),
            pairs=self.pairs,
        )

    def _with(self, metric: str) -> str:
        """The stem with a metric, and with what makes another question of it."""
        parts = [self.stem, metric, *self._narrowed, self._checked.precision or ""]
        return "/".join(part for part in parts if part)

    @cached_property
    def _narrowed(self) -> tuple[str, ...]:
        """What makes another question of the same stem, each in a few letters."""
        options, parts = self._checked, list[str]()
        for name in ("layers", "heads", "neurons"):
            chosen = getattr(options, name)
            if chosen is not None:
                parts.append(f"{name}_{'+'.join(map(str, indices(name, chosen, 2**31)))}")
        if options.by_position:
            parts.append("by_position")
        if given := heads_of("given", options.given):
            parts.append(f"given_{place_name('set', given)}")
        if options.seed != DEFAULTS["seed"]:
            parts.append(f"seed_{options.seed}")
        return tuple(parts)


def summary_of(effects: MeasuredCells) -> dict[str, float]:
    """The metric on the clean and (if they were run) the corrupted prompts, and the largest effect in size."""
    summary = {"clean": effects.clean.mean().item(), "largest_effect": effects.mean.abs().max().item()}
    if effects.corrupted is not None:
        summary["corrupted"] = effects.corrupted.mean().item()
    return summary


def _as_list(metric: str | Sequence[str]) -> list[str]:
    return [metric] if isinstance(metric, str) else list(metric)
