"""What makes prompt pairs that can be used say less than they seem to."""

from collections.abc import Iterator, Sequence

from headwatch.prompts.pairs import PromptPairs

_NAMED = 3  # lines
_ENOUGH = 4  # pairs, for what they have in common to be no accident


def doubts(pairs: PromptPairs) -> list[str]:
    """A sentence for each thing that a look at the pairs should not miss; empty where there is none."""
    return [*_in_prompts(pairs), *_in_texts(pairs), *_in_common(pairs)]


def _in_prompts(pairs: PromptPairs) -> Iterator[str]:
    same = [row for row, pair in enumerate(pairs.pairs) if pair.clean == pair.corrupted]
    if same:
        yield f"{_at(pairs, same)}: clean and corrupted are the same prompt, so that patching changes nothing"
    first: dict[object, int] = {}
    again = [row for row, pair in enumerate(pairs.pairs) if first.setdefault(pair.clean, row) != row]
    if again:
        yield (
            f"{_at(pairs, again)}: the clean prompt was there before ({len(first)} of {len(pairs)} are distinct), and "
            "error bars count it as if it were another one"
        )


def _in_texts(pairs: PromptPairs) -> Iterator[str]:
    texts = [(pair.clean, pair.corrupted) for pair in pairs.pairs]
    spaced = [
        row
        for row, both in enumerate(texts)
        if any(isinstance(text, str) and text != text.rstrip() for text in both)
    ]
    if spaced:
        yield (
            f"{_at(pairs, spaced)}: the prompt ends in a space, where most tokenizers begin the next word's token: "
            "leave it to the answer"
        )


def _in_common(pairs: PromptPairs) -> Iterator[str]:
    if len(pairs) < _ENOUGH:
        return
    if len({pair.answer for pair in pairs.pairs}) == 1:
        yield (
            f"all answers are {pairs.pairs[0].answer!r}: what a model does for that token whatever the prompt looks "
            "like the task"
        )
    orders = [order for row in range(len(pairs)) if (order := _answer_first(pairs, row)) is not None]
    if len(orders) >= _ENOUGH and len(set(orders)) == 1:
        one, other = ("answer", "foil") if orders[0] else ("foil", "answer")
        yield (
            f"the {one} stands before the {other} in each of the {len(orders)} clean prompts that have both: a head "
            "that attends to the first of the two looks like the task"
        )


def _answer_first(pairs: PromptPairs, row: int) -> bool | None:
    """Whether the answer is mentioned before the foil; None where they aren't both."""
    ids = pairs.clean[row, : int(pairs.lengths[row])].tolist()
    answer, foil = int(pairs.answer[row]), int(pairs.foil[row])
    if answer not in ids or foil not in ids:
        return None
    return ids.index(answer) < ids.index(foil)


def _at(pairs: PromptPairs, rows: Sequence[int]) -> str:
    """Where these pairs came from: a file's line, a pair's place."""
    places = [pairs.origins[row].rpartition(":")[2] for row in rows[:_NAMED]]
    if all(place.isdigit() for place in places):
        places[0] = ("line " if len(rows) == 1 else "lines ") + places[0]
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    return ", ".join(places) + more
