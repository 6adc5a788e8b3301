"""EarlyStopping and ModelCheckpoint on what probes find: neither a missing value nor an old one ends a training."""

import math
import warnings

import lightning.pytorch as pl
import pytest
import pytorch_lightning
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from tests.headwatch_callbacks.lightning_trainer.fit import fit
from tests.headwatch_callbacks.training import (
    QUIET,
    Counting,
    CountingQuestion,
    PytorchLightningLanguage,
    batches,
)

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in QUIET]
KEY = "headwatch/counting/calls"  # which grows with each pass: never an improvement where mode="min"
EPOCHS = {"max_steps": -1, "max_epochs": 4, "num_sanity_val_steps": 0}


class FailsAtFirst(CountingQuestion):
    """Fails in its first passes, and never where it is of no use."""

    def measure(self, model, at, progress):
        answers = super().measure(model, at, progress)
        if len(self.weights) <= 3:
            raise RuntimeError("no such luck")
        return answers


class Unlucky(Counting):
    kind = FailsAtFirst


def stopping(**options):
    return EarlyStopping(KEY, **{"patience": 1, "mode": "min"} | options)


WHEN = [{"check_on_train_epoch_end": True}, {"check_on_train_epoch_end": False}]


@pytest.mark.parametrize("when", WHEN, ids=["epoch", "validation"])
@pytest.mark.parametrize("probe_first", [True, False])
def test_a_probe_that_has_not_run_yet_ends_no_training(when, probe_first, tmp_path):
    callbacks = [Counting(before_first=False), stopping(**when)]
    with pytest.warns(UserWarning, match="EarlyStopping.*finds no new value") as told:
        run = fit(callbacks if probe_first else callbacks[::-1], tmp_path, val_check_interval=1.0, **EPOCHS)
    assert run.global_step == 24
    assert len([each for each in told if "finds no new" in str(each.message)]) == 1
    assert callbacks[1].strict  # as the user has made it


@pytest.mark.parametrize("when", WHEN, ids=["epoch", "validation"])
def test_a_probe_that_fails_ends_no_training(when, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stop = stopping(mode="max", **when)
        run = fit(
            [Unlucky(every_n_epochs=1, before_first=False), stop], tmp_path, val_check_interval=1.0, **EPOCHS
        )
    assert run.global_step == 24
    # With a validation, values are looked at before the epoch's own pass: the fourth was never seen.
    assert stop.best_score.item() == (4 if when["check_on_train_epoch_end"] else -math.inf)


@pytest.mark.parametrize("when", WHEN, ids=["epoch", "validation"])
def test_an_old_value_is_not_counted_as_no_improvement(when, tmp_path):
    stop = stopping(**when)
    with pytest.warns(UserWarning, match="finds no new value"):
        run = fit([Counting(), stop], tmp_path, val_check_interval=1.0, **EPOCHS)
    assert run.global_step == 24
    assert stop.wait_count == 0
    assert stop.best_score.item() == 1


def test_a_new_value_is_counted(tmp_path):
    stop = stopping(patience=2)
    run = fit([Counting(every_n_epochs=1), stop], tmp_path, val_check_interval=1.0, **EPOCHS)
    # 1 was found before training and 2 after the first epoch, which is looked at first: 3 and 4 are no improvement.
    assert run.global_step == 18
    assert stop.best_score.item() == 2


def test_a_model_that_has_diverged_still_ends_it(tmp_path):
    class Diverged(CountingQuestion):
        def measure(self, model, at, progress):
            [answer] = super().measure(model, at, progress)
            answer.scalars["calls"] = math.nan
            return [answer]

    class Probe(Counting):
        kind = Diverged

    run = fit([Probe(every_n_epochs=1), stopping()], tmp_path, val_check_interval=1.0, **EPOCHS)
    assert run.global_step == 6


@pytest.mark.parametrize("when", WHEN, ids=["epoch", "validation"])
def test_both_can_monitor_one_value(when, tmp_path):
    keep = ModelCheckpoint(tmp_path / "kept", monitor=KEY, mode="max", save_top_k=1)
    probes = [Counting(every_n_epochs=2, before_first=False), stopping(patience=5, **when), keep]
    with pytest.warns(UserWarning, match="finds no new value"):
        run = fit(probes, tmp_path, val_check_interval=1.0, enable_checkpointing=True, **EPOCHS)
    assert run.global_step == 24
    assert keep.best_model_score.item() == (2 if keep._should_save_on_train_epoch_end(run) else 1)
    assert run.checkpoint_callback is keep


def test_a_monitored_value_is_nan_from_the_start_and_after_a_failure(tmp_path):
    class See(pl.Callback):
        def __init__(self):
            self.monitor, self.seen = KEY, []

        def on_train_batch_end(self, trainer, *_):
            self.seen.append(trainer.callback_metrics[KEY].item())

    class FailsInBetween(CountingQuestion):
        def measure(self, model, at, progress):
            answers = super().measure(model, at, progress)
            if len(self.weights) == 3:
                raise RuntimeError("no such luck")
            return answers

    class Probe(Counting):
        kind = FailsInBetween

    see = See()
    with pytest.warns(UserWarning, match="no such luck"):
        fit([see, Probe(every_n_train_steps=1, before_first=False)], tmp_path)
    # Other callbacks come first: they see what the pass after the step before has found.
    assert see.seen == pytest.approx([math.nan, 1, 2, math.nan, 4, 5], nan_ok=True)


def test_a_name_that_the_probe_does_not_have_is_told(tmp_path):
    keep = ModelCheckpoint(tmp_path / "kept", monitor="headwatch/counting/cals")
    with pytest.warns(
        UserWarning, match="'headwatch/counting/cals' is monitored and stays NaN.*has only calls"
    ):
        fit([Counting(), keep], tmp_path, enable_checkpointing=True)


def test_a_probe_in_the_background_can_not_be_monitored(tmp_path):
    with pytest.raises(ValueError, match="can't take effect: that probe is asked in the background"):
        fit([Counting(background=True), stopping()], tmp_path)


def test_it_is_so_under_pytorch_lightning_too(tmp_path):
    stop = pytorch_lightning.callbacks.EarlyStopping(KEY, patience=1, mode="min")
    keep = pytorch_lightning.callbacks.ModelCheckpoint(tmp_path / "kept", monitor=KEY)
    run = pytorch_lightning.Trainer(
        max_epochs=3,
        callbacks=[Counting(), stop, keep],
        default_root_dir=tmp_path,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
    )
    with pytest.warns(UserWarning, match="finds no new value"):
        run.fit(PytorchLightningLanguage(), batches())
    assert run.global_step == 18
