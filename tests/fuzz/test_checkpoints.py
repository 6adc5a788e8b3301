"""A sample of damaged checkpoints, configurations, tokenizers and pair files; `make fuzz` runs them all."""

import random
import shutil

import pytest

from tests.fuzz.outcome import EvalCase, eval_cases, mistake

ALL = list(eval_cases())
SAMPLE = random.Random(0).sample(ALL, 40)
# One of each way in which the libraries beneath fail.
CHOSEN = {
    "config.json n_layer huge",
    "config.json n_embd huge",
    "config.json n_layer text",
    "config.json n_head zero",
    "config.json activation_function text",
    "config.json attn_pdrop nan",
    "config.json as list",
    "config.json missing",
    "model.safetensors cut to 50%",
    "safetensors header nested",
    "safetensors wte dropped",
    "weights pickled with a stranger",
    "an index of shards that are missing",
    "tokenizer.json cut to 50%",
    "tokenizer_config.json as list",
    "tokenizer_config.json unk_token empty",
    "trainer_state.json text",
    "trainer_state.json global_step infinite",
    "whole tensor",
    "cut to 50%",
    "state_dict list",
    "global_step object",
    "weight named null",
    "embedding turned",
    "hyper_parameters a trap",
    "hyper_parameters a dict that holds itself",
    "hyper_parameters n_positions beyond 64 bits",
    "nested too deeply",
}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged")


def test_the_cases_are_many_and_each_has_its_name():
    assert len(ALL) > 2_000
    assert len({(case.kind, case.name) for case in ALL}) == len(ALL)
    assert {case.name for case in ALL} >= CHOSEN


def test_sound_files_work(work):
    for kind in ("folder", "lightning", "pairs"):
        assert mistake(EvalCase(kind, "sound", lambda file: None), work) is None


def test_a_damaged_input_is_said_in_one_sentence(work, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    chosen = [case for case in ALL if case.name in CHOSEN]
    found = {case.name: wrong for case in (*chosen, *SAMPLE) if (wrong := mistake(case, work))}
    assert found == {}


def test_a_mistake_would_be_seen(work, monkeypatch):
    def careless(*_):
        raise TypeError("'int' object is not iterable")

    monkeypatch.setattr("headwatch_callbacks.checkpoints.evaluate.load_gpt2", careless)
    sound = EvalCase("folder", "sound", lambda file: None)
    assert "a traceback: TypeError" in str(mistake(sound, work))
    monkeypatch.undo()
    gone = EvalCase("folder", "gone", shutil.rmtree)
    assert mistake(gone, work) is None
