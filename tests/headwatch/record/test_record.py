"""What is written comes back; what others wrote badly costs one line and one clear sentence."""

import json
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headwatch.effects import Effects
from headwatch.prompts.pairs import PromptPairs
from headwatch.record import Record, RecordWriter, Tail

MODEL = {"n_layers": 2, "n_heads": 3}
hostile = st.text(st.characters(), max_size=20) | st.sampled_from(
    ["</script><img src=x onerror=alert(1)>", "\ud83d", '"\\', "\u2028", "\x00\n\r", "{}"]
)


def some_effects(seed=0, pairs=5, kind="mean", dims=("layer", "head"), shape=(2, 3)):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn((pairs, *shape), generator=generator)
    clean = torch.randn(pairs, generator=generator)
    return Effects(values, clean, clean - 2.0, dims, site="z", kind=kind, metric="loss")


@pytest.fixture
def writer(tmp_path):
    with RecordWriter(tmp_path / "run", name="demo", model=MODEL) as opened:
        yield opened


def test_effects_come_back(writer):
    effects = some_effects(kind="denoise")
    writer.effects(100, 2, "patching", "patching/z/denoise", effects, seconds=1.5)
    [entry] = Record.read(writer.directory).effects
    per_pair = effects.per_pair.numpy().astype(np.float64)
    np.testing.assert_allclose(entry.mean, per_pair.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(entry.stderr, per_pair.std(0, ddof=1) / 5**0.5, rtol=1e-5)
    patched = effects.corrupted.mean().item() + per_pair.mean(0)
    expected = (patched - effects.corrupted.mean().item()) / 2.0
    np.testing.assert_allclose(entry.normalized, expected, rtol=1e-4, atol=1e-5)
    assert (entry.step, entry.epoch, entry.probe, entry.label) == (100, 2, "patching", "patching/z/denoise")
    assert (entry.site, entry.kind, entry.metric, entry.exact) == ("z", "denoise", "loss", True)
    assert (entry.dims, entry.n, entry.seconds) == (("layer", "head"), 5, 1.5)


def test_one_pair_has_no_error_bar_and_no_normalized_without_a_corrupted_run(writer):
    effects = Effects(torch.ones(1, 2, 3), torch.ones(1), None, ("layer", "head"), "z", "mean", "loss")
    writer.effects(0, 0, "ablation", "a", effects, 0.0)
    [entry] = Record.read(writer.directory).effects
    assert np.isnan(entry.stderr).all()
    assert entry.normalized is None


def test_clean_and_corrupted_alike_leave_normalized_undefined(writer):
    effects = Effects(
        torch.ones(2, 2, 3), torch.ones(2), torch.ones(2), ("layer", "head"), "z", "noise", "loss"
    )
    writer.effects(0, 0, "patching", "p", effects, 0.0)
    assert Record.read(writer.directory).effects[0].normalized is None


def test_values_that_json_has_no_word_for_read_as_nan(writer):
    writer.scores(1, 0, "s", {"entropy": torch.tensor([[np.nan, np.inf, 0.1]] * 2)}, 0.0)
    writer.scalars(1, {"train/loss": float("nan")})
    text = (writer.directory / "probes.jsonl").read_text()
    json.loads(text.splitlines()[0], parse_constant=pytest.fail)
    record = Record.read(writer.directory)
    np.testing.assert_array_equal(
        record.scores[0].scores["entropy"], np.array([[np.nan, np.nan, 0.1]] * 2, np.float32)
    )
    assert np.isnan(record.scalars["train/loss"].values[0])


def test_scalars_come_back_by_step(writer):
    for step, loss in [(30, 0.5), (10, 2.0), (20, 1.0)]:
        writer.scalars(step, {"train/loss": loss})
    series = Record.read(writer.directory).scalars["train/loss"]
    assert series.steps.tolist() == [10, 20, 30]
    assert series.values.tolist() == [2.0, 1.0, 0.5]


def test_attention_maps_come_back_without_the_padding(writer):
    maps = (
        torch.randn(2, 2, 3, 5, 5).tril().masked_fill(~torch.ones(5, 5).tril().bool(), -torch.inf).softmax(-1)
    )
    tokens = [["a", "b", "c", "d", "e"], ["x", "y", "z"]]
    writer.patterns(7, 0, "maps", maps, tokens)
    frame = Record.read(writer.directory).patterns(7)
    assert frame.tokens == (tuple(tokens[0]), tuple(tokens[1]))
    np.testing.assert_allclose(frame.maps[0], maps[0].numpy(), atol=0.002)
    np.testing.assert_allclose(frame.maps[1], maps[1, ..., :3, :3].numpy(), atol=0.002)


def test_maps_of_two_series_at_one_step_are_kept_apart(writer):
    eye = torch.eye(2).expand(1, 2, 3, 2, 2)
    first = torch.tensor([[1.0, 0], [1, 0]]).expand(1, 2, 3, 2, 2)
    writer.patterns(7, 0, "a", eye, [["x", "y"]])
    writer.patterns(7, 0, "b", first, [["x", "y"]])
    record = Record.read(writer.directory)
    np.testing.assert_array_equal(record.patterns(7, "a").maps[0][1, 2], np.eye(2))
    np.testing.assert_array_equal(record.patterns(7, "b").maps[0][1, 2], [[1, 0], [1, 0]])
    with pytest.raises(ValueError, match="several series"):
        record.patterns(7)
    with pytest.raises(KeyError, match="no attention maps of step 8"):
        record.patterns(8)


def test_maps_are_on_disk_before_the_line_that_names_them(writer, monkeypatch):
    seen = []
    append = RecordWriter._append
    monkeypatch.setattr(
        RecordWriter,
        "_append",
        lambda self, entry: (seen.append(sorted(os.listdir(self.directory / "attn"))), append(self, entry)),
    )
    writer.patterns(7, 0, "a", torch.eye(2).expand(1, 2, 3, 2, 2), [["x", "y"]])
    assert seen == [["7.npz"]]


@pytest.mark.parametrize(
    ("maps", "tokens", "message"),
    [
        (torch.eye(2).expand(1, 2, 3, 2, 2), [["x"], ["y"]], "1 prompts .* 2 lists"),
        (torch.eye(2).expand(1, 2, 3, 2, 2), [["x", "y", "z"]], "3 tokens .* 2 positions"),
        (torch.eye(2).expand(1, 2, 3, 2, 2) * 3, [["x", "y"]], r"\[0, 1\]"),
    ],
)
def test_maps_that_do_not_fit_are_refused(writer, maps, tokens, message):
    with pytest.raises(ValueError, match=message):
        writer.patterns(7, 0, "a", maps, tokens)
    assert Record.read(writer.directory).frames == ()


def test_prompts_come_back(writer):
    ids = torch.arange(8).reshape(2, 4)
    corrupted = ids.clone()
    corrupted[:, 1] = 9
    pairs = PromptPairs.from_tokens(ids, corrupted, torch.tensor([1, 2]), torch.tensor([3, 4]))
    writer.prompts(pairs, label="patching/z")
    entry = Record.read(writer.directory).prompts["patching/z"]
    assert entry.clean == pairs.tokens
    assert entry.corrupted == pairs.corrupted_tokens
    assert (entry.answer, entry.foil, entry.position, entry.total) == ((1, 2), (3, 4), (3, 3), 2)


def test_notes_come_back(writer):
    writer.note("warning", "the wandb tracker failed")
    [note] = Record.read(writer.directory).notes
    assert (note.level, note.message) == ("warning", "the wandb tracker failed")


def test_a_resumed_run_goes_on_and_its_later_pass_counts(writer):
    writer.effects(100, 0, "ablation", "a", some_effects(1), 0.0)
    writer.close()
    with RecordWriter(writer.directory, name="demo", model=MODEL) as resumed:
        resumed.effects(100, 0, "ablation", "a", some_effects(2), 0.0)
        resumed.effects(50, 0, "ablation", "a", some_effects(3), 0.0)
    entries = Record.read(writer.directory).effects
    assert [entry.step for entry in entries] == [50, 100]
    np.testing.assert_allclose(entries[1].mean, some_effects(2).mean.numpy(), rtol=1e-6)


def test_another_model_needs_another_directory(writer):
    with pytest.raises(ValueError, match="use another directory"):
        RecordWriter(writer.directory, name="demo", model={"n_layers": 4, "n_heads": 3})


def test_a_new_name_takes_effect(writer):
    RecordWriter(writer.directory, name="renamed", model=MODEL).close()
    assert Record.read(writer.directory).name == "renamed"


def test_a_closed_record_refuses_more(writer):
    writer.close()
    with pytest.raises(ValueError, match="closed"):
        writer.scalars(1, {"loss": 1.0})


def test_a_folder_that_is_no_record(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no run\.json"):
        Record.read(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"format": 1, "name": 3, "model": {}}',
        '{"format": 1, "name": "x", "model": {"a": -1}}',
        '{"format": "1", "name": "x", "model": {}}',
        '{"name": "x", "model": {}}',
    ],
)
def test_a_damaged_description(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ValueError, match="is damaged"):
        Record.read(tmp_path)


