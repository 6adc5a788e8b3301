"""Whether the sweep engine computes what a model's own forward does: checked once per model, on a few tokens."""

import warnings
import weakref
from collections.abc import Hashable

import torch
from torch import Tensor, nn
from transformers import GPT2LMHeadModel

from headwatch.engine.base_run import PlainRun
from headwatch.engine.executor import SweepEngine
from headwatch.engine.one_forward_each import SweepByHooks
from headwatch.engine.propagate import Climb
from headwatch.engine.read_metric import Reader
from headwatch.engine.work_items import jobs_of
from headwatch.interventions.batch import Batch, Sweep, make_batch
from headwatch.interventions.sites import get_site
from headwatch.metrics import get as get_metric
from headwatch.model import gpt2
from headwatch.model.activation_names import parse
from headwatch.model.gpt2 import GPT2Parts
from headwatch.model.hooked_model import HookedGPT2
from headwatch.prompts.pairs import PromptPairs

_CHECKED: weakref.WeakKeyDictionary[nn.Module, tuple[Hashable, str | None]] = weakref.WeakKeyDictionary()


def engine_follows(hooked: HookedGPT2, pairs: PromptPairs) -> bool:
    """Whether the engine may serve a model; warns once with the reason where it may not.

    Checked again when the model's modules, their hooks or its precision have changed.
    """
    model, structure = hooked.model, _structure(hooked.model)
    known = _CHECKED.get(model)
    if known is None or known[0] != structure:
        reason = _why_not(hooked, pairs)
        _CHECKED[model] = (structure, reason)
        if reason is not None:
            warnings.warn(
                f"this model takes one forward per intervention, which is slow: {reason}",
                RuntimeWarning,
                stacklevel=4,
            )
    return _CHECKED[model][1] is None


def neurons_are_known(hooked: HookedGPT2, sweep: Sweep) -> bool:
    """Whether the engine may serve what a sweep does with neurons; warns with the reason where it may not."""
    metric = sweep.metric.activation
    read = metric is not None and parse(metric.name).name in ("pre", "post")
    if not read and sweep.site.unit != "neuron":
        return True
    known = GPT2Parts(hooked.model, hooked.layout).knows_neurons()
    if not known:
        warnings.warn(
            "single neurons take one forward per intervention here, which is slow: an MLP is wrapped or not GPT-2's",
            RuntimeWarning,
            stacklevel=4,
        )
    return known


def _structure(model: GPT2LMHeadModel) -> Hashable:
    """What decides whether the engine follows a model, and changes with it."""
    modules = tuple(
        (type(m), len(m._forward_hooks), len(m._forward_pre_hooks), "forward" in vars(m))
        for m in model.modules()
    )
    return modules, model.dtype, model.device, torch.is_autocast_enabled(model.device.type)


def _why_not(hooked: HookedGPT2, pairs: PromptPairs) -> str | None:
    """A sentence that says where the engine and the model part; None where they agree."""
    length = min(8, int(pairs.position[0]) + 1)
    batch = make_batch(_first_prompt(pairs, length), corrupted=False, clean_logits=None)
    expected = gpt2.logits(hooked.model, batch.ids, None)
    try:
        run = PlainRun.of(GPT2Parts(hooked.model, hooked.layout), batch.ids, answer_only=True)
        logits = run.parts.logits(run.pre[-1])
        if _far(logits, expected):
            return f"its forward computes something else than its modules in GPT-2's order ({_gap(logits, expected)})"
        return _ablation_parts(hooked, run, batch)
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        return f"the engine can't run its modules ({type(error).__name__}: {error})"


def _ablation_parts(hooked: HookedGPT2, run: PlainRun, batch: Batch) -> str | None:
    """A sentence where ablating one head by the engine and by a hook differ."""
    sweep = Sweep(get_site("z"), (0,), (0,), False, get_metric("logit_diff"))
    zero = torch.zeros(1, device=batch.ids.device, dtype=run.pre[0].dtype)
    reader = Reader(run, batch, sweep.metric)
    climb = Climb(run, sweep, reader, lambda layer: zero)
    by_engine = SweepEngine(max_tokens=1024).run(reader, 1, jobs_of(run, batch, sweep, 0), climb)
    by_hook = SweepByHooks(hooked, batch, sweep, {0: zero}).run().flatten(1)
    if _far(by_engine, by_hook):
        return f"ablating a head by a hook does something else than removing its output ({_gap(by_engine, by_hook)})"
    return None


def _first_prompt(pairs: PromptPairs, length: int) -> PromptPairs:
    """The first tokens of the first clean prompt."""
    one = pairs[:1]
    return PromptPairs.from_tokens(one.clean[:, :length], one.clean[:, :length], one.answer, one.foil)


def _far(actual: Tensor, expected: Tensor) -> bool:
    exact = expected.dtype == torch.float32 and not torch.is_autocast_enabled(expected.device.type)
    scale = max(1.0, expected.abs().max().item())
    return not bool((actual - expected).abs().max() <= (1e-4 if exact else 5e-2) * scale)


def _gap(actual: Tensor, expected: Tensor) -> str:
    return f"logits differ by {(actual - expected).abs().max().item():.2g}"
