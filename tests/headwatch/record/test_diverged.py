"""Since when a training has diverged, as its record says it."""

import pytest

from headwatch.record import Record, RecordWriter
from headwatch.record.diverged import not_finite_since

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("losses", "up_to", "wanted"),
    [
        ([1.0, 2.0, 3.0], 9, None),
        ([1.0, NAN, NAN], 9, 2),
        ([1.0, INF, NAN], 9, 2),
        ([NAN, 1.0, NAN], 9, 3),
        ([NAN, 1.0, 1.0], 9, None),
        ([NAN, NAN, NAN], 9, 1),
        ([1.0, 1.0, NAN], 2, None),
        ([], 9, None),
    ],
)
def test_it_is_the_first_step_of_the_last_stretch_without_a_number(tmp_path, losses, up_to, wanted):
    with RecordWriter(tmp_path, name="r", model={}) as writer:
        for step, loss in enumerate(losses, start=1):
            writer.scalars(step, {"train/loss": loss, "accuracy": NAN})
    assert not_finite_since(Record.read(tmp_path), up_to) == wanted
