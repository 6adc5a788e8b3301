"""A training whose loss is no number any more: every trainer says so, and since when, and its record has NaN, not 0."""

import numpy as np
import pytest
import torch
from transformers import TrainerCallback

from headwatch.record import Record
from headwatch_callbacks import AttentionMaps, GradientImportance, HeadAblation, record_folder
from headwatch_callbacks.hf_trainer import HeadwatchCallback
from tests.headwatch_callbacks.hf_trainer.training import train
from tests.headwatch_callbacks.training import QUIET, Language, batches, trainer
from tests.models import random_pairs

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in QUIET]
PAIRS = random_pairs(n=4)


class Diverging(Language):
    """Its weights are no numbers from the second step on."""

    def on_train_batch_start(self, batch, batch_idx):
        if self.trainer.global_step == 2:
            with torch.no_grad():
                self.gpt.transformer.wpe.weight[0] = torch.nan


class Diverges(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 2:
            with torch.no_grad():
                kwargs["model"].transformer.wpe.weight[0] = torch.nan


def check(record, last):
    assert np.isnan(record.effects[-1].mean).all()
    assert not np.isnan(record.effects[0].mean).any()
    scores = next(entry for entry in reversed(record.scores) if entry.label == "patterns")
    assert all(np.isnan(values).all() for values in scores.scores.values())
    frame = record.patterns(last)
    assert np.isnan(frame.maps[0][..., 0]).all()
    [note] = [note for note in record.notes if "not finite since step" in note.message]
    return note.message


def test_under_lightning(tmp_path):
    probes = [
        HeadAblation(PAIRS, metric="loss"),
        AttentionMaps(PAIRS),
        GradientImportance(every_n_train_steps=1),
    ]
    run = trainer(probes, tmp_path, max_steps=4, log_every_n_steps=1)
    with pytest.warns(UserWarning, match="loss is not finite since step 2"):
        run.fit(Diverging(), batches(), batches(2, shuffle=False))
    record = Record.read(record_folder(run))
    assert "not finite since step 2" in check(record, 3)
    heard = [entry for entry in record.scores if entry.label == "gradients"]
    assert [bool(np.isnan(entry.scores["importance"]).all()) for entry in heard] == [False, False, True, True]
    assert np.isnan(run.callback_metrics["headwatch/patterns/largest_induction"].item())


def test_under_transformers_trainer(tmp_path):
    ours = HeadwatchCallback([HeadAblation(PAIRS, metric="loss"), AttentionMaps(PAIRS)], tmp_path / "run")
    with pytest.warns(UserWarning, match="loss is not finite since step 3"):
        train(tmp_path, Diverges(), ours, steps=4, logging_nan_inf_filter=False)
    assert "not finite since step 3" in check(Record.read(tmp_path / "run"), 4)
