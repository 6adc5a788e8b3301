"""A probe leaves no trace: the check, what makes it fail, and every callback in every kind of run."""

import random

import lightning.pytorch as pl
import numpy as np
import pytest
import torch

from headwatch_callbacks import ActivationPatching, AttentionMaps, GradientImportance, HeadAblation
from tests.headwatch_callbacks.training import (
    QUIET,
    Counting,
    CountingQuestion,
    Language,
    batches,
    differences,
    trained,
)
from tests.models import random_pairs

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in QUIET]

RUNS = {
    "fp32": {},
    "bf16-mixed": {"precision": "bf16-mixed"},
    "bf16-true": {"precision": "bf16-true"},
    "accumulation": {"accumulate_grad_batches": 2, "max_steps": 3},
    "clipping": {"gradient_clip_val": 0.1},
}


@pytest.fixture(scope="module", params=list(RUNS))
def run(request, tmp_path_factory):
    """The settings of a run, and its trace without any probe."""
    settings = RUNS[request.param]
    return settings, trained([], tmp_path_factory.mktemp("without"), **settings).everything()


class CarelessQuestion(CountingQuestion):
    """One that does in its pass whatever it can do wrong there."""

    def measure(self, model, at, progress):
        torch.rand(3)
        np.random.rand(3)
        random.random()
        torch.randperm(7)
        next(iter(batches(2)))
        model.train()
        assert not torch.is_grad_enabled()
        model(torch.arange(12).view(2, 6))
        model.eval()
        return super().measure(model, at, progress)


class FailingQuestion(CarelessQuestion):
    """One that also raises after that."""

    def measure(self, model, at, progress):
        super().measure(model, at, progress)
        raise RuntimeError("out of luck")


class Careless(Counting):
    kind = CarelessQuestion


class Failing(Counting):
    kind = FailingQuestion


def test_a_careless_probe_changes_nothing(run, tmp_path):
    settings, without = run
    probe = Careless(every_n_train_steps=1)
    found = trained([probe], tmp_path, **settings).everything()
    assert len(probe.weights) > 3
    assert list(differences(found, without)) == []


@pytest.mark.filterwarnings("ignore:.*the probe counting failed")
def test_a_failing_probe_changes_nothing(run, tmp_path):
    settings, without = run
    found = trained([Failing(every_n_train_steps=1)], tmp_path, **settings).everything()
    assert list(differences(found, without)) == []


class Mistake(pl.Callback):
    """Does something after every batch, as a probe without protection would."""

    def __init__(self, what):
        self.what = what

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        with torch.no_grad():
            self.what(pl_module, batch)


def _train_mode(module, batch):
    module.gpt(**batch)


def _batch_norm_in_train_mode(module, batch):
    states = torch.get_rng_state()
    module.norm(torch.ones(3, 4))
    torch.set_rng_state(states)


def _eval_then_train(module, batch):
    module.eval()
    module.train()


def _not_restored(module, batch):
    module.gpt.eval()


def _torch_rng(module, batch):
    torch.randperm(3)


def _data_loader(module, batch):
    iter(batches(1))


def _numpy_rng(module, batch):
    np.random.rand()


def _python_rng(module, batch):
    random.random()


def _backward(module, batch):
    module.eval()
    with torch.enable_grad():
        module.gpt(**batch).loss.backward()
    module.train()
    module.frozen.eval()


def _eager(module, batch):
    module.gpt.set_attn_implementation("eager")


def _hook_left(module, batch):
    projection = module.gpt.transformer.h[0].attn.c_proj
    projection.register_forward_pre_hook(lambda _, args: (args[0] * (1 + 1e-5),))


MISTAKES = [
    _train_mode,
    _batch_norm_in_train_mode,
    _eval_then_train,
    _not_restored,
    _torch_rng,
    _data_loader,
    _numpy_rng,
    _python_rng,
    _backward,
    _eager,
    _hook_left,
]


@pytest.fixture(scope="module")
def accumulating(tmp_path_factory):
    return trained([], tmp_path_factory.mktemp("without"), **RUNS["accumulation"]).everything()


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_check_sees_each_mistake(mistake, accumulating, tmp_path):
    found = trained([Mistake(mistake)], tmp_path, **RUNS["accumulation"]).everything()
    assert list(differences(found, accumulating)) != []


def test_the_check_sees_nothing_where_nothing_was_done(accumulating, tmp_path):
    found = trained([Mistake(lambda *_: None)], tmp_path, **RUNS["accumulation"]).everything()
    assert list(differences(found, accumulating)) == []


def test_the_run_has_what_tends_to_break():
    module = Language()
    assert not module.frozen.training
    assert module.norm.training
    assert module.gpt.training
    assert module.gpt.config._attn_implementation == "sdpa"


PROBES = {
    "ablation": lambda: HeadAblation(random_pairs(), kind="resample", every_n_train_steps=1),
    "patching": lambda: ActivationPatching(random_pairs(), site="q", every_n_train_steps=1),
    "patterns": lambda: AttentionMaps(random_pairs(), every_n_train_steps=2),
    "gradients": lambda: GradientImportance(every_n_train_steps=2),
}


@pytest.mark.parametrize("probe", [*PROBES, "all"])
def test_no_callback_changes_one_bit(probe, run, tmp_path):
    settings, without = run
    probes = [make() for name, make in PROBES.items() if probe in (name, "all")]
    found = trained(probes, tmp_path, **settings).everything()
    # beartype, which tests run under, draws from Python's own random states inside the listening hooks.
    listens = probe in ("gradients", "all")
    changed = [path for path in differences(found, without) if not (listens and path.startswith("/rng/2"))]
    assert changed == []
    assert all(each.seconds > 0 for each in probes)


class Counted(Language):
    """A run whose user counts forwards with hooks: in place, into a new tensor, into a number, and elsewhere."""

    def __init__(self):
        super().__init__()
        self.gpt.register_buffer("calls", torch.tensor(0))
        self.register_buffer("lately", torch.tensor(0), persistent=False)
        self.number, self.elsewhere = 0, []
        self.gpt.transformer.h[0].attn.register_forward_pre_hook(self.count)
        self.gpt.transformer.h[2].mlp.register_forward_hook(self.count)

    def count(self, *_):
        self.gpt.calls += 1
        self.lately = self.lately + 1
        self.number += 1
        self.elsewhere.append(self.gpt.training)

    def counts(self):
        return [int(self.gpt.calls), int(self.lately), self.number]


def test_hooks_that_count_see_the_training_only(tmp_path):
    plain, probed = Counted(), Counted()
    trained([], tmp_path / "without", plain)
    trained([make() for make in PROBES.values()], tmp_path / "with", probed)
    assert plain.counts() == [len(plain.elsewhere)] * 3
    assert probed.counts() == plain.counts()
    # What a hook keeps outside of the modules can't be put back, but it can tell a pass by the mode.
    assert len(probed.elsewhere) > len(plain.elsewhere)
    assert sum(probed.elsewhere) == sum(plain.elsewhere)
