"""What the models of this benchmark read: sentences to train on, and pairs that they never see in training."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

import headwatch as hw

LENGTH = 14  # tokens of every prompt
TASKS = ("ioi", "induction", "subject_verb")
WORDS = (
    "Mary John Alice Emma Kate Susan Karen Nancy Linda Helen Ruth Julia Maria Diana Claire Martha Anne Sarah Laura Amy "
    "James Robert David Richard Thomas Charles Daniel Mark Paul Steven George Kevin Brian Eric Frank Jack Adam Peter "
    "Luke Simon "
    "When After While Once Since Before Then and went sat met came worked left drove to in at for the "
    "gave handed sold passed sent brought offered a , . "
    "store school park office house garden station library museum market beach hotel "
    "drink ring book ball letter hat map phone card bag "
    "The near behind beside with by is are was were has have "
    "as everyone village could see last week I told you twice this year although nobody knew it until now"
)
NOUNS = (
    "teacher doctor student boy girl friend king player worker farmer driver artist writer lawyer manager officer "
    "leader actor parent author soldier guard neighbor dog cat bird horse car house tree book key picture letter "
    "table chair ship train truck building"
)
OPENINGS = (
    "as everyone in the village could see last week",
    "I told you twice this year near the market",
    "although nobody in the house knew it until now",
)


@dataclass(frozen=True)
class Material:
    """What a model is trained on and asked about.

    Attributes:
        sentences: token ids of prompts with their answers, `[sentence, position]`.
        pairs: held-out prompt pairs; no sentence is one of their clean prompts.
        vocabulary: how many tokens there are.
    """

    sentences: Tensor
    pairs: hw.PromptPairs
    vocabulary: int


def word_tokenizer(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """One token a word or a sign."""
    ids = {word: number for number, word in enumerate(["[UNK]", *sorted(set(words))])}
    inner = Tokenizer(models.WordLevel(ids, "[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]")


def mixed_tasks(n_sentences: int, n_pairs: int, seed: int) -> Material:
    """Indirect objects, induction and number agreement, a third each, all of `LENGTH` tokens."""
    tokenizer = word_tokenizer([*WORDS.split(), *NOUNS.split(), *(f"{noun}s" for noun in NOUNS.split())])
    held_out = [of_task(task, tokenizer, share, seed) for task, share in _shares(n_pairs)]
    shown = [of_task(task, tokenizer, share, seed + 1) for task, share in _shares(n_sentences)]
    pairs = hw.PromptPairs.from_pairs(
        _shuffled([pair for each in held_out for pair in each.pairs], seed), tokenizer
    )
    sentences = torch.cat([torch.cat([each.clean, each.answer[:, None]], 1) for each in shown])
    known = {tuple(prompt) for prompt in pairs.clean.tolist()}
    new = torch.tensor([tuple(sentence[:-1]) not in known for sentence in sentences.tolist()])
    order = torch.randperm(int(new.sum()), generator=torch.Generator().manual_seed(seed))
    return Material(sentences[new][order], pairs, len(tokenizer))


def of_task(task: str, tokenizer: PreTrainedTokenizerFast, n: int, seed: int) -> hw.PromptPairs:
    """Pairs of one task, `LENGTH` tokens each."""
    if task == "induction":
        return hw.tasks.induction(n, seed, len(tokenizer), LENGTH // 2, tokenizer)
    pairs = hw.tasks.make(task, tokenizer, n, seed)
    if task == "subject_verb":
        random = Random(seed)
        longer = [_opened(pair, random.choice(OPENINGS)) for pair in pairs.pairs]
        pairs = hw.PromptPairs.from_pairs(longer, tokenizer)
    assert pairs.one_length
    assert pairs.clean.shape[1] == LENGTH
    return pairs


def _opened(pair: hw.PromptPair, opening: str) -> hw.PromptPair:
    """A pair with some words before either prompt."""
    return replace(pair, clean=f"{opening} {pair.clean}", corrupted=f"{opening} {pair.corrupted}")


def _shares(n: int) -> list[tuple[str, int]]:
    """How many of `n` are of each task."""
    return [(task, n // len(TASKS) + (number < n % len(TASKS))) for number, task in enumerate(TASKS)]


def _shuffled(pairs: list[hw.PromptPair], seed: int) -> list[hw.PromptPair]:
    return Random(seed).sample(pairs, len(pairs))
