"""Mixed precision: passes run in the Trainer's own autocast, at the engine's speed, and change nothing."""

import copy
import warnings

import numpy as np
import pytest
import torch
from transformers import TrainerCallback

from headwatch.ablation import ablate_heads
from headwatch.record import Record
from headwatch_callbacks import HeadAblation
from headwatch_callbacks.hf_trainer import HeadwatchCallback
from headwatch_callbacks.lightning_trainer.isolation import preserve_rng
from tests.headwatch_callbacks.hf_trainer.training import same, train
from tests.models import random_pairs, tiny_gpt2

PAIRS = random_pairs(n=4)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return train(tmp_path_factory.mktemp("plain"), bf16=True)


class CopiesWeights(TrainerCallback):
    """Copies the weights after each step, and waits for what is asked of them in the background."""

    def __init__(self, ours):
        self.ours = ours

    def on_step_end(self, args, state, control, **kwargs):
        self.weights = copy.deepcopy(kwargs["model"].state_dict())
        with preserve_rng():  # beartype, which tests run under, draws from Python's own random states
            self.ours._background.collect(wait=True)
        self.forwards = {"forward", "_original_forward"} & vars(kwargs["model"]).keys()


@pytest.mark.parametrize("background", [False, True], ids=["here", "background"])
def test_passes_run_fast_in_the_trainers_autocast_and_leave_its_forward(tmp_path, plain, background):
    probe = HeadAblation(PAIRS, metric="loss", every_n_train_steps=3, background=background)
    ours = HeadwatchCallback([probe], tmp_path / "run")
    seen = CopiesWeights(ours)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        probed = train(tmp_path, ours, seen, bf16=True)
    assert same(plain, probed)
    assert seen.forwards == {"forward", "_original_forward"}
    record = Record.read(tmp_path / "run")
    assert record.notes == ()
    model = tiny_gpt2()
    model.load_state_dict(seen.weights)
    with torch.autocast("cpu", torch.bfloat16):
        wanted = ablate_heads(model, PAIRS, kind="mean", metric="loss", engine="exact")
    np.testing.assert_allclose(record.effects[-1].mean, wanted.mean.numpy(), rtol=0, atol=1e-6)


def test_a_forward_of_the_users_own_is_the_one_that_passes_ask(tmp_path):
    """The engine knows nothing of it, and says so."""
    model = tiny_gpt2().train()
    librarys = model.forward

    def scaled(input_ids=None, labels=None, **options):
        found = librarys(input_ids=input_ids, labels=labels, **options)
        found.logits = found.logits if labels is not None else 3 * found.logits
        return found

    model.forward = scaled
    probe = HeadAblation(PAIRS, metric="loss", before_first=False)
    with pytest.warns(RuntimeWarning, match="computes something else than its modules"):
        train(tmp_path, HeadwatchCallback([probe], tmp_path / "run"), bf16=True, model=model, steps=1)
    assert model.forward is not scaled
    assert model._original_forward is scaled
