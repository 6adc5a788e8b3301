"""Files of prompt pairs with odd values and broken bytes: they load, or one sentence says what is wrong."""

import json

from hypothesis import given
from hypothesis import strategies as st

from headwatch.prompts.check_file import check_pair_file
from headwatch.prompts.pairs import PromptPairs
from tests.fuzz.strategies import check_told, is_one_sentence, odd_values

prompt = st.lists(st.integers(0, 60), min_size=1, max_size=5)
answer = st.integers(0, 60) | st.lists(st.integers(0, 60), min_size=1, max_size=2)
SOUND = {"clean": [1, 2, 3], "corrupted": [1, 4, 3], "answer": 5, "foil": 6}
lines = st.fixed_dictionaries(
    {},
    optional={
        "clean": prompt | odd_values,
        "corrupted": prompt | odd_values,
        "answer": answer | odd_values,
        "foil": answer | odd_values,
        "task": st.text(max_size=3) | odd_values,
        "position": st.integers(0, 4) | odd_values,
    },
)


def is_id(value):
    return type(value) is int and 0 <= value < 2**31


def is_prompt(value):
    return isinstance(value, list) and len(value) > 0 and all(map(is_id, value))


def is_answer(value):
    return is_id(value) or is_prompt(value)


def certainly_wrong(line):
    """No reading of the line makes a pair of token ids of it."""
    clean, corrupted = line.get("clean"), line.get("corrupted")
    if not (is_prompt(clean) and is_prompt(corrupted) and len(clean) == len(corrupted)):
        return True
    if not (is_answer(line.get("answer")) and is_answer(line.get("foil"))):
        return True
    position = line.get("position")
    return not isinstance(line.get("task", ""), str) or not (
        position is None or (is_id(position) and position < len(clean))
    )


def certainly_right(line):
    if certainly_wrong(line) or any("\ud800" <= letter <= "\udfff" for letter in line.get("task", "")):
        return False
    answers, foils = (
        value if isinstance(value, list) else [value] for value in (line["answer"], line["foil"])
    )
    return (
        not {*answers} & {*foils}
        and len({*answers}) == len(answers)
        and len({*foils}) == len(foils)
        and line["clean"] != line["corrupted"]
    )


def load(file):
    try:
        return PromptPairs.from_jsonl(file, None)
    except (ValueError, FileNotFoundError) as error:
        check_told(error, str(file))
        return None


@given(st.lists(lines, min_size=1, max_size=3))
def test_a_line_is_a_pair_or_is_refused(tmp_path_factory, drawn):
    file = tmp_path_factory.getbasetemp() / "drawn.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in drawn))
    pairs = load(file)
    if any(map(certainly_wrong, drawn)):
        assert pairs is None
    elif all(map(certainly_right, drawn)):
        assert pairs is not None
    assert pairs is None or len(pairs) == len(drawn)
    problems = check_pair_file(file, None)
    assert (pairs is None) == bool(problems)
    assert all(is_one_sentence(problem.message) for problem in problems)


@given(st.binary(max_size=40), st.integers(0, 200), st.integers(0, 40))
def test_broken_bytes_are_refused_or_leave_pairs(tmp_path_factory, noise, at, cut):
    whole = "".join(json.dumps(SOUND | {"answer": n + 7}) + "\n" for n in range(3)).encode()
    file = tmp_path_factory.getbasetemp() / "broken.jsonl"
    file.write_bytes(whole[:at] + noise + whole[at + cut :])
    pairs = load(file)
    filled = [line for line in file.read_bytes().split(b"\n") if line.strip()]
    assert pairs is None or len(pairs) == len(filled)
