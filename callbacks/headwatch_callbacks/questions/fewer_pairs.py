"""Fewer pairs where all are too dear: always the same ones, balanced over tasks, the smaller set within the larger."""

from headwatch.prompts.pairs import PromptPairs
from headwatch.statistics.balanced_order import balanced_order
from headwatch_callbacks.questions.pass_plan import LEAST_PAIRS


def levels_of(n_pairs: int) -> tuple[int, ...]:
    """All pairs, half of them, and so on down to 8: few levels, so that passes are mostly of the same pairs."""
    found = [n_pairs]
    while found[-1] > LEAST_PAIRS:
        found.append(max(LEAST_PAIRS, found[-1] // 2))
    return tuple(found)


def balanced_subset(pairs: PromptPairs, n_pairs: int) -> PromptPairs:
    """The first pairs of a random order in which tasks are balanced, in the order of the file."""
    return pairs[balanced_order(len(pairs), pairs.task_numbers)[:n_pairs].sort().values]
