import sys

import lightning.pytorch as pl
import pytest
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loggers import CSVLogger, WandbLogger

from headwatch_callbacks.trackers import Trackers, trackers_for
from tests.headwatch_callbacks.trackers.passes import ablation


def trainer(folder, *callbacks, logger=None):
    return pl.Trainer(
        logger=CSVLogger(folder) if logger is None else logger,
        callbacks=list(callbacks),
        default_root_dir=folder,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_checkpointing=False,
    )


@pytest.mark.parametrize("name", ["mosaic_every", "pictures_at_full_rate"])
def test_options_below_one_are_refused(name):
    with pytest.raises(ValueError, match=f"{name}=0: it must be at least 1"):
        Trackers(**{name: 0})


@pytest.mark.parametrize(("callbacks", "columns"), [([], 6), ([Trackers(per_head=False)], 0)])
def test_the_callback_decides_what_the_loggers_get(tmp_path, callbacks, columns):
    one = trainer(tmp_path, *callbacks)
    [tracker] = trackers_for(one)
    tracker.write(ablation())
    assert sum(name.startswith("heads/") for name in one.logger.experiment.metrics[0]) == columns


def test_two_of_them_are_refused(tmp_path):
    one = trainer(tmp_path)
    one.callbacks.extend([Trackers(), Trackers(per_head=True)])
    with pytest.raises(ValueError, match=r"one Trackers\(\.\.\.\) callback, got 2"):
        trackers_for(one)


def test_without_a_logger_it_could_not_take_effect(tmp_path):
    one = trainer(tmp_path, Trackers(), logger=False)
    with pytest.raises(ValueError, match="has no effect: this Trainer has no logger"):
        one.callbacks[0].setup(one, None, "fit")


def test_alerts_without_anyone_to_send_them_are_refused(tmp_path):
    one = trainer(tmp_path, Trackers(alerts=True))
    with pytest.raises(ValueError, match=r"alerts=True\) has no effect: only a WandbLogger sends alerts"):
        one.callbacks[0].setup(one, None, "fit")
    with_wandb = trainer(
        tmp_path, Trackers(alerts=True), logger=[CSVLogger(tmp_path), WandbLogger(offline=True)]
    )
    with_wandb.callbacks[0].setup(with_wandb, None, "fit")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Lightning calls jsonargparse by an old name
def test_a_yaml_file_can_hold_it(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train"])
    settings = {"per_head": True, "mosaic_every": 3, "pictures_at_full_rate": 50}
    held = {"class_path": "headwatch_callbacks.Trackers", "init_args": settings}
    cli = LightningCLI(
        BoringModel,
        run=False,
        save_config_callback=None,
        seed_everything_default=False,
        args={"trainer": {"callbacks": [held]}},
    )
    [callback] = [each for each in cli.trainer.callbacks if isinstance(each, Trackers)]
    assert {name: getattr(callback, name) for name in settings} == settings
