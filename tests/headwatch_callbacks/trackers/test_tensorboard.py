"""The event file, read back by TensorBoard's own reader."""

import io

import pytest
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from headwatch_callbacks.trackers.settings import Trackers
from headwatch_callbacks.trackers.tensorboard import TensorBoardTracker
from tests.headwatch_callbacks.trackers.passes import ablation, patterns

LABEL = "headwatch/ablation/z/mean/loss"


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tensorboard")
    logger = TensorBoardLogger(folder)
    logger.log_hyperparams({"lr": 0.1})
    tracker = TensorBoardTracker(logger, Trackers(per_head=True, mosaic_every=2))
    for step in (-1, 10, 20, 30):
        tracker.write(ablation(step))
        tracker.write(patterns(step))
    tracker.finish(folder / "report.html")
    tracker.finish(folder / "report.html")
    logger.finalize("success")
    return EventAccumulator(logger.log_dir, size_guidance={"images": 0, "tensors": 0}).Reload()


def test_maps_are_an_image_series_with_the_trainers_step(events):
    images = events.Images(f"{LABEL}/map")
    assert [image.step for image in images] == [-1, 10, 20, 30]
    assert Image.open(io.BytesIO(images[0].encoded_image_string)).size[0] >= 400


def test_mosaics_come_at_a_lower_cadence_and_the_last_one_always(events):
    assert [image.step for image in events.Images("headwatch/patterns/attention")] == [-1, 20, 30]


def test_scalars_have_the_trainers_step(events):
    scalars = events.Scalars(f"{LABEL}/top_effect")
    assert [(scalar.step, round(scalar.value, 4)) for scalar in scalars] == [
        (step, -3.0) for step in (-1, 10, 20, 30)
    ]
    assert events.Scalars("heads/ablation/z/mean/loss/L0H1")[0].value == pytest.approx(1.0)


def test_the_strongest_heads_are_a_table_of_text_written_once(events):
    [text] = events.Tensors("HeadImportance/ablation/z/mean/loss/text_summary")
    lines = text.tensor_proto.string_val[0].decode().splitlines()
    assert text.step == 30
    assert lines[0].startswith("| label | rank | unit |")
    assert "| 1 | L1H0 | 1 | 0 | -3 | 0.1 | -3.43 | -2.57 | 3 | True |" in lines[2]


def test_hparams_are_left_untouched(events):
    assert "_hparams_/session_start_info" in events.summary_metadata
    assert not any("hp_metric" in tag and "headwatch" in tag for tag in events.Tags()["scalars"])


def test_a_pass_after_the_end_brings_only_its_own_table(tmp_path):
    logger = TensorBoardLogger(tmp_path)
    tracker = TensorBoardTracker(logger, Trackers())
    tracker.write(ablation(10))
    tracker.finish()
    tracker.write(patterns(20))
    tracker.finish()
    logger.finalize("success")
    read = EventAccumulator(logger.log_dir, size_guidance={"tensors": 0}).Reload()
    steps = {
        label: [each.step for each in read.Tensors(f"HeadImportance/{label}/text_summary")]
        for label in ("ablation/z/mean/loss", "patterns")
    }
    assert steps == {"ablation/z/mean/loss": [10], "patterns": [20]}
