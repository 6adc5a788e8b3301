"""The fine-tuning example on a tiny GPT-2 in a folder."""

import pytest

from examples.finetune import main, parser
from examples.ioi_demo import held_out_pairs, word_tokenizer
from headwatch.prompts.pairs import PromptPairs
from headwatch.record import Record
from tests.headwatch_callbacks.training import QUIET
from tests.models import tiny_gpt2

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in QUIET]


@pytest.fixture
def given(tmp_path):
    import random

    tokenizer = word_tokenizer()
    pairs = held_out_pairs(random.Random(0), [("Mary", "John")], 4)
    tokenizer.save_pretrained(tmp_path / "gpt")
    tiny_gpt2(vocab_size=len(tokenizer)).save_pretrained(tmp_path / "gpt")
    PromptPairs.from_pairs(pairs, tokenizer).to_jsonl(tmp_path / "pairs.jsonl")
    (tmp_path / "book.txt").write_text(" ".join(pair.clean for pair in pairs) * 4)
    return tmp_path


def arguments(root, **changed):
    values = {
        "model": root / "gpt",
        "text": root / "book.txt",
        "pairs": root / "pairs.jsonl",
        "steps": 2,
        "every": 1,
        "length": 12,
        "out": root / "out",
    }
    return parser().parse_args([f"--{name}={value}" for name, value in (values | changed).items()])


@pytest.mark.filterwarnings("ignore:.*number of training batches")
def test_it_trains_probes_and_saves_a_model(given, capsys, monkeypatch):
    monkeypatch.chdir(given)
    main(arguments(given))
    (folder,) = (given / "out" / "headwatch_runs").iterdir()
    assert {entry.probe for entry in Record.read(folder).effects} == {"ablation", "patching"}
    assert (given / "out" / "model" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"text": "none.txt"}, "--text none.txt: there is no such file"),
        ({"pairs": "none.jsonl"}, "--pairs none.jsonl: there is no such file"),
        ({"length": 40, "text": "short.txt"}, "give at least 40"),
        ({"model": "no-such-model"}, "--model no-such-model is no folder"),
    ],
)
def test_what_is_missing_is_said_in_one_sentence(given, changed, sentence, monkeypatch):
    monkeypatch.chdir(given)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (given / "short.txt").write_text("Mary and John")
    with pytest.raises(SystemExit, match=sentence):
        main(arguments(given, **changed))
