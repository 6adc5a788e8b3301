"""The part of the matrix that every run of the tests trains, and the mistakes that it must find."""

from tests.matrix import document
from tests.matrix.rows import ROWS
from tests.matrix.run import EFFECTS, expected_columns, run_mistakes, run_rows
from tests.matrix.trace import COLUMNS


def test_probes_change_nothing_in_the_rows_of_every_day():
    found = run_rows([row for row in ROWS if row.fast], jobs=2)
    assert len(found) > 9
    wrong = [str(each) for each in found if any(each.wrong.values())]
    assert not wrong, "\n".join(wrong)


def test_each_planted_mistake_shows_in_its_column():
    shown = run_mistakes(jobs=2)
    missed = {what: shown[what] for what, column in expected_columns().items() if column not in shown[what]}
    assert not missed


def test_each_column_is_there_for_a_mistake():
    assert set(expected_columns().values()) == {*COLUMNS, EFFECTS}


def test_the_page_shows_the_rows_and_columns_that_the_code_has_and_nothing_wrong():
    rows, mistakes = document.read()
    assert rows[0] == document.HEADER
    assert [row[0].strip("`") for row in rows[1:]] == [row.name for row in ROWS]
    assert [row[-1] for row in rows[1:]] == [document.run_by(row) for row in ROWS]
    assert [row for row in rows[1:] if document.DIFFERENT in row] == []
    assert [(row[0], row[1]) for row in mistakes[1:]] == list(expected_columns().items())
    assert [row for row in mistakes[1:] if row[1] not in row[2].split(", ")] == []
