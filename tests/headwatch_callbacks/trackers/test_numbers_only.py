import csv

import pytest
from lightning.pytorch.loggers import CSVLogger

from headwatch_callbacks.trackers.numbers_only import NumbersTracker
from headwatch_callbacks.trackers.settings import Trackers
from tests.headwatch_callbacks.trackers.passes import ablation


def written(folder, settings):
    logger = CSVLogger(folder)
    tracker = NumbersTracker(logger, settings)
    for step in (0, 10):
        tracker.write(ablation(step))
    tracker.finish()
    with open(f"{logger.log_dir}/metrics.csv") as file:
        return list(csv.DictReader(file))


def test_a_row_a_pass_with_a_column_a_head(tmp_path):
    rows = written(tmp_path, Trackers())
    assert [row["step"] for row in rows] == ["0", "10"]
    assert float(rows[1]["heads/ablation/z/mean/loss/L1H0"]) == pytest.approx(-3.0)
    assert float(rows[0]["headwatch/ablation/z/mean/loss/clean"]) == 2.5


def test_per_head_columns_can_be_left_out(tmp_path):
    rows = written(tmp_path, Trackers(per_head=False))
    assert not any(name.startswith("heads/") for name in rows[0])
