"""A run in a SQLite store, read back by MLflow's own client."""

import csv
import re
from pathlib import Path

import pytest

from headwatch_callbacks.trackers.mlflow import MLFlowTracker
from headwatch_callbacks.trackers.settings import Trackers
from tests.headwatch_callbacks.trackers.passes import ablation, patterns

mlflow = pytest.importorskip("mlflow", reason="needs the extra headwatch[mlflow]")
pytest.importorskip("sqlalchemy", reason="needs the extra headwatch[mlflow]")

LABEL = "headwatch/ablation/z/mean/loss"
pytestmark = pytest.mark.filterwarnings(
    "ignore::Warning:mlflow", "ignore::Warning:alembic", "ignore::ResourceWarning"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The client and the id of a run of two passes."""
    from lightning.pytorch.loggers import MLFlowLogger

    folder = tmp_path_factory.mktemp("mlflow")
    report = folder / "report.html"
    report.write_text("<html>the report</html>")
    logger = MLFlowLogger(
        tracking_uri=f"sqlite:///{folder}/mlflow.db", artifact_location=str(folder / "artifacts")
    )
    tracker = MLFlowTracker(logger, Trackers())
    for step in (-1, 10):
        tracker.write(ablation(step))
        tracker.write(patterns(step))
    tracker.finish(report)
    logger.finalize("success")
    return logger.experiment, logger.run_id, folder


def artifacts(run, under=None):
    client, identity, _ = run
    return [artifact.path for artifact in client.list_artifacts(identity, under)]


def test_scalars_have_the_trainers_step(run):
    client, identity, _ = run
    history = client.get_metric_history(identity, f"{LABEL}/top_effect")
    assert [(point.step, round(point.value, 4)) for point in history] == [(-1, -3.0), (10, -3.0)]


def test_maps_are_an_image_series(run):
    names = artifacts(run, "images")
    for step in (-1, 10):
        # Versions of MLflow differ in what they write for a slash and between the parts.
        wanted = re.compile(rf"loss[#~]map[%+]step[%+]{step}[%+].*\.png$")
        assert any(wanted.search(name) for name in names)


def test_the_table_and_the_report_are_artifacts(run, tmp_path):
    client, identity, _ = run
    assert "report.html" in artifacts(run)
    table = Path(client.download_artifacts(identity, "HeadImportance.csv", str(tmp_path)))
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert len(rows) == 12
    assert (rows[0]["unit"], float(rows[0]["value"])) == ("L1H0", pytest.approx(-3.0))


def test_the_top_head_is_a_tag(run):
    client, identity, _ = run
    assert client.get_run(identity).data.tags[f"{LABEL}/top_head"] == "L1H0"


def test_names_that_mlflow_refuses_are_changed(run, tmp_path):
    from lightning.pytorch.loggers import MLFlowLogger

    store, place = f"sqlite:///{run[2]}/mlflow.db", str(tmp_path)
    logger = MLFlowLogger("names", tracking_uri=store, artifact_location=place)
    MLFlowTracker(logger, Trackers(pictures_at_full_rate=1)).write(ablation(label="patching/post[3]:17"))
    metrics = logger.experiment.get_run(logger.run_id).data.metrics
    assert "headwatch/patching/post_3__17/top_effect" in metrics
