"""Every key that a training with all callbacks logs is on the page of logged keys, and no other one is."""

import re
from pathlib import Path

import pytest
import wandb
from lightning.pytorch.loggers import CSVLogger, WandbLogger

from headwatch_callbacks import ActivationPatching, AttentionMaps, GradientImportance, HeadAblation
from tests.headwatch_callbacks.trackers.wandb_file import history, summary
from tests.headwatch_callbacks.training import QUIET, Language, batches, trainer
from tests.models import random_pairs

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in QUIET]
PAGE = (Path(__file__).parents[2] / "docs" / "logged-keys.md").read_text()
KEYS = re.findall(r"^\| `([\w/]+)` \|", PAGE, flags=re.M)
OTHERS = {"epoch", "step", "trainer/global_step", "train/loss", "val/loss"}
PARTS = {
    "LABEL": r"(ablation/z/\w+/\w+|patching/\w+/(denoise|noise)/\w+(/by_position)?|patterns|gradients)",
    "SCORE": r"[a-z_]+",
    "CELL": r"(L\d+)?([HPN]\d+)?",
}


def pattern(key):
    """What a key of the page stands for."""
    return re.compile("/".join(PARTS.get(part, re.escape(part)) for part in key.split("/")))


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """Every key that a training logs: to wandb, in its history and its summary, and to a CSV file."""
    folder = tmp_path_factory.mktemp("keys")
    pairs = random_pairs()
    probes = [
        HeadAblation(pairs, every_n_train_steps=3),
        ActivationPatching(pairs, site="resid_pre", by_position=True, every_n_train_steps=3),
        AttentionMaps(pairs, every_n_train_steps=3),
        GradientImportance(every_n_train_steps=3),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_SILENT", "true")
        patch.setenv("WANDB_MODE", "offline")
        quiet = wandb.Settings(silent=True, x_disable_stats=True, x_disable_meta=True)
        to_wandb, to_csv = WandbLogger(save_dir=folder, offline=True, settings=quiet), CSVLogger(folder)
        trainer(probes, folder, logger=[to_wandb, to_csv]).fit(
            Language(), batches(), batches(2, shuffle=False)
        )
        run = Path(to_wandb.experiment.dir).parent
        to_wandb.experiment.finish()
    header = (Path(to_csv.log_dir) / "metrics.csv").read_text().splitlines()[0]
    found = {key for row in history(run) for key in row} | set(summary(run)) | set(header.split(","))
    return {key for key in found if not key.startswith("_")} - OTHERS


def test_every_key_that_is_logged_is_on_the_page(logged):
    known = [pattern(key) for key in KEYS]
    assert not [key for key in sorted(logged) if not any(each.fullmatch(key) for each in known)]


def test_every_key_on_the_page_is_logged(logged):
    assert not [key for key in KEYS if not any(pattern(key).fullmatch(each) for each in logged)]
    assert len(set(KEYS)) == len(KEYS)
