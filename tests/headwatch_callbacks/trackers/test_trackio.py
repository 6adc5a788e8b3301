"""A trackio run, read back from its own store."""

import sys

import pytest

from headwatch_callbacks.trackers.settings import Trackers
from headwatch_callbacks.trackers.trackio import TrackioLogger, TrackioTracker
from tests.headwatch_callbacks.trackers.passes import ablation, patterns

LABEL = "headwatch/ablation/z/mean/loss"


def test_without_trackio_the_logger_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"TrackioLogger needs trackio: pip install 'headwatch\[trackio\]'"
    ):
        TrackioLogger("project")


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trackio")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACKIO_DIR", str(folder))  # read when trackio is first imported
        pytest.importorskip("trackio", reason="needs the extra headwatch[trackio]")
        from trackio.sqlite_storage import SQLiteStorage

        report = folder / "report.html"
        report.write_text("<html>the report</html>")
        logger = TrackioLogger("project", "run", auto_log_cpu=False, auto_log_gpu=False)
        logger.log_hyperparams({"lr": 0.1})
        tracker = TrackioTracker(logger, Trackers(mosaic_every=2))
        for step in (-1, 10):
            tracker.write(ablation(step))
            tracker.write(patterns(step))
        logger.finalize("success")
        tracker.finish(report)  # goes on with the same run
        logger.finalize("success")
        return SQLiteStorage.get_logs("project", "run")


def test_a_pass_is_one_row_with_the_trainers_step(logs):
    rows = [row for row in logs if f"{LABEL}/clean" in row]
    assert [row["step"] for row in rows] == [-1, 10]
    assert rows[0][f"{LABEL}/top_effect"] == pytest.approx(-3.0)
    assert rows[0][f"{LABEL}/map"]["_type"] == "trackio.image"


def test_mosaics_come_at_a_lower_cadence_and_the_last_one_always(logs):
    assert [row["step"] for row in logs if "headwatch/patterns/attention" in row] == [-1, 10]


def test_the_table_the_top_head_and_the_report_come_at_the_end(logs):
    last = logs[-1]
    assert len(last["HeadImportance"]["_value"]) == 12
    assert last["HeadImportance"]["_value"][0]["unit"] == "L1H0"
    assert last[f"{LABEL}/top_head"] == "L1H0"
    assert last["headwatch/report"]["_type"] == "trackio.html"