@given(cut=st.integers(0, 2000))
def test_a_truncated_tail_costs_only_itself(tmp_path_factory, cut):
    directory = tmp_path_factory.mktemp("run")
    with RecordWriter(directory, name="demo", model=MODEL) as writer:
        for step in range(4):
            writer.effects(step, 0, "ablation", "a", some_effects(step), 0.0)
    lines = directory / "probes.jsonl"
    data = lines.read_bytes()
    kept = data[: max(0, len(data) - cut)]
    lines.write_bytes(kept)
    record = Record.read(directory)
    assert [entry.step for entry in record.effects] == list(range(kept.count(b"\n")))
    assert record.problems == ()
    # The next writer starts a line of its own.
    with RecordWriter(directory, name="demo", model=MODEL) as writer:
        writer.effects(9, 0, "ablation", "a", some_effects(9), 0.0)
    assert Record.read(directory).effects[-1].step == 9


@given(label=hostile, tokens=st.lists(hostile, min_size=1, max_size=4), name=hostile, scalar=hostile)
def test_any_text_comes_back(tmp_path_factory, label, tokens, name, scalar):
    directory = tmp_path_factory.mktemp("run")
    with RecordWriter(directory, name=name, model=MODEL) as writer:
        writer.effects(1, 0, label, label, some_effects(), 0.0)
        size = len(tokens)
        writer.patterns(1, 0, label, torch.eye(size).expand(1, 2, 3, size, size), [tokens])
        writer.scalars(1, {scalar: 1.0})
    assert (directory / "probes.jsonl").read_bytes().count(b"\n") == 3
    record = Record.read(directory)
    assert (record.name, record.effects[0].label, record.patterns(1).tokens) == (
        name,
        label,
        (tuple(tokens),),
    )
    assert list(record.scalars) == [scalar]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=6,
)
KEYS = [
    "step",
    "shape",
    "dims",
    "mean",
    "stderr",
    "label",
    "tokens",
    "file",
    "scores",
    "values",
    "seconds",
    "n",
]


