"""The part of the matrix that every run of the tests trains, and the mistakes that it must find."""

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
