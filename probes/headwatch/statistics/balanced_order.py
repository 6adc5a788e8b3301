"""An order of pairs in which as many as one likes may be taken from the front: each prefix is a fair sample.

Where tasks are mixed, most of the spread among pairs is between tasks. A random prefix holds too many of one by
chance; a balanced one never does, and the error of its mean is that within tasks.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int, Num
from torch import Tensor

Labels = Sequence[int] | Num[np.ndarray, " _"] | Num[Tensor, " _"]


def balanced_order(n: int, labels: Labels | None = None, *, seed: int = 0) -> Int[Tensor, " pair"]:
    """A random order of n pairs of which every prefix holds its share of each label, to within one pair.

    The first m pairs hold between m · share − 1 and m · share + 1 pairs of a label, for every m and label
    (proportional allocation: Neyman 1934; such sequences exist: Tijdeman 1980). Which pairs of a label come first is
    a matter of chance, and so is which label does.

    Args:
        n: the number of pairs.
        labels: what is to be balanced, such as each pair's task, as whole numbers, `[pair]`; None for an order in
            which all permutations are equally probable.
        seed: of a generator of its own; torch's global one is left alone.

    Returns:
        the numbers 0 to n − 1, `[pair]`, on the CPU.

    Raises:
        ValueError: another number of labels than pairs, or labels that aren't whole numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(n, generator=generator)
    if labels is None:
        return shuffled
    given = torch.as_tensor(labels, dtype=None if len(labels) else torch.long)
    if given.shape != (n,) or given.is_floating_point():
        raise ValueError(
            f"labels of shape {tuple(given.shape)} and {given.dtype}: give {n} whole numbers, one a pair"
        )
    if n == 0:
        return shuffled
    label_of, counts = torch.unique(given.cpu(), return_inverse=True, return_counts=True)[1:]
    turns = _turned(_turns(counts.tolist(), generator), counts, generator)
    # The first pair of a label in the shuffled order has its label's first turn, and so on.
    order = torch.empty_like(shuffled)
    order[turns.argsort(stable=True)] = shuffled[label_of[shuffled].argsort(stable=True)]
    return order


def _turns(counts: list[int], generator: torch.Generator) -> Int[Tensor, " pair"]:
    """Whose turn it is at each place: of those that may have one, the label that must soonest.

    A label's j-th turn (from 0) is too early before place ⌊j / share⌋ and too late after place ⌈(j + 1) / share⌉ − 1;
    the earliest deadline first keeps both. Which of several goes first is drawn.
    """
    n, taken, turns = sum(counts), [0] * len(counts), []
    for place in range(n):
        first = torch.randperm(len(counts), generator=generator).tolist()
        open_to = [k for k in first if taken[k] < counts[k] and place >= taken[k] * n // counts[k]]
        chosen = min(open_to, key=lambda k: -(-(taken[k] + 1) * n // counts[k]))
        taken[chosen] += 1
        turns.append(chosen)
    return torch.tensor(turns)


def _turned(
    turns: Int[Tensor, " pair"], counts: Int[Tensor, " label"], generator: torch.Generator
) -> Int[Tensor, " pair"]:
    """The same cycle of turns from another place, drawn of those from which every prefix is still balanced.

    Otherwise the most frequent label would always come first.
    """
    n = len(turns)
    one_hot = torch.nn.functional.one_hot(turns, len(counts))
    # n times how far each prefix is above its share; whole numbers, so that nothing is rounded.
    above = (one_hot * n - counts).cumsum(0)
    fits = ((above >= above.amax(0) - n) & (above <= above.amin(0) + n)).all(-1)
    starts = fits.nonzero()[:, 0]
    start = starts[torch.randint(len(starts), (), generator=generator)]
    return turns.roll(-int(start) - 1)
