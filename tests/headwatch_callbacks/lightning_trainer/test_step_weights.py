"""Weights that a callback puts in the place of the step's: the last pass is of what `fit` leaves, and says so."""

from itertools import permutations

import lightning.pytorch as pl
import pytest
from lightning.pytorch.callbacks import EMAWeightAveraging, StochasticWeightAveraging
from torch import nn

import headwatch as hw
from headwatch.record import Record
from headwatch_callbacks import GradientImportance, HeadAblation, record_folder
from headwatch_callbacks.lightning_trainer.step_weights import REPLACED
from tests.headwatch_callbacks.lightning_trainer.fit import fit
from tests.headwatch_callbacks.training import QUIET, Counting, Language, differences, trained
from tests.models import random_pairs, tiny_gpt2

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:.*{text}")
    for text in [*QUIET, "StochasticWeightAveraging", "SWA", "lr_scheduler.step"]
]
PAIRS = random_pairs()
LABEL = "ablation/z/zero/loss"


class Remember(pl.Callback):
    """Keeps the weights of each step."""

    def __init__(self):
        self.weights = []

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.weights.append({name: value.clone() for name, value in pl_module.gpt.state_dict().items()})


class Scale(pl.Callback):
    """Puts other weights into the model, as Lightning's averages do, in the hooks that are named."""

    def __init__(self, **factors):
        for hook, factor in factors.items():
            setattr(self, hook, lambda trainer, module, factor=factor: self.scale(module, factor))

    def scale(self, module, factor):
        for weight in module.gpt.parameters():
            weight.data.mul_(factor)


def effects(model):
    return hw.ablate_heads(model.eval(), PAIRS, kind="zero", metric="loss").mean.numpy()


def probe(**options):
    return HeadAblation(PAIRS, kind="zero", metric="loss", **options)


def left(run, label):
    return [entry for entry in Record.read(record_folder(run)).effects if entry.label == label]


def averaging(kind):
    if kind == "ema":
        return EMAWeightAveraging(decay=0.5)
    return StochasticWeightAveraging(swa_lrs=0.01, swa_epoch_start=1)


@pytest.mark.parametrize("kind", ["ema", "swa"])
@pytest.mark.parametrize("every", [None, 1])
@pytest.mark.parametrize("probe_first", [True, False])
def test_the_last_pass_is_of_the_weights_that_fit_leaves(kind, every, probe_first, tmp_path):
    module, asked, remember = Language(), probe(every_n_train_steps=every), Remember()
    module.norm = nn.Identity()  # for a BatchNorm, Lightning's SWA trains one epoch more, with the averages
    callbacks = [asked, remember, averaging(kind)]
    settings = {"max_epochs": 2, "max_steps": -1}
    run = fit(callbacks if probe_first else callbacks[::-1], tmp_path, module, **settings)
    [last] = left(run, f"{LABEL}/{REPLACED}")
    assert last.step == 11
    assert last.mean == pytest.approx(effects(module.gpt), abs=1e-6)
    assert [entry.step for entry in left(run, LABEL)] == [-1, *(range(12) if every else [])]
    assert any(REPLACED in note.message for note in Record.read(record_folder(run)).notes)
    for entry in left(run, LABEL)[1:]:
        own = tiny_gpt2()
        own.load_state_dict(remember.weights[entry.step])
        assert entry.mean == pytest.approx(effects(own), abs=1e-6)


def test_the_raw_weights_and_the_averages_differ_by_more_than_the_tolerance(tmp_path):
    run = fit([probe(every_n_train_steps=1), EMAWeightAveraging(decay=0.5)], tmp_path)
    raw, averaged = left(run, LABEL)[-1], left(run, f"{LABEL}/{REPLACED}")[-1]
    assert raw.step == averaged.step == 5
    assert abs(raw.mean - averaged.mean).max() > 1e-4


@pytest.mark.parametrize("hook", ["on_train_end", "on_fit_end"])
def test_whatever_hook_changes_the_weights_at_the_end(hook, tmp_path):
    module = Language()
    run = fit([probe(every_n_train_steps=6), Scale(**{hook: 0.5})], tmp_path, module)
    assert [entry.step for entry in left(run, LABEL)] == [-1, 5]
    assert left(run, f"{LABEL}/{REPLACED}")[-1].mean == pytest.approx(effects(module.gpt), abs=1e-6)


def test_where_nothing_changed_the_last_step_is_not_probed_twice(tmp_path):
    asked = Counting(every_n_train_steps=3)
    fit([asked, GradientImportance(every_n_train_steps=3)], tmp_path)
    assert len(asked.weights) == 3  # before training, and after steps 3 and 6


@pytest.mark.parametrize(
    "hooks", [("validation_epoch_start", "validation_epoch_end"), ("validation_start", "validation_end")]
)
def test_a_pass_in_a_validation_with_other_weights_is_filed_as_of_these(hooks, tmp_path):
    start, end = (f"on_{hook}" for hook in hooks)
    for order in permutations(
        [Scale(**{start: 0.5, end: 2.0}), probe(on_validation=True, before_first=False)]
    ):
        run = fit(order, tmp_path / str(id(order)), num_sanity_val_steps=0)
        inside = "epoch" not in start  # still there when a probe is asked
        assert [entry.step for entry in left(run, f"{LABEL}/{REPLACED}")] == ([2, 5] if inside else [])
        assert [entry.step for entry in left(run, LABEL)] == ([5] if inside else [2, 5])


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_averages_are_those_of_a_training_without_probes(kind, tmp_path):
    settings = {"max_epochs": 2, "max_steps": -1}
    without = trained([averaging(kind)], tmp_path / "without", **settings).everything()
    probes = [probe(every_n_train_steps=1), Counting(on_validation=True)]
    assert (
        list(differences(trained([*probes, averaging(kind)], tmp_path, **settings).everything(), without))
        == []
    )
