import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwatch.prompts.jsonl import PromptPair, parse_line, read_pair_file, write_pair_file

LINE = {"clean": "a b", "corrupted": "a c", "answer": "d", "foil": "e"}

text = st.text(st.characters(exclude_categories=["Cs"]))
token_id = st.integers(0, 2**31 - 1)
prompt = text | st.lists(token_id).map(tuple)
answer = text | token_id | st.lists(text | token_id, min_size=1).map(tuple)
fields = st.tuples(prompt, prompt, answer, answer, text, st.none() | token_id)
json_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


def line_with(**changed: object) -> bytes:
    return json.dumps({**LINE, **changed}).encode()


def line_without(key: str) -> bytes:
    return json.dumps({name: value for name, value in LINE.items() if name != key}).encode()


@given(rows=st.lists(fields, min_size=1))
def test_what_is_written_is_read_back(rows: list[tuple], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    written = [PromptPair(*row) for row in rows]
    write_pair_file(path, written)
    assert read_pair_file(path) == [(f"{path}:{number}", pair) for number, pair in enumerate(written, 1)]


@given(line=st.binary(min_size=1))
def test_any_bytes_are_a_pair_or_a_value_error(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"not UTF-8|not JSON|JSON object|missing"):
        parse_line(line)


@given(key=st.sampled_from(sorted(LINE)), value=json_value)
def test_any_value_is_taken_or_refused_by_its_key(key: str, value: object) -> None:
    try:
        read = getattr(parse_line(line_with(**{key: value})), key)
    except ValueError as error:
        message = str(error)
    else:
        message = f"{key} is read"
        assert value == (list(read) if isinstance(read, tuple) else read)
    assert message.startswith(f"{key} ")


@given(space=st.text(alphabet="\r \t", max_size=3), bom=st.booleans(), blank=st.integers(0, 3))
def test_line_ends_blank_lines_and_byte_order_mark(
    space: str, bom: bool, blank: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    start = b"\xef\xbb\xbf" if bom else b""
    gap = (space.encode() + b"\n") * blank
    path.write_bytes(start + gap + line_with() + b"\r\n" + gap + line_with(task="t"))
    origins, read = zip(*read_pair_file(path), strict=True)
    assert read == (PromptPair("a b", "a c", "d", "e"), PromptPair("a b", "a c", "d", "e", "t"))
    assert origins == (f"{path}:{blank + 1}", f"{path}:{2 * blank + 2}")


def test_keys_of_the_users_own_are_left_alone() -> None:
    assert parse_line(line_with(note="mine")) == parse_line(line_with())


def test_a_line_separator_inside_a_text_does_not_end_the_line(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({**LINE, "clean": "a\u2028b\x85c"}, ensure_ascii=False), encoding="utf-8")
    assert read_pair_file(path)[0][1].clean == "a\u2028b\x85c"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"clean": "a",', "not JSON: .* at column 15"),
        (b"clean,corrupted", "not JSON: Expecting value at column 1"),
        (b'["a", "b"]', "a pair is a JSON object .*, not a list"),
        (b"[" * 100_000, "not JSON that can be read"),
        (b"1" * 5_000, "not JSON that can be read"),
        (b'{"clean": "caf\xe9"}', "not UTF-8: byte 0xe9 at byte 15 of the line"),
        (line_without("foil"), '"foil" missing; a pair has "clean", "corrupted", "answer", "foil"'),
        (b"{}", '"clean", "corrupted", "answer", "foil" missing'),
        (line_with(clean=None), "clean is null; it must be text or a list of token ids"),
        (line_with(corrupted=["a"]), r'corrupted is a list \(\["a"\]\)'),
        (line_with(clean=[1, True]), "clean is a list"),
        (line_with(clean=[1, -1]), "clean is a list"),
        (line_with(answer=True), "answer is true; it must be text or a token id"),
        (line_with(answer=1.5), "answer is 1.5"),
        (line_with(answer=2**31), "answer is 2147483648"),
        (line_with(foil=[]), "foil is an empty list"),
        (line_with(foil={}), "foil is an object"),
        (line_with(task=3), "task is 3; it must be text"),
        (line_with(position=-1), "position is -1; it must be a token's index, counted from 0"),
        (line_with(position="last"), "position is 'last'"),
        (line_with(clean="\ud800"), "clean has half of a surrogate pair"),
    ],
)
def test_what_is_wrong_is_said_with_its_file_and_line(line: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(line_with() + b"\n\n" + line + b"\n")
    with pytest.raises(ValueError, match=message) as raised:
        read_pair_file(path)
    assert str(raised.value).startswith(f"{path}:3: ")


@pytest.mark.parametrize("content", [b"", b"\n \r\n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r'pairs.jsonl is empty: .* "clean", "corrupted", "answer", "foil"'):
        read_pair_file(path)


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"missing.jsonl does not exist"):
        read_pair_file(tmp_path / "missing.jsonl")
    with pytest.raises(FileNotFoundError, match="is a folder, not a pair file"):
        read_pair_file(tmp_path)
