"""Whether the sweep engine computes what a model's own forward does: found out anew for every question.

The engine calls a model's modules in GPT-2's order; a user's own forward may do something else. So before a sweep,
some of its own prompts and interventions run both ways: the longest prompts, at every position that is read; the
first token of as many prompts as one forward would take; and a few of the question's interventions, with hooks.
Nothing is remembered from one question to the next, since nothing about a module says that its arithmetic has
changed. Cost: about six forwards of one prompt, 1.5 % of ablating all heads of GPT-2 small on 64 pairs of 15 tokens.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from headwatch.engine.base_run import BaseRun
from headwatch.engine.executor import out_of_memory
from headwatch.engine.experiment import SweepResult
from headwatch.engine.one_forward_each import Forward
from headwatch.engine.rounding import allowed_gap, gap, largest
from headwatch.interventions.batch import Sweep
from headwatch.metrics import get_metric
from headwatch.model.activation_names import act_name, parse
from headwatch.model.hooked_model import HookedModel
from headwatch.prompts.pairs import PromptPairs
from headwatch.warn import warn_user

_SETS, _UNITS, _FIRST_TOKENS = 2, 4, 1
_RUNS = {
    "clean": "on the clean prompt",
    "corrupted": "on the corrupted prompt",
    "given": "with the given heads replaced",
}
_FAILURES = (AttributeError, IndexError, RuntimeError, TypeError, ValueError)

Item = TypeVar("Item")


Ask = Callable[[Sweep, Int[Tensor, " some"]], SweepResult]
AskKnowing = Callable[[Sweep, Int[Tensor, " some"], Forward], SweepResult]


@dataclass(frozen=True)
class Trial:
    """A question that can be answered both ways on a few pairs.

    Attributes:
        hooked: the model.
        pairs: the question's pairs, on the model's device.
        sweep: the question.
        lengths: how many tokens of each prompt the engine runs, `[pair]`.
        both: whether corrupted prompts are run as well as clean ones.
        batch_size: how many prompts one forward takes.
        by_engine: answers a sweep on some pairs by the engine.
        by_hooks: answers it by the model's own forward; its third argument runs prompts without an intervention.
    """

    hooked: HookedModel
    pairs: PromptPairs
    sweep: Sweep
    lengths: Int[Tensor, " pair"]
    both: bool
    batch_size: int
    by_engine: Ask
    by_hooks: AskKnowing


def engine_matches_model(trial: Trial, *, required: bool = False) -> bool:
    """Whether the engine may answer a question; warns where it may not.

    Args:
        trial: the question.
        required: raise an error in place of the warning.

    Raises:
        RuntimeError: the engine is required and can't serve the model.
    """
    reason = first_mismatch(trial)
    if reason is None:
        return True
    broken = _weight_that_is_not_finite(trial.hooked.model)
    if broken is not None:  # by which kernels a NaN is lost or kept says nothing about the engine
        warn_user(f"effects may not be finite, since the model's weights are not: {broken}")
        return True
    if required:
        raise RuntimeError(f"engine='exact' can't serve this model: {reason}; engine='auto' takes hooks")
    warn_user(f"this model takes one forward per intervention, which is slow: {reason}")
    return False


def _weight_that_is_not_finite(model: nn.Module) -> str | None:
    """The name of the first of them; None where all are finite."""
    return next((name for name, weight in model.named_parameters() if not weight.isfinite().all()), None)


def first_mismatch(trial: Trial) -> str | None:
    """A sentence that says where the engine and the model part and by how much; None where they agree."""
    if not _neurons_are_known(trial):
        return "an MLP is wrapped or not GPT-2's, so that its neurons are unknown"
    asked = _some_of(trial)
    known = _known_runs(trial, asked)
    try:
        runs = _base_runs(trial, known.prompts)
        ours = [run.network.logits(run.pre[-1][place]) for run, place in runs]
    except _FAILURES as error:
        return _failure(error)
    return (
        _logits_differ(trial, known, runs, ours)
        or _first_tokens_differ(trial, ours[0])
        or _interventions_differ(trial, asked, known)
    )


@dataclass(frozen=True)
class _Prompts:
    """Some prompts as the model's own forward takes them, and how many tokens of each the engine runs."""

    ids: Int[Tensor, "prompt pos"]
    mask: Int[Tensor, "prompt pos"]
    lengths: list[int]


