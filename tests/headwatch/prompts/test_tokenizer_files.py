"""Where a tokenizer is looked for, in which order, and for how long."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import huggingface_hub.constants
import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from headwatch.prompts.check_file import check_pair_file
from headwatch.prompts.encode import PairEncoder
from headwatch.prompts.jsonl import PromptPair
from headwatch.prompts.tokenizer import load_tokenizer
from tests.tokenizers import word_level


@pytest.fixture
def hub(monkeypatch):
    """A hub on this machine that is out of order: the paths that it was asked for."""
    asked = []

    class Broken(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(503)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Broken)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    yield asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_hub_is_asked_once(hub):
    """Asked file by file, each again and again, a mistyped name waits for most of a minute."""
    with pytest.raises(ValueError, match=r"tokenizer 'gtp2' is neither .* nor could it be had .*503"):
        load_tokenizer("gtp2")
    # The first request of a process brings one about the client.
    assert [path for path in hub if "gtp2" in path] == ["/api/models/gtp2"]
    assert len(hub) <= 2


def test_the_wait_for_the_hub_is_bounded(monkeypatch):
    def silent(self, name, *, timeout):
        assert 0 < timeout <= 5
        raise TimeoutError("no answer")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", silent)
    with pytest.raises(ValueError, match="no answer"):
        load_tokenizer("gtp2")


@pytest.mark.parametrize("name", ["/no/such/folder", "./mine", "a/b/c", ""])
def test_a_path_is_no_name_for_the_hub(hub, name):
    with pytest.raises(ValueError, match=f"tokenizer '{name}' is"):
        load_tokenizer(name)
    assert hub == []


def test_a_file_of_pairs_is_looked_for_before_the_hub(hub, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"pairs\.jsonl does not exist"):
        check_pair_file(tmp_path / "pairs.jsonl", "gtp2")
    assert hub == []


@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json"])
def test_a_damaged_folder_is_named_and_the_hub_not_asked(hub, tmp_path, file):
    word_level(["Mary"]).save_pretrained(tmp_path)
    whole = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=f"tokenizer '{tmp_path}' can't be read"):
        load_tokenizer(tmp_path)
    (tmp_path / file).write_bytes(b"[]")
    with pytest.raises(ValueError, match=f"tokenizer '{tmp_path}' can't be read"):
        load_tokenizer(tmp_path)
    assert hub == []


def test_damage_that_shows_in_use_only(tmp_path):
    word_level(["Mary"]).save_pretrained(tmp_path)
    file = tmp_path / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_max_length": ""}))
    with pytest.raises(ValueError, match=f"tokenizer '{tmp_path}' can't be read"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_that_makes_nothing_of_a_text_is_blamed():
    tokenizer = word_level(["Mary"])
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "removed")
    pair = PromptPair("Mary", "Mary", "Mary", "Mary")
    with pytest.raises(ValueError, match="the tokenizer makes no token of 'Mary': give the model's own"):
        PairEncoder(tokenizer).encode(pair)


def test_a_tokenizer_without_an_unknown_token_is_sound(tmp_path):
    tokenizer = Tokenizer(models.WordLevel({"gave": 0, "it": 1}))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(tmp_path)
    assert load_tokenizer(tmp_path)("gave it")["input_ids"] == [0, 1]


def test_code_of_a_tokenizer_is_never_run_or_asked_for(tmp_path, monkeypatch):
    word_level(["Mary"]).save_pretrained(tmp_path)
    given = []
    load = AutoTokenizer.from_pretrained
    monkeypatch.setattr(
        AutoTokenizer,
        "from_pretrained",
        lambda *args, **options: given.append(options) or load(*args, **options),
    )
    load_tokenizer(tmp_path)
    assert [options["trust_remote_code"] for options in given] == [False]
