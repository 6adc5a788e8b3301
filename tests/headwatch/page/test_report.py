"""The report's file: what is in it, how large it is, and that nothing in it can act."""

import base64
import hashlib
import html
import json
import re
from importlib import import_module, resources

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headwatch.effects import Effects
from headwatch.page import report
from headwatch.page.assemble import assemble, embed, read_static
from headwatch.page.series_payload import keyframes
from headwatch.record import Record, RecordWriter
from headwatch.statistics.intervals import p_values, t_factor
from headwatch.statistics.multiple_testing import benjamini_hochberg
from tests.headwatch.page.fake_run import HOSTILE, write_run

SCRIPTS = sorted(file.name for file in resources.files("headwatch.page").joinpath("static").iterdir())
SCRIPTS = [name for name in SCRIPTS if name.endswith(".js")]


def data_of(file):
    """The JSON inside a report."""
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*?)</script>', file.read_text())[1]
    )


def test_a_thousand_passes_and_twenty_frames_are_under_three_megabytes(tmp_path):
    write_run(tmp_path / "run", passes=1000, every=2, frames=20, series=1, by_position=False)
    file = report([tmp_path / "run"], tmp_path / "out.html")
    assert file.stat().st_size <= 3_000_000
    [run] = data_of(file)["runs"]
    assert {len(series["steps"]) for series in run["series"] if series["probe"] == "ablation"} == {1000}
    assert len(run["frames"]) == 20


def test_values_survive_the_half_precision(run, page_file):
    [payload] = data_of(page_file)["runs"]
    [series] = [series for series in payload["series"] if series["label"] == "ablation/z/mean/loss"]
    halves = np.frombuffer(base64.b64decode(series["mean"]["data"]), "<f2").astype(np.float32)
    shown = halves.reshape(-1, 12, 12) * series["mean"]["scale"]
    exact = np.stack([e.mean for e in Record.read(run).effects if e.label == "ablation/z/mean/loss"])
    np.testing.assert_allclose(shown, exact, rtol=6e-4, atol=1e-6 * np.abs(exact).max())


def test_intervals_and_marks_are_those_of_the_statistics(run, page_file):
    [payload] = data_of(page_file)["runs"]
    [series] = [series for series in payload["series"] if series["label"] == "ablation/z/mean/loss"]
    entries = [e for e in Record.read(run).effects if e.label == "ablation/z/mean/loss"]
    half = np.frombuffer(base64.b64decode(series["half"]["data"]), "<f2").reshape(-1, 12, 12)
    expected = [t_factor(e.n - 1) * e.stderr for e in entries]
    np.testing.assert_allclose(half * series["half"]["scale"], expected, rtol=1e-3, atol=1e-6)
    for entry, marks in zip(entries, series["marks"], strict=True):
        bits = np.unpackbits(np.frombuffer(base64.b64decode(marks), np.uint8))[:144].astype(bool)
        found = benjamini_hochberg(p_values(entry.mean, entry.stderr, entry.n - 1))
        np.testing.assert_array_equal(bits.reshape(12, 12), found)
    scores = [series for series in payload["series"] if series["kind"] == "score"]
    assert {(series["half"], series["marks"]) for series in scores} == {(None, None)}


def test_one_pair_has_neither_an_interval_nor_a_mark(tmp_path):
    with RecordWriter(tmp_path / "run", name="x", model={}) as writer:
        effects = Effects(torch.ones(1, 2, 3), torch.ones(1), None, ("layer", "head"), "z", "mean", "loss")
        writer.effects(0, 0, "ablation", "a", effects, 0.0)
    [run] = data_of(report([tmp_path / "run"], tmp_path / "out.html"))["runs"]
    assert [(series["half"], series["marks"]) for series in run["series"]] == [(None, None)]


