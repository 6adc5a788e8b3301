"""What the examples in docstrings have at hand: a GPT-2 of GPT-2 small's layers and heads, prompts, and files."""

import re
from functools import partial
from pathlib import Path

import pytest
import torch

import headwatch as hw
import headwatch_callbacks
from tests.headwatch.page.fake_run import write_run
from tests.headwatch_callbacks.training import Language, batches
from tests.headwatch_callbacks.training import trainer as quiet_trainer
from tests.models import tiny_gpt2
from tests.tokenizers import word_level

TEXT = """When Mary and John went to the store, John gave a drink to
After While Once Since Before Then sat in met at sold handed came passed worked sent left for brought drove . offered
James Robert Michael William David Richard Joseph Thomas Elizabeth Jennifer Jessica Sarah
garden restaurant school hospital office house station ring kiss bone basketball computer necklace snack book"""


@pytest.fixture(scope="session")
def words():
    """A tokenizer in whose vocabulary each word of some IOI sentences is one token."""
    return word_level(re.findall(r"\w+|[^\w\s]", TEXT))


@pytest.fixture(scope="session")
def folder(words, tmp_path_factory):
    """The files that an example may read: prompt pairs, a run, and a tokenizer for which no hub is asked."""
    folder = tmp_path_factory.mktemp("examples")
    words.save_pretrained(folder / "gpt2")
    hw.tasks.ioi(words, n=4).to_jsonl(folder / "pairs.jsonl")
    runs = folder / "headwatch_runs"
    write_run(runs / "my-run", name="my-run", passes=4, every=20, frames=1, per_pair=True)
    write_run(runs / "another-run", name="another-run", passes=4, every=20, frames=0, per_pair=True, seed=9)
    return folder


@pytest.fixture
def at_hand(words, folder, monkeypatch):
    """The names that an example may use, in the folder with the files."""
    monkeypatch.chdir(folder)
    pairs = hw.PromptPairs.from_jsonl(Path("pairs.jsonl"), words)
    model = tiny_gpt2(n_layer=12, n_head=12, n_embd=48, n_positions=64, vocab_size=len(words))
    names = {"hw": hw, "torch": torch, "model": model, "tokenizer": words, "pairs": pairs, "ids": pairs.clean}
    callbacks = {name: getattr(headwatch_callbacks, name) for name in headwatch_callbacks.__all__}
    training = {"L": Quiet(folder), "module": Language(vocab_size=len(words)), "data": batches()}
    return names | callbacks | training


class Quiet:
    """Stands for `import lightning as L`: its Trainer prints nothing and takes a few steps only."""

    def __init__(self, folder):
        self.folder = folder

    def Trainer(self, callbacks):
        trainer = quiet_trainer(callbacks, self.folder)
        trainer.fit = partial(trainer.fit, val_dataloaders=batches(1, shuffle=False))
        return trainer
