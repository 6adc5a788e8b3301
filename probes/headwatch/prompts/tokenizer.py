"""Text to token ids and back, with the checks that a prompt pair needs.

No special token is ever added: a prompt starts with a BOS token only where its text does. GPT-2's own tokenizer
adds none either.
"""

from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from headwatch.prompts.tokenizer_files import tokenizer_of

TokenizerLike = PreTrainedTokenizerBase | str | Path


def load_tokenizer(tokenizer: TokenizerLike) -> PreTrainedTokenizerBase:
    """A tokenizer from a name on the Hugging Face hub or a folder; a tokenizer is returned as it is.

    Files that are on this machine are used without asking the hub; it is asked once, for five seconds.

    Raises:
        ValueError: nothing is found under that name, or the folder holds no tokenizer or a damaged one.
    """
    if isinstance(tokenizer, PreTrainedTokenizerBase):
        return tokenizer
    return tokenizer_of(str(tokenizer))


def encode(text: str, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The token ids of a text, with no special token added.

    Raises:
        ValueError: the text holds something that is outside the vocabulary, or the tokenizer can't take it.
    """
    try:
        ids = tuple(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    except Exception as error:  # the tokenizers package raises bare Exception
        raise ValueError(f"the tokenizer can't encode {text!r}: {error}") from error
    unknown = _unknown_token(tokenizer)
    if unknown is not None and ids.count(unknown[1]) > text.count(unknown[0]):
        raise ValueError(
            f"{text!r} holds a token outside the tokenizer's vocabulary: it reads as "
            f"{list(token_texts(ids, tokenizer))}"
        )
    return ids


def encode_answer(text: str, tokenizer: PreTrainedTokenizerBase) -> int:
    """The one token that an answer is.

    Raises:
        ValueError: the answer is not one token; the message says whether another spelling of its space is.
    """
    ids = encode(text, tokenizer)
    if len(ids) == 1:
        return ids[0]
    message = f"{text!r} is {len(ids)} tokens, {list(token_texts(ids, tokenizer))}, and must be one"
    respelled = text[1:] if text.startswith(" ") else f" {text}"
    if single_token(respelled, tokenizer) is None:
        raise ValueError(message)
    how = "without" if text.startswith(" ") else "with"
    raise ValueError(f"{message}; write {respelled!r}, {how} the leading space, which is one token")


def single_token(text: str, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The id of a text that is one token of the vocabulary, and None for any other."""
    try:
        ids = encode(text, tokenizer)
    except ValueError:
        return None
    return ids[0] if len(ids) == 1 else None


def token_texts(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """What each token reads as, on one line each: a newline is shown as `\\n`, a part of a character by its raw name."""  # noqa: E501
    return tuple(_token_text(token, tokenizer) for token in ids)


def _token_text(token: int, tokenizer: PreTrainedTokenizerBase) -> str:
    text = tokenizer.decode([token], clean_up_tokenization_spaces=False)
    if not text or "�" in text:
        text = tokenizer.convert_ids_to_tokens(token) or str(token)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _unknown_token(tokenizer: PreTrainedTokenizerBase) -> tuple[str, int] | None:
    """The text and id that stand for what is outside the vocabulary.

    A fast tokenizer's model may know one that the tokenizer around it was not told of.
    """
    text = tokenizer.unk_token
    if text is None and tokenizer.is_fast:
        text = getattr(tokenizer.backend_tokenizer.model, "unk_token", None)
    if text is None:
        return None
    token = tokenizer.convert_tokens_to_ids(text)
    return (text, token) if isinstance(token, int) else None
