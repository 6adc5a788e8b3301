"""What a pass leaves in the record, read back by the record's own reader."""

from dataclasses import asdict, replace

import pytest
import torch

from headwatch.model.architecture import Sizes
from headwatch.prompts.pairs import PromptPairs
from headwatch.record import Record
from headwatch.record.per_pair import read_per_pair
from headwatch_callbacks.trackers.guarded import GuardedTracker
from headwatch_callbacks.trackers.run_recorder import RunRecorder
from tests.headwatch_callbacks.trackers.passes import ablation, patterns

SIZES = Sizes(n_layers=2, n_heads=3, n_kv_heads=3, d_head=4, d_model=12, d_mlp=48, n_positions=16, d_vocab=32)
LABEL = "ablation/z/mean/loss"


def pairs():
    clean = torch.arange(9).reshape(3, 3)
    return PromptPairs.from_tokens(clean, clean + 9, torch.arange(3), torch.arange(3) + 3)


def test_each_part_of_a_pass_gets_its_line(tmp_path):
    recorder = RunRecorder(tmp_path / "mine", SIZES)
    recorder.write(ablation(10))
    recorder.write(patterns(10))
    recorder.scalars(11, {"train/loss": 1.5})
    recorder.note("warning", "something to know")
    recorder.finish()
    record = Record.read(tmp_path / "mine")
    assert record.name == "mine"
    assert asdict(SIZES).items() <= dict(record.model).items()
    [effects] = record.effects
    assert (effects.step, effects.epoch, effects.label, effects.seconds) == (10, 1, LABEL, 0.25)
    assert effects.mean[1, 0] == pytest.approx(-3.0)
    assert [entry.label for entry in record.scores] == ["patterns"]
    assert [entry.label for entry in record.frames] == ["patterns"]
    assert [(note.level, note.message) for note in record.notes] == [("warning", "something to know")]


def test_prompts_come_with_the_first_pass_of_a_series_only(tmp_path):
    recorder = RunRecorder(tmp_path, SIZES)
    for step in (0, 10):
        recorder.write(replace(ablation(step), pairs=pairs()))
    recorder.finish()
    lines = (tmp_path / "probes.jsonl").read_text().splitlines()
    assert sum('"prompts"' in line for line in lines) == 1
    assert LABEL in Record.read(tmp_path).prompts


def test_a_pass_keeps_the_effect_on_every_pair(tmp_path):
    recorder = RunRecorder(tmp_path, SIZES)
    recorder.write(replace(ablation(10), pairs=pairs()))
    recorder.write(ablation(20))
    recorder.finish()
    kept, unknown = Record.read(tmp_path).effects
    # Three pairs, 0.1·√3 apart, around −3.
    values = read_per_pair(tmp_path, kept).exact[:, 1, 0]
    assert values.tolist() == pytest.approx([-3 - 0.1 * 3**0.5, -3, -3 + 0.1 * 3**0.5], abs=0.002)
    assert unknown.per_pair is None


def test_it_is_a_tracker_that_a_guard_can_stand_around(tmp_path):
    guarded = GuardedTracker(RunRecorder(tmp_path / "run", SIZES), "the record")
    guarded.write(ablation(10))
    guarded.finish(tmp_path / "report.html")
    assert guarded.enabled
    assert len(Record.read(tmp_path / "run").effects) == 1


def test_the_record_of_another_model_is_refused(tmp_path):
    RunRecorder(tmp_path, SIZES).finish()
    with pytest.raises(ValueError, match="n_layers"):
        RunRecorder(tmp_path, replace(SIZES, n_layers=3))