@dataclass(frozen=True)
class _KnownRuns:
    """Some prompts, run by the model's own forward without an intervention.

    Attributes:
        prompts: the prompts.
        logits: `[prompt, pos, vocab]`.
        cache: what the question reads and writes, by full name.
    """

    prompts: _Prompts
    logits: Float[Tensor, "prompt pos vocab"]
    cache: Mapping[str, Tensor]

    def forward(self, ids: Tensor, mask: Tensor, names: Sequence[str]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The logits and activations of one of the prompts."""
        row = int((self.prompts.ids == ids).all(1).int().argmax())
        return self.logits[[row]], {name: self.cache[name][[row]] for name in names}


def _known_runs(trial: Trial, asked: Sweep) -> _KnownRuns:
    """The model's own run of the prompts, with what the question's hooks will need of it."""
    prompts, activation = _prompts(trial), asked.activation
    names = [asked.site.at(layer) for layer in asked.written] if trial.both else []
    if activation is not None:
        names.append(activation.name)
    logits, cache = trial.hooked.run_with_cache(prompts.ids, prompts.mask, names)
    return _KnownRuns(prompts, logits, cache)


def _prompts(trial: Trial) -> _Prompts:
    """The longest pair's clean prompt, its corrupted one where that is run, and the shortest, padded."""
    order, lengths = _longest_first(trial), trial.lengths.tolist()
    longest, shortest = int(order[0]), int(order[-1])
    rows, ids = [longest], [trial.pairs.clean[longest]]
    if trial.both:
        rows, ids = [longest, longest], [*ids, trial.pairs.corrupted[longest]]
    if longest != shortest and not (trial.both and lengths[longest] == lengths[shortest]):
        rows, ids = [*rows, shortest], [*ids, trial.pairs.clean[shortest]]
    return _Prompts(torch.stack(ids), trial.pairs.attention_mask[rows], [lengths[row] for row in rows])


def _longest_first(trial: Trial) -> Int[Tensor, " pair"]:
    return trial.lengths.argsort(descending=True, stable=True).cpu()


def _base_runs(trial: Trial, prompts: _Prompts) -> list[tuple[BaseRun, int]]:
    """For each prompt, the engine's run of those of its length, without padding, and its place in it."""
    found: dict[int, tuple[BaseRun, int]] = {}
    for length in dict.fromkeys(prompts.lengths):
        rows = [row for row, other in enumerate(prompts.lengths) if other == length]
        run = BaseRun.of(trial.hooked.architecture, prompts.ids[rows, :length], answer_only=False)
        found |= {row: (run, place) for place, row in enumerate(rows)}
    return [found[row] for row in range(len(prompts.lengths))]


def _logits_differ(
    trial: Trial, known: _KnownRuns, runs: Sequence[tuple[BaseRun, int]], ours: Sequence[Tensor]
) -> str | None:
    """A sentence where the logits differ at some position of a prompt."""
    logits = known.logits
    allowed = allowed_gap(trial.hooked.model) * largest(logits)
    for row, ((run, place), own) in enumerate(zip(runs, ours, strict=True)):
        by_position = gap(own, logits[row, : run.length]).amax(-1)
        if by_position.max() > allowed:
            return (
                "its forward computes something else than its modules in GPT-2's order: logits differ by "
                f"{by_position.max().item():.2g} at position {int(by_position.argmax())} of a prompt of {run.length} "
                f"tokens, where the largest is {largest(logits):.2g}"
                + _layer_that_differs(trial, known.prompts, row, run, place)
            )
    return None


def _layer_that_differs(trial: Trial, prompts: _Prompts, row: int, run: BaseRun, place: int) -> str:
    """The first layer after which the stream differs, in words; nothing where hooks can't tell."""
    names = [act_name("resid_post", layer) for layer in range(trial.hooked.sizes.n_layers)]
    try:
        _, cache = trial.hooked.run_with_cache(prompts.ids, prompts.mask, names)
    except RuntimeError:
        return ""
    for layer, name in enumerate(names):
        theirs = cache[name][row, : run.length]
        if gap(run.pre[layer + 1][place], theirs).max() > allowed_gap(trial.hooked.model) * largest(theirs):
            return f" (the streams part in layer {layer})"
    return " (the streams are the same after all layers)"


def _first_tokens_differ(trial: Trial, ours: Float[Tensor, "pos vocab"]) -> str | None:
    """A sentence where the first prompt's logits are others in a batch of the size that hooks would take."""
    rows = _longest_first(trial)[: trial.batch_size]
    ids, mask = (value[rows, :_FIRST_TOKENS] for value in (trial.pairs.clean, trial.pairs.attention_mask))
    logits, _ = trial.hooked.run_with_cache(ids, mask, [])
    differs = gap(ours[: ids.shape[1]], logits[0, : len(ours)]).max()
    if differs <= allowed_gap(trial.hooked.model) * largest(logits):
        return None
    return (
        f"its forward computes something else in a batch of {len(rows)} prompts than for each alone: logits differ "
        f"by {differs.item():.2g}, where the largest is {largest(logits):.2g}"
    )


def _interventions_differ(trial: Trial, some: Sweep, known: _KnownRuns) -> str | None:
    """A sentence where the metric, or what some interventions do to it, is another one with hooks."""
    rows = _longest_first(trial)[:1]
    scale = largest(known.logits if some.activation is None else known.cache[some.activation.name])
    try:
        engine = trial.by_engine(some, rows)
    except _FAILURES as error:
        return _failure(error)
    if some.units is not None:
        unit = _strongest(engine.effects)
        some = replace(some, units=(some.units[unit],))
        engine = engine._replace(effects=engine.effects[:, :, :, [unit]])
    hooks = trial.by_hooks(some, rows, known.forward)
    for number, metric in enumerate(some.metrics):
        one, other = engine.of_metric(number), hooks.of_metric(number)
        # Two logits may be wrong the other way about.
        allowed = 2 * allowed_gap(trial.hooked.model) * max(scale, largest(other.clean))
        if differs := _results_differ(some, one, other, allowed):
            return f"{metric.name} {differs}"
    return None


def _results_differ(sweep: Sweep, engine: SweepResult, hooks: SweepResult, allowed: float) -> str | None:
    """The words after a metric's name where it differs by more than it may."""
    for run, where in _RUNS.items():
        one, other = getattr(engine, run), getattr(hooks, run)
        if one is not None and gap(one, other).max() > allowed:
            return f"{where} is {_both(one, other)}"
    apart = gap(engine.effects, hooks.effects)
    if apart.max() <= allowed:
        return None
    at = int(apart.argmax())
    effects = _both(engine.effects.flatten()[at], hooks.effects.flatten()[at])
    return f"changes by {effects} on {_name_of(sweep, apart.shape, at)}"


def _both(engine: Tensor, hooks: Tensor) -> str:
    return f"{engine.item():.4g} by the engine and {hooks.item():.4g} by the model's own forward"


def _some_positions(trial: Trial) -> tuple[int, ...]:
    """The first position of the longest pair that can change, the last one that is read, and one between."""
    row = int(_longest_first(trial)[0])
    last = int(trial.lengths[row]) - 1
    first = min(int(trial.pairs.first_difference[row]), last) if trial.both else 0
    return tuple(sorted({first, (first + last) // 2, last}))


def _some_of(trial: Trial) -> Sweep:
    """The sweep with a few of its interventions, those in the lowest layer among them."""
    sweep = trial.sweep
    if sweep.metric.activation is None:
        # Accuracy jumps where two logits are equal, and a probability near 0 or 1 hides what moves its logits.
        smooth = tuple(metric for metric in sweep.metrics if metric.name != "accuracy")
        known = any(metric.name == "loss" for metric in smooth)
        sweep = replace(sweep, metrics=smooth if known else (*smooth, get_metric("loss")))
    if sweep.sets is not None:
        return replace(sweep, sets=_spread(sweep.sets, _SETS))
    units = None if sweep.units is None else _spread(sweep.units, _UNITS)
    lowest = (min(sweep.layers),)
    positions = _some_positions(trial) if sweep.by_position else None
    return replace(sweep, layers=lowest, units=units, positions=positions)


def _spread(items: Sequence[Item], count: int) -> tuple[Item, ...]:
    """Some items at equal distances, the first and the one in the middle if there are two."""
    count = min(count, len(items))
    return tuple(items[len(items) * number // count] for number in range(count))


def _strongest(effects: Float[Tensor, "metric pair layer unit *position"]) -> int:
    """The unit with the largest effects."""
    return int(effects.abs().nan_to_num(0).movedim(3, 0).flatten(1).sum(1).argmax())


def _name_of(sweep: Sweep, shape: torch.Size, index: int) -> str:
    """An intervention in words, by its place in `[pair, *dims]`."""
    place = [int(number) for number in torch.unravel_index(torch.tensor(index), shape)][1:]
    if sweep.sets is not None:
        return f"replacing {sweep.site.name} of the heads {list(sweep.sets[place[0]])}"
    words = [f"in layer {sweep.layers[place[0]]}"]
    if sweep.units is not None:
        words.insert(0, f"of {sweep.site.unit} {sweep.units[place[1]]}")
    if sweep.positions is not None:
        words.append(f"at position {sweep.positions[place[-1]]}")
    return " ".join(["replacing", sweep.site.name, *words])


def _failure(error: Exception) -> str:
    """A sentence for an error that the engine met; running out of memory is none of the model's."""
    if isinstance(error, RuntimeError) and out_of_memory(error):
        raise error
    return f"the engine can't run its modules ({type(error).__name__}: {error})"


def _neurons_are_known(trial: Trial) -> bool:
    """Whether the engine can tell the neurons with which the question deals, if it does."""
    metric = trial.sweep.metric.activation
    read = metric is not None and parse(metric.name).name in ("pre", "post")
    if not read and trial.sweep.site.unit != "neuron":
        return True
    return trial.hooked.architecture.knows_neurons()
