"""Offline runs, read back from the file that wandb itself would upload."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import wandb
from lightning.pytorch.loggers import WandbLogger

from headwatch_callbacks.trackers.importance import TABLE_COLUMNS
from headwatch_callbacks.trackers.settings import Trackers
from headwatch_callbacks.trackers.wandb import WandbTracker
from tests.headwatch_callbacks.trackers.passes import ablation, effects, patterns
from tests.headwatch_callbacks.trackers.wandb_file import history, records, summary
from tests.models import random_pairs

LABEL = "headwatch/ablation/z/mean/loss"
REPORT = "<!doctype html><html><head><title>r</title></head><body>the report</body></html>"


def logger(folder: Path, identity: str) -> WandbLogger:
    settings = wandb.Settings(silent=True, x_disable_stats=True, x_disable_meta=True)
    return WandbLogger(save_dir=folder, offline=True, id=identity, settings=settings)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One offline run of four passes of two probes; its folder."""
    folder = tmp_path_factory.mktemp("wandb")
    report = folder / "report.html"
    report.write_text(REPORT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_SILENT", "true")
        patch.setenv("WANDB_MODE", "offline")  # WandbLogger(offline=True) sets this one for good
        to = logger(folder, "first")
        tracker = WandbTracker(to, Trackers(mosaic_every=2))
        for step in (-1, 10, 20, 30):
            tracker.write(ablation(step))
            tracker.write(patterns(step))
        to.log_metrics({"train/loss": 1.5}, step=31)
        for _ in range(2):  # each of several probes may say that it is done
            tracker.finish(report)
        directory = Path(to.experiment.dir).parent
        to.experiment.finish()
    return directory


def test_a_pass_is_one_call_with_the_trainers_step_beside_the_values(run):
    rows = history(run)
    passes = [row for row in rows if f"{LABEL}/clean" in row]
    assert [row["trainer/global_step"] for row in passes] == [-1, 10, 20, 30]
    for row in passes:
        assert row[f"{LABEL}/top_effect"] == pytest.approx(-3.0)
        assert row[f"{LABEL}/map"]["_type"] == "image-file"
    # wandb counts its calls where no step= is passed: 4 passes of 2 probes, a training loss, a mosaic, the end
    assert [row["_step"] for row in rows] == list(range(11))


def test_everything_has_the_trainers_step_as_its_x(run):
    metrics = [record.metric for record in records(run) if record.WhichOneof("record_type") == "metric"]
    axes = {metric.glob_name or metric.name: metric.step_metric for metric in metrics}
    assert axes["headwatch/*"] == "trainer/global_step"
    assert axes["heads/*"] == "trainer/global_step"


def test_pictures_are_files_under_one_fixed_key(run):
    pictures = [row[f"{LABEL}/map"] for row in history(run) if f"{LABEL}/map" in row]
    assert len(pictures) == 4
    assert all((run / "files" / picture["path"]).read_bytes().startswith(b"\x89PNG") for picture in pictures)


def test_mosaics_come_at_a_lower_cadence_and_the_last_one_always(run):
    steps = [row["trainer/global_step"] for row in history(run) if "headwatch/patterns/attention" in row]
    assert steps == [-1, 20, 30]


def test_per_head_series_only_by_choice(run):
    assert not any(name.startswith("heads/") for row in history(run) for name in row)


def test_one_immutable_table_of_every_head_at_the_end(run):
    found = [row["HeadImportance"] for row in history(run) if "HeadImportance" in row]
    assert [table["log_mode"] for table in found] == ["IMMUTABLE"]
    table = json.loads((run / "files" / found[0]["path"]).read_text())
    assert table["columns"] == list(TABLE_COLUMNS)
    assert len(table["data"]) == 6 + 6
    first = dict(zip(TABLE_COLUMNS, table["data"][0], strict=True))
    assert (first["unit"], first["value"]) == ("L1H0", pytest.approx(-3.0))
    assert first["stderr"] == pytest.approx(0.1, rel=1e-4)


def test_the_summary_names_the_top_head_its_effect_and_the_spread(run):
    found = summary(run)
    shares = [1 / 4.15, 0.05 / 4.15, 3 / 4.15, 0.1 / 4.15]
    spread = -sum(share * math.log(share) for share in shares)
    assert found[f"{LABEL}/top_head"] == "L1H0"
    assert found[f"{LABEL}/top_effect"] == pytest.approx(-3.0)
    assert found[f"{LABEL}/importance_entropy"] == pytest.approx(spread, rel=1e-4)
    assert found[f"{LABEL}/effective_heads"] == pytest.approx(math.exp(spread), rel=1e-4)


def test_the_report_is_attached_once_and_unchanged(run):
    found = [row["headwatch/report"] for row in history(run) if "headwatch/report" in row]
    assert len(found) == 1
    assert (run / "files" / found[0]["path"]).read_text() == REPORT


def test_a_resumed_run_has_the_same_id_and_goes_on_along_x(run, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    to = logger(tmp_path, "first")
    tracker = WandbTracker(to, Trackers(per_head=True))
    tracker.write(ablation(40))
    tracker.finish()
    directory = Path(to.experiment.dir).parent
    to.experiment.finish()
    ids = {
        record.run.run_id
        for folder in (run, directory)
        for record in records(folder)
        if record.HasField("run")
    }
    assert ids == {"first"}
    rows = history(directory)
    assert [row["trainer/global_step"] for row in rows] == [40, 40]
    assert rows[0]["heads/ablation/z/mean/loss/L1H0"] == pytest.approx(-3.0)
    assert "headwatch/report" not in rows[1]


def changing(step, by):
    """A pass on fixed pairs whose effects all moved by `by`, one pair a little more than another."""
    values = torch.tensor([0.5, -1.0, 2.0])[:, None, None] + by * torch.tensor([0.9, 1.0, 1.1])[:, None, None]
    found = effects(values.expand(3, 2, 3))
    return replace(ablation(step), effects=found, pairs=random_pairs(3))


@pytest.mark.parametrize("alerts", [True, False])
def test_an_alert_is_sent_for_a_pass_in_which_heads_changed_and_only_where_it_is_asked_for(
    tmp_path, monkeypatch, alerts
):
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_MODE", "offline")
    to = logger(tmp_path, "alerts")
    tracker = WandbTracker(to, Trackers(alerts=alerts))
    for step, by in ((0, 0.0), (10, 0.0), (20, 1.0), (30, 1.0)):
        tracker.write(changing(step, by))
    tracker.finish()
    folder = Path(to.experiment.dir).parent
    to.experiment.finish()
    sent = [record.alert for record in records(folder) if record.WhichOneof("record_type") == "alert"]
    assert [alert.title for alert in sent] == ["ablation/z/mean/loss: 6 heads changed at step 20"] * alerts
    assert all("Since step 10, by more than noise: L0H0 +1 ±" in alert.text for alert in sent)
