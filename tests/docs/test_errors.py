"""Every page of an error quotes a message that the code does give, by giving cause for it."""

import re
import warnings
from pathlib import Path

import pytest
import torch
from lightning.pytorch.loggers import MLFlowLogger
from torch import nn

import headwatch as hw
from headwatch_callbacks import HeadAblation, ProbeCallback
from headwatch_callbacks.questions import Ablation
from tests.headwatch_callbacks.training import QUIET, Language, batches, trainer
from tests.models import random_pairs, tiny_gpt2
from tests.tokenizers import byte_level

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in QUIET]
DOCS = Path(__file__).parents[2] / "docs"
SENTENCE = "When Mary and John met, John gave a ring to"


def fit(folder, probe, **settings):
    trainer([probe], folder, **settings).fit(Language(), batches(), batches(1, shuffle=False))


def pairs_file(folder, **changed):
    pair = hw.PromptPair(SENTENCE, SENTENCE.replace("John gave", "Mary gave"), " Mary", " John")
    file = folder / "pairs.jsonl"
    file.write_text("")
    hw.PromptPairs.from_pairs([pair], byte_level([SENTENCE] * 3)).to_jsonl(file)
    text = file.read_text()
    for old, new in changed.values():
        text = text.replace(old, new)
    file.write_text(text)
    return hw.PromptPairs.from_jsonl(file, byte_level([SENTENCE] * 3))


def no_gpt2_found(folder):
    hw.attach(nn.Linear(2, 2))


def several_gpt2s(folder):
    hw.attach(nn.ModuleDict({"student": tiny_gpt2(), "teacher": tiny_gpt2()}))


def misaligned_pairs(folder):
    pairs_file(folder, longer=("Mary gave a ring", "Mary gave a golden ring"))


def answer_is_several_tokens(folder):
    pairs_file(folder, answer=('" Mary"', '" Maximilian"'))


def prompts_of_several_lengths(folder):
    pairs = random_pairs(lengths=[9, 8, 7, 9, 9])
    hw.patch_activations(tiny_gpt2(), pairs, by_position=True)


def one_forward_per_intervention(folder):
    model = tiny_gpt2()
    block = model.transformer.h[1]
    block.forward = lambda *args, unchanged=block.forward, **kwargs: 1.1 * unchanged(*args, **kwargs)
    hw.ablate_heads(model, random_pairs())


def normalized_is_undefined(folder):
    pairs = random_pairs(shared=9)
    assert hw.patch_activations(tiny_gpt2(), pairs).normalized is not None


def activation_never_fired(folder):
    model = tiny_gpt2()
    model.transformer.h[0].mlp.forward = lambda stream: stream
    with hw.attach(model) as hooked:
        hooked.run_with_cache(torch.tensor([[1, 2]]), names="post0")


class Failing(Ablation):
    def measure(self, model, at, progress):
        raise RuntimeError("no")


def probe_failed(folder):
    fit(folder, ProbeCallback(Failing(random_pairs(), metric="loss"), every_n_train_steps=2))


def record_exists(folder):
    for _ in range(2):
        fit(folder, HeadAblation(random_pairs(), every_n_train_steps=9, record=folder / "mine"))


def mlflow_file_store(folder):
    fit(folder, HeadAblation(random_pairs()), logger=MLFlowLogger(save_dir=str(folder / "mlruns")))


PROVOKE = {
    function.__name__.replace("_", "-"): function
    for function in (
        no_gpt2_found,
        several_gpt2s,
        misaligned_pairs,
        answer_is_several_tokens,
        prompts_of_several_lengths,
        one_forward_per_intervention,
        normalized_is_undefined,
        activation_never_fired,
        probe_failed,
        record_exists,
        mlflow_file_store,
    )
}
# Needs a device that runs out of memory, as tests/headwatch/engine/test_run_sweep.py makes one.
ELSEWHERE = {"out-of-memory"}


def symptom(page):
    """What the page quotes, with `...` for anything."""
    [quoted] = re.findall(r"## Symptom\n\n```text\n(.+)\n```", page)
    return re.compile(".*".join(re.escape(part) for part in quoted.split("...")), flags=re.S)


@pytest.mark.parametrize("name", PROVOKE)
def test_a_page_quotes_what_is_said(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            PROVOKE[name](tmp_path)
            said = []
        except Exception as error:
            said = [f"{type(error).__name__}: {error}"]
    said += [f"{each.category.__name__}: {each.message}" for each in caught]
    quoted = symptom((DOCS / "errors" / f"{name}.md").read_text())
    assert any(quoted.search(sentence) for sentence in said), said


def test_there_is_a_page_for_each_of_them_and_it_says_what_to_do():
    pages = {file.stem: file.read_text() for file in (DOCS / "errors").glob("*.md")}
    assert set(pages) == set(PROVOKE) | ELSEWHERE
    for page in pages.values():
        assert re.findall(r"^## (.+)$", page, flags=re.M) == ["Symptom", "Cause", "What to do"]