@given(
    kind=st.sampled_from(["effects", "scores", "scalars", "patterns", "prompts", "note", "new"]),
    values=st.dictionaries(st.sampled_from(KEYS), json_values),
)
def test_a_line_of_anything_is_a_problem_and_no_more(tmp_path_factory, kind, values):
    directory = tmp_path_factory.mktemp("run")
    with RecordWriter(directory, name="demo", model=MODEL) as writer:
        writer.effects(1, 0, "ablation", "a", some_effects(), 0.0)
        with (directory / "probes.jsonl").open("a") as stream:
            stream.write(json.dumps({"type": kind} | values) + "\n")
        writer.effects(2, 0, "ablation", "a", some_effects(), 0.0)
    record = Record.read(directory)
    assert [entry.step for entry in record.effects] == [1, 2]
    if kind in ("effects", "prompts", "note", "new"):  # none of these can be made of KEYS alone
        assert len(record.problems) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "line 1"),
        (b"\xff\xfe", "line 1"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[1]", "expected a JSON object"),
        (b'{"type": "hologram"}', "unknown type 'hologram'"),
        (b'{"type": "note", "level": "info"}', "'message' is missing"),
        (b'{"type": "scores", "step": -1}', "'shape' is missing"),
        (b'{"type": "scores", "shape": [2, 2], "scores": {"a": [1, 2, 3]}}', "needs 4"),
        (b'{"type": "scalars", "step": true, "values": {}}', "whole number"),
        (b'{"type": "scalars", "step": 1, "values": {"a": 1' + b"0" * 400 + b"}}", "too large"),
        (
            b'{"type": "patterns", "step": 1, "epoch": 0, "label": "a", "file": "../../x.npz", "tokens": []}',
            "plain npz name",
        ),
    ],
)
def test_each_problem_is_named(tmp_path, line, message):
    RecordWriter(tmp_path, name="demo", model=MODEL).close()
    (tmp_path / "probes.jsonl").write_bytes(line + b"\n")
    [problem] = Record.read(tmp_path).problems
    assert message in problem
    assert "line 1" in problem


