"""Small tokenizers, built in memory: one of whole words, and one of bytes merged as GPT-2's are."""

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast


def word_level(words: Iterable[str]) -> PreTrainedTokenizerFast:
    """One token a word, punctuation mark or pair of digits; id 0 is `[UNK]`, the rest in the order given."""
    vocabulary = {word: index for index, word in enumerate(dict.fromkeys(["[UNK]", *words]))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\d\d|[^\W\d]+|[^\w\s]"), "removed", invert=True)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")


def byte_level(texts: Iterable[str], vocab_size: int = 1_000) -> PreTrainedTokenizerFast:
    """A byte-level BPE trained on `texts`: frequent words are one token, others are split."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(list(texts), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|endoftext|>", unk_token="<|endoftext|>"
    )
