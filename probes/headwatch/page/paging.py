"""How much of a run one answer of the live page holds: a long run comes in pieces, each drawn as it comes."""

from collections.abc import Sequence

from headwatch.page.payload import pass_size
from headwatch.record import (
    AttentionEntry,
    CheckpointEntry,
    EffectEntry,
    Entry,
    Note,
    PromptEntry,
    ScalarEntry,
    ScoreEntry,
)

PAGE_SIZE = 400_000  # characters
_PER_PASS = 150  # step, number of pairs, baseline, cost and the like
_PER_NUMBER = 30


def page_end(entries: Sequence[Entry], after: int) -> int:
    """Where the page that begins after the first `after` entries ends; it holds one entry at least, if there is one."""
    size = 0
    for place in range(after, len(entries)):
        size += entry_size(entries[place])
        if size > PAGE_SIZE and place > after:
            return place
    return max(after, len(entries))


def entry_size(entry: Entry) -> int:
    """About how many characters an entry takes on the page."""
    match entry:
        case EffectEntry():
            return _PER_PASS + pass_size([entry])
        case ScoreEntry():
            return sum(_PER_PASS + 3 * values.size for values in entry.scores.values())
        case AttentionEntry():
            return _PER_PASS + _text_size(entry.tokens)
        case PromptEntry():
            return _text_size(entry.clean) + _text_size(entry.corrupted)
        case ScalarEntry():
            return _PER_NUMBER * len(entry.values)
        case Note():
            return len(entry.message)
        case CheckpointEntry():
            return 0


def _text_size(prompts: tuple[tuple[str, ...], ...]) -> int:
    return sum(len(token) + 3 for tokens in prompts for token in tokens)