@pytest.mark.parametrize("damage", ["empty", "truncated", "gone", "other"])
def test_damaged_maps_are_one_clear_error(writer, damage):
    writer.patterns(7, 0, "a", torch.eye(2).expand(1, 2, 3, 2, 2), [["x", "y"]])
    file = writer.directory / "attn" / "7.npz"
    data = file.read_bytes()
    if damage == "gone":
        file.unlink()
    elif damage == "other":
        np.savez(file, prompt0=np.array(["text"], object))
    else:
        file.write_bytes(b"" if damage == "empty" else data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"7\.npz"):
        Record.read(writer.directory).patterns(7)


def test_two_writers_share_a_record(tmp_path):
    def write(series):
        with RecordWriter(tmp_path, name="demo", model=MODEL) as writer:
            for step in range(50):
                writer.effects(step, 0, "ablation", series, some_effects(step), 0.0)

    threads = [threading.Thread(target=write, args=(series,)) for series in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    record = Record.read(tmp_path)
    assert record.problems == ()
    assert sorted(e.step for e in record.effects if e.label == "a") == list(range(50))
    assert sorted(e.step for e in record.effects if e.label == "b") == list(range(50))


def test_a_killed_writer_loses_nothing_it_reported(tmp_path):
    program = f"""
import sys
from headwatch.record.writer import RecordWriter
writer = RecordWriter({str(tmp_path)!r}, name="demo", model={{}})
for step in range(10**9):
    writer.scalars(step, {{"loss": step / 7}})
    print(step, flush=True)
"""
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    reported = [int(child.stdout.readline()) for _ in range(20)]
    child.send_signal(signal.SIGKILL)
    rest = child.stdout.read().splitlines(keepends=True)
    child.stdout.close()
    child.wait()
    reported += [int(line) for line in rest if line.endswith("\n")]
    series = Record.read(tmp_path).scalars["loss"]
    assert series.steps.tolist()[: len(reported)] == reported


def test_a_tail_gives_each_line_once_and_waits_for_its_end(writer):
    tail = Tail(writer.directory)
    assert tail.poll() == ([], [])
    writer.scalars(1, {"loss": 1.0})
    with (writer.directory / "probes.jsonl").open("ab") as stream:
        stream.write(b'{"type":"note","level":"info",')
        stream.flush()
        assert [entry.step for entry in tail.poll()[0]] == [1]
        assert tail.poll() == ([], [])
        stream.write(b'"message":"done"}\n')
    assert [entry.message for entry in tail.poll()[0]] == ["done"]


def test_a_full_disk_is_said_and_the_next_line_is_whole(writer, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:5]))
    with pytest.raises(OSError, match="only 5 of"):
        writer.scalars(1, {"loss": 1.0})
    monkeypatch.undo()
    writer.scalars(2, {"loss": 2.0})
    record = Record.read(writer.directory)
    assert record.scalars["loss"].steps.tolist() == [2]
    assert len(record.problems) == 1
