from pathlib import Path

import huggingface_hub.constants
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import GPT2Config, PreTrainedTokenizerFast

from headwatch.prompts.tokenizer import encode, encode_answer, load_tokenizer, single_token, token_texts
from tests.tokenizers import byte_level, word_level

WORDS = word_level(["Mary", "gave", "it", "to", "John"])
BYTES = byte_level(["When Mary and John met, John gave it to Mary"] * 5, vocab_size=320)


def bare(vocabulary: dict[str, int], **settings: str) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel(vocabulary, **settings))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def test_a_tokenizer_is_returned_and_a_folder_is_loaded(tmp_path: Path) -> None:
    assert load_tokenizer(WORDS) is WORDS
    BYTES.save_pretrained(tmp_path)
    assert encode(" Mary met", load_tokenizer(str(tmp_path))) == encode(" Mary met", BYTES)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    GPT2Config().save_pretrained(tmp_path)
    with pytest.raises(
        ValueError, match="has no vocabulary: its folder lacks the files that save_pretrained"
    ):
        load_tokenizer(str(tmp_path))


@pytest.mark.parametrize("name", ["gpt2", "/no/such/folder"])
def test_a_name_that_cannot_be_had_is_one_sentence(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        ValueError, match=f"tokenizer '{name}' is neither a tokenizer's folder .* nor"
    ) as raised:
        load_tokenizer(name)
    assert "\n" not in str(raised.value)
    assert "give a folder written by save_pretrained" in str(raised.value)


def test_no_bos_is_added_and_one_in_the_text_is_kept() -> None:
    adding = byte_level(["gave it to Mary"] * 5, vocab_size=300)
    bos = adding.bos_token_id
    adding.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", bos)]
    )
    assert adding("gave it")["input_ids"][0] == bos
    assert bos not in encode("gave it", adding)
    assert encode("<|endoftext|>gave it", adding) == (bos, *encode("gave it", adding))


@pytest.mark.parametrize(
    "tokenizer",
    [WORDS, bare({"gave": 0, "it": 1, "[UNK]": 2}, unk_token="[UNK]"), bare({"gave": 0, "it": 1})],
    ids=["registered", "known to the model only", "no unknown token"],
)
def test_a_word_outside_the_vocabulary_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    assert len(encode("gave it", tokenizer)) == 2
    with pytest.raises(ValueError, match="gave Zoe"):
        encode("gave Zoe", tokenizer)
    assert single_token("Zoe", tokenizer) is None


def test_an_answer_is_one_token() -> None:
    assert encode_answer(" Mary", WORDS) == encode_answer("Mary", WORDS) == 1
    assert BYTES.convert_ids_to_tokens(encode_answer(" Mary", BYTES)) == "ĠMary"


def test_the_spelling_that_would_work_is_named() -> None:
    with pytest.raises(
        ValueError, match=r"'Mary' is \d tokens, \[.*\], and must be one; write ' Mary', with the"
    ):
        encode_answer("Mary", BYTES)
    with pytest.raises(
        ValueError, match=r"' W' is 2 tokens, \[' ', 'W'\], .*; write 'W', without the leading"
    ):
        encode_answer(" W", BYTES)
    with pytest.raises(ValueError, match=r"' Zoe' is \d tokens, \[.*\], and must be one$"):
        encode_answer(" Zoe", BYTES)
    with pytest.raises(ValueError, match="'' is 0 tokens"):
        encode_answer("", BYTES)


def test_token_texts_stay_on_one_line_and_are_never_empty() -> None:
    ids = encode("Mary\n é\t", BYTES)
    texts = token_texts(ids, BYTES)
    assert len(texts) == len(ids)
    assert "".join(texts[:-3]).endswith("\\n ")
    assert texts[-3:] == ("Ã", "©", "\\t")
    assert all(text and text.isprintable() for text in texts)
    assert token_texts(encode("gave it", WORDS), WORDS) == ("gave", "it")
