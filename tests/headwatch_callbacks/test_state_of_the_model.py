"""In what state a question of one's own finds the model; the library's functions set evaluation mode themselves."""

from typing import ClassVar

import pytest
import torch
from transformers import Trainer, TrainingArguments

from headwatch_callbacks import ProbeCallback, Question
from headwatch_callbacks.checkpoints.evaluate import EvalJob, EvalQuestions, evaluate, pending_passes
from headwatch_callbacks.hf_trainer import HeadwatchCallback
from headwatch_callbacks.questions import QUESTIONS
from headwatch_callbacks.questions.prompt_source import TaskPairs
from tests.headwatch_callbacks.training import QUIET, Language, batches, trainer
from tests.models import random_ids, tiny_gpt2

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in QUIET]


class State(Question):
    """Notes whether any module trains, and whether gradients are on."""

    probe = asked = "state"
    found: ClassVar[list[tuple[bool, bool]]] = []

    def __init__(self, pairs=None, tokenizer=None, *, name=None):
        super().__init__(name)

    def measure(self, model, at, progress):
        self.found.append((any(module.training for module in model.modules()), torch.is_grad_enabled()))
        return []


@pytest.fixture(autouse=True)
def _anew(monkeypatch):
    monkeypatch.setattr(State, "found", [])
    monkeypatch.setitem(QUESTIONS._known, "state", State)


def by_lightning(folder):
    run = trainer([ProbeCallback(State(), at_end=False)], folder, max_steps=1)
    run.fit(Language(), batches(), batches(2, shuffle=False))


def by_hf_trainer(folder):
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    data = [{"input_ids": row, "labels": row} for row in random_ids(8, 8)]
    ours = HeadwatchCallback([ProbeCallback(State(), at_end=False)], folder / "run")
    Trainer(tiny_gpt2().train(), arguments, train_dataset=data, callbacks=[ours]).train()


def by_eval(folder):
    tiny_gpt2().save_pretrained(folder / "model")
    asked = EvalQuestions(("state",), TaskPairs("induction"))
    job = EvalJob((str(folder / "model"),), asked, folder / "run")
    evaluate(job, pending_passes(job), accelerator="cpu")


@pytest.mark.parametrize("way", [by_lightning, by_hf_trainer, by_eval], ids=lambda way: way.__name__)
def test_it_is_in_evaluation_mode_and_without_gradients(way, tmp_path):
    way(tmp_path)
    assert State.found == [(False, False)]
