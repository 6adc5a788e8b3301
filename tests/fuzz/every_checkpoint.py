"""Every damaged checkpoint, configuration, tokenizer and pair file, in parts that processes share."""

import pytest

from tests.fuzz.outcome import eval_cases, mistake

PARTS = 20


@pytest.mark.parametrize("part", range(PARTS))
def test_a_damaged_input_is_said_in_one_sentence(part, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    cases = list(eval_cases())[part::PARTS]
    found = {case.name: wrong for case in cases if (wrong := mistake(case, tmp_path))}
    assert found == {}
