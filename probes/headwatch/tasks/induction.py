"""A random sequence, repeated."""

from dataclasses import replace

import torch

from headwatch.prompts.pairs import PromptPairs
from headwatch.prompts.tokenizer import TokenizerLike, load_tokenizer
from headwatch.tasks.registry import TASKS


@TASKS.register("induction")
def induction(
    n: int = 64,
    seed: int = 0,
    vocab_size: int | None = None,
    length: int = 25,
    tokenizer: TokenizerLike | None = None,
) -> PromptPairs:
    """Random tokens r₁ … r_T followed by the same again: what came after r_T the first time comes next.

    Clean: r₁ … r_T r₁ … r_T → r₁, all T tokens different.
    Corrupted: other tokens, none of them in r, in the first half, and the second half as it was: there is nothing to
    copy from.
    Metric: `logit_diff`, r₁ minus another token of r (the foil, a random one of r₂ … r_T), so that a model that only
    repeats what it has seen scores 0. With `metric="loss"` the same pairs give the NLL of r₁ after the last token.
    The NLL of the whole second half is `token_losses(logits, pairs.clean)[:, length - 1 :].mean(1)`, with
    `headwatch.scores.in_context_learning.token_losses`; `metric="sequence_loss"` averages over both halves.

    Source: Olsson et al. 2022, "In-context Learning and Induction Heads"; Elhage et al. 2021, "A Mathematical Framework
    for Transformer Circuits".

    Args:
        n: how many pairs.
        seed: the same seed gives the same pairs.
        vocab_size: tokens are drawn from the ids below it; None for the tokenizer's size, or 50,257
            (GPT-2's) where there is no tokenizer.
        length: T, half of a prompt's tokens.
        tokenizer: makes the tokens readable and gives the vocabulary's size; none is needed.

    Raises:
        ValueError: `n` is not positive, `length` is below 2, or the vocabulary has fewer than 2 × `length` tokens.
    """
    loaded = None if tokenizer is None else load_tokenizer(tokenizer)
    if vocab_size is None:
        vocab_size = 50_257 if loaded is None else len(loaded)
    _check_sizes(n, vocab_size, length)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.stack([torch.randperm(vocab_size, generator=generator)[: 2 * length] for _ in range(n)])
    repeated, other = drawn.split(length, dim=1)
    foil = torch.randint(1, length, (n, 1), generator=generator)
    pairs = PromptPairs.from_tokens(
        clean_ids=torch.cat([repeated, repeated], dim=1),
        corrupted_ids=torch.cat([other, repeated], dim=1),
        answer=repeated[:, 0],
        foil=repeated.gather(1, foil)[:, 0],
        tokenizer=loaded,
    )
    return replace(pairs, pairs=tuple(replace(pair, task="induction") for pair in pairs.pairs))


def _check_sizes(n: int, vocab_size: int, length: int) -> None:
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    if length < 2:
        raise ValueError(f"length must be at least 2, not {length}")
    if vocab_size < 2 * length:
        raise ValueError(
            f"induction draws {2 * length} different tokens a pair (twice length={length}), "
            f"and the vocabulary has {vocab_size}"
        )
