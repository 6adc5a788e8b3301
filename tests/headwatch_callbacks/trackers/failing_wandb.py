"""A short training whose wandb fails in the middle: `python failing_wandb.py kill|fill FOLDER`.

Run as a program, so that a broken wandb stays out of the process that runs the tests. Prints the warnings that
came from headwatch, and the step at which training ended.
"""

import sys
import warnings
from pathlib import Path

import lightning.pytorch as pl
import psutil
import torch
import wandb
from lightning.pytorch.loggers import WandbLogger

from headwatch_callbacks.trackers import trackers_for
from tests.headwatch_callbacks.trackers.passes import ablation

STEPS, FAILS_AT = 12, 6


class Module(pl.LightningModule):
    """One weight, whose loss goes to the logger at every step."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch, index):
        loss = self.layer(batch).square().mean()
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Probing(pl.Callback):
    """Sends a pass at every step, and breaks wandb before one of them."""

    def __init__(self, fail):
        self.fail = fail

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == FAILS_AT:
            self.fail()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        for tracker in trackers_for(trainer):
            tracker.write(ablation(trainer.global_step))

    def on_fit_end(self, trainer, pl_module):
        for tracker in trackers_for(trainer):
            tracker.finish()


def kill():
    """Kill wandb's helper process."""
    helpers = [child for child in psutil.Process().children() if "wandb" in child.name()]
    assert helpers
    for helper in helpers:
        helper.kill()
        helper.wait()


def fill(folder):
    """Take the last free byte of the folder's file system."""
    with open(folder / "ballast", "wb", buffering=0) as file:
        try:
            while file.write(b"0" * 4096):
                pass
        except OSError:
            return


if __name__ == "__main__":
    how, folder = sys.argv[1], Path(sys.argv[2])
    settings = wandb.Settings(silent=True, x_disable_stats=True, x_disable_meta=True)
    trainer = pl.Trainer(
        logger=WandbLogger(save_dir=folder, offline=True, settings=settings),
        callbacks=[Probing(kill if how == "kill" else lambda: fill(folder))],
        max_steps=STEPS,
        log_every_n_steps=1,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        trainer.fit(Module(), torch.utils.data.DataLoader(torch.ones(STEPS, 2)))
    for warning in told:
        if "headwatch" in str(warning.message):
            print("warned:", str(warning.message).replace("\n", " "))
    print("ended at", trainer.global_step)
