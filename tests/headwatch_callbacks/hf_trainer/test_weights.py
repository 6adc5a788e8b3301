"""A pass is filed at the step of its weights, and those that a training leaves are probed."""

import numpy as np
import pytest
import torch
from transformers import TrainerCallback

from headwatch.ablation import ablate_heads
from headwatch.record import Record
from headwatch_callbacks import HeadAblation
from headwatch_callbacks.hf_trainer import HeadwatchCallback
from tests.headwatch_callbacks.hf_trainer.training import train, trainer_of
from tests.models import random_pairs, tiny_gpt2

PAIRS = random_pairs(n=4)


def probing(folder, **schedule):
    return HeadwatchCallback([HeadAblation(PAIRS, metric="loss", **schedule)], folder / "run")


def passes(folder):
    return Record.read(folder / "run").effects


def check_last(entry, model):
    wanted = ablate_heads(model.eval(), PAIRS, kind="mean", metric="loss")
    np.testing.assert_allclose(entry.mean, wanted.mean.numpy(), rtol=0, atol=1e-6)


class WorseFromHere(TrainerCallback):
    """Steps after the second one spoil the weights."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step > 2:
            with torch.no_grad():
                kwargs["model"].transformer.ln_f.weight += 3


@pytest.mark.parametrize("every", [None, 2], ids=["only at the end", "with each evaluation"])
def test_the_best_model_stands_at_its_own_step(tmp_path, every):
    settings = {"load_best_model_at_end": True, "save_strategy": "steps", "eval_strategy": "steps"}
    settings |= {"save_steps": 2, "eval_steps": 2}
    trainer, *_ = train(
        tmp_path,
        WorseFromHere(),
        probing(tmp_path, every_n_train_steps=every, before_first=False),
        **settings,
    )
    assert trainer.state.best_global_step == 2
    found = passes(tmp_path)
    assert [entry.step for entry in found] == ([2, 4, 6] if every else [2])
    check_last(found[0], trainer.model)
    trainer.evaluate()
    assert [entry.step for entry in passes(tmp_path)] == [entry.step for entry in found]


class PutsAverageIn(TrainerCallback):
    """As averaging callbacks do it: into `parameter.data`, which torch does not count."""

    def on_train_end(self, args, state, control, **kwargs):
        for parameter in kwargs["model"].parameters():
            parameter.data.mul_(0.9)


def test_weights_that_another_callback_changes_at_the_end_are_probed(tmp_path):
    trainer, *_ = train(tmp_path, PutsAverageIn(), probing(tmp_path, every_n_train_steps=3))
    assert [entry.step for entry in passes(tmp_path)] == [0, 3, 6]
    check_last(passes(tmp_path)[-1], trainer.model)


def lines(folder):
    return (folder / "run" / "probes.jsonl").read_text().count('"type":"effects"')


def test_weights_that_were_probed_are_not_probed_again(tmp_path):
    train(tmp_path, probing(tmp_path, every_n_train_steps=3))
    assert lines(tmp_path) == 3


def test_an_evaluation_outside_a_training_probes_its_weights(tmp_path):
    trainer = trainer_of(tmp_path, probing(tmp_path, before_first=False, at_end=False, every_n_train_steps=3))
    trainer.evaluate()
    assert [entry.step for entry in passes(tmp_path)] == [0]
    check_last(passes(tmp_path)[0], tiny_gpt2())
    trainer.train()
    assert [entry.step for entry in passes(tmp_path)] == [0, 3, 6]
    with torch.no_grad():
        trainer.model.transformer.ln_f.weight += 1
    trainer.evaluate()
    assert [entry.step for entry in passes(tmp_path)] == [0, 3, 6]
    check_last(passes(tmp_path)[-1], trainer.model)
    assert lines(tmp_path) == 4
    trainer.evaluate({"a": trainer.eval_dataset, "b": trainer.eval_dataset})
    assert lines(tmp_path) == 4
    assert (tmp_path / "run" / "report.html").is_file()


def test_an_evaluation_of_a_saved_model_stands_at_the_step_that_it_was_saved_at(tmp_path):
    train(tmp_path / "first", save_strategy="steps", save_steps=4)
    saved = type(tiny_gpt2()).from_pretrained(tmp_path / "first" / "checkpoint-4")
    trainer_of(tmp_path, probing(tmp_path), model=saved).evaluate()
    assert [entry.step for entry in passes(tmp_path)] == [4]


def test_a_new_training_needs_a_folder_of_its_own_and_a_resumed_one_goes_on(tmp_path):
    train(tmp_path / "one", probing(tmp_path), steps=4, save_strategy="steps", save_steps=2)
    before = (tmp_path / "run" / "probes.jsonl").read_bytes()
    with pytest.raises(
        ValueError, match=r"run already holds the record of another run: .*resume_from_checkpoint"
    ):
        train(tmp_path / "two", probing(tmp_path))
    assert (tmp_path / "run" / "probes.jsonl").read_bytes() == before
    trainer = trainer_of(tmp_path / "one", probing(tmp_path))
    trainer.train(resume_from_checkpoint=str(tmp_path / "one" / "checkpoint-2"))
    assert [entry.step for entry in passes(tmp_path)] == [0, 4, 6]
    with pytest.raises(ValueError, match="already holds the record of another run"):
        trainer.train()


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    for name in ("one", "two"):
        train(tmp_path / name, probing(tmp_path / name), steps=2, save_strategy="steps", save_steps=2)
    trainer = trainer_of(tmp_path / "one", probing(tmp_path / "two"))
    with pytest.raises(ValueError, match="record of another run than the checkpoint's"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "one" / "checkpoint-2"))


class Stops(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        raise KeyboardInterrupt


def test_a_training_that_was_interrupted_makes_room_for_a_new_one(tmp_path):
    ours = probing(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, ours, Stops())
    train(tmp_path, ours)
    assert [entry.step for entry in passes(tmp_path)] == [0, 6]
    assert [entry.step for entry in Record.read(tmp_path / "run" / "attempt-1").effects] == [0]