def test_a_run_that_takes_too_much_is_thinned_to_its_first_and_last_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(import_module("headwatch.page.report"), "VALUES_BUDGET", 60_000)
    write_run(tmp_path / "run", passes=40, frames=0, series=1, by_position=False)
    [run] = data_of(report([tmp_path / "run"], tmp_path / "out.html"))["runs"]
    [series] = [series for series in run["series"] if series["probe"] == "ablation"]
    assert series["total"] == 40
    assert 2 <= len(series["steps"]) < 40
    assert (series["steps"][0], series["steps"][-1]) == (0, 39 * 40)


def test_maps_that_take_too_much_lose_prompts_before_steps(tmp_path, monkeypatch):
    write_run(tmp_path / "run", passes=4, frames=4, prompts=8, series=1, by_position=False)
    module = import_module("headwatch.page.report")
    monkeypatch.setattr(module, "SIZE_BUDGET", 0)
    monkeypatch.setattr(module, "LEAST_MAPS_BUDGET", 200_000)
    [run] = data_of(report([tmp_path / "run"], tmp_path / "out.html"))["runs"]
    assert [frame["step"] for frame in run["frames"]] == [0, 40, 80, 120]
    assert {frame["total"] for frame in run["frames"]} == {8}
    assert {len(frame["tokens"]) for frame in run["frames"]} < {8}.union(range(1, 8))


def test_damaged_maps_are_a_note_not_a_failure(tmp_path):
    write_run(tmp_path / "run", passes=2, frames=2, prompts=2, series=1, by_position=False)
    (tmp_path / "run" / "attn" / "40.npz").write_bytes(b"PK")
    [run] = data_of(report([tmp_path / "run"], tmp_path / "out.html"))["runs"]
    assert [frame["step"] for frame in run["frames"]] == [0]
    assert any("40.npz" in problem for problem in run["problems"])


def test_a_truncated_record_still_makes_a_report(tmp_path):
    write_run(tmp_path / "run", passes=3, frames=0, series=1, by_position=False)
    lines = tmp_path / "run" / "probes.jsonl"
    lines.write_bytes(lines.read_bytes()[:-7])
    assert report([tmp_path / "run"], tmp_path / "out.html").exists()


def test_no_run_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="at least one run"):
        report([], tmp_path / "out.html")


def test_a_folder_that_is_no_record_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no run\.json"):
        report([tmp_path], tmp_path / "out.html")


def test_a_file_that_cannot_be_written_is_said(run, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"out\.html can't be written: No such file or directory"):
        report([run], tmp_path / "missing" / "out.html")


def test_the_policy_allows_the_pages_own_scripts_and_nothing_else(page_file):
    text = page_file.read_text()
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1])
    scripts = re.findall(r"<script>(.*?)</script>", text, re.S)
    assert len(scripts) == 1
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = re.search(r"script-src ([^;]*);", policy)[1].split()
    assert allowed == [f"'sha256-{value}'" for value in hashes]
    assert policy.startswith("default-src 'none'; ")
    assert "connect-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"https?://(?!www\.w3\.org)", text.replace("http-equiv", ""))


@settings(max_examples=30, deadline=None)
@given(text=st.text() | st.just(HOSTILE) | st.sampled_from(["<!--", "{{script}}", "]]>", "\u2028", "\ud83d"]))
def test_no_text_leaves_its_place(text):
    page = assemble({"live": False, "runs": [{"name": text}]}, title=text)
    data = re.search(r'id="data">(.*?)</script>', page, re.S)[1]
    assert json.loads(data)["runs"][0]["name"] == text
    assert not set("<>&") & set(embed(text))
    assert page.count("<script") == 2


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_never_make_markup_or_code_from_text(name):
    markup = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|setAttribute\(.(style|on)"
    assert not re.search(rf"{markup}|\beval\b|new Function", read_static(name))


@given(count=st.integers(0, 50), limit=st.integers(0, 20))
def test_keyframes_keep_the_first_and_the_last(count, limit):
    kept = keyframes(range(count), limit)
    assert len(kept) == min(count, limit)
    assert kept == sorted(set(kept))
    if count and limit >= 2:
        assert (kept[0], kept[-1]) == (0, count - 1)
