"""The effect on every pair comes back to within what is promised, takes little room, and is missed in one sentence."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from headwatch.effects import Effects
from headwatch.prompts.fingerprint import fingerprints
from headwatch.prompts.pairs import PromptPairs
from headwatch.record import Record, RecordWriter
from headwatch.record.per_pair import PerPair, pack, read_per_pair, unpack

HEADS = ("layer", "head")
magnitudes = st.floats(2.0**-100, 2.0**100, width=32)
some_values = st.one_of(
    magnitudes, magnitudes.map(lambda x: -x), st.just(0.0), st.sampled_from([np.nan, np.inf])
)


def pairs_of(n, shift=0):
    clean = torch.arange(3 * n).reshape(n, 3) + shift
    return PromptPairs.from_tokens(clean, clean + 1, torch.arange(n), torch.arange(n) + 1)


def numbered(n):
    """Fingerprints of so many pairs."""
    return np.arange(n, dtype=np.uint64)


def effects_of(values, dims=HEADS):
    per_pair = torch.as_tensor(values, dtype=torch.float32)
    return Effects(per_pair, torch.ones(len(per_pair)), None, dims, "z", "mean", "loss")


def write(directory, values, dims=HEADS, step=100, **others):
    with RecordWriter(directory, name="run", model={}) as writer:
        writer.effects(step, 0, "ablation", "a", effects_of(values, dims), 0.0, **others)
    return Record.read(directory).effects[-1]


@given(arrays(np.float32, (4, 2, 3), elements=some_values))
def test_values_come_back_to_within_a_thousandth_of_their_heads_largest(values):
    found = unpack(*pack(values))
    finite = np.isfinite(values)
    np.testing.assert_array_equal(np.isfinite(found), finite)
    known = np.where(finite, values, 0).astype(np.float64)
    off = np.abs(np.where(finite, found, 0) - known)
    assert (off <= 1e-3 * np.abs(known).max(0)).all()
    assert (found[values == 0] == 0).all()


def test_a_pass_keeps_them_beside_its_line(tmp_path):
    values = np.random.default_rng(0).normal(size=(5, 2, 3))
    entry = write(tmp_path, values, pairs=pairs_of(5), overhead=0.04)
    assert (entry.per_pair, entry.overhead) == ("100.npz", 0.04)
    found = read_per_pair(tmp_path, entry)
    np.testing.assert_allclose(found.exact, values, atol=0.0005 * np.abs(values).max())
    assert found.covariate is None
    np.testing.assert_array_equal(found.pairs, fingerprints(pairs_of(5)))


def test_two_passes_of_a_step_keep_their_own(tmp_path):
    for label in ("a", "b"):
        with RecordWriter(tmp_path, name="run", model={}) as writer:
            value = torch.full((2, 1, 1), 1.0 if label == "a" else -1.0)
            writer.effects(7, 0, "ablation", label, effects_of(value), 0.0, pairs=pairs_of(2))
    kept = {
        entry.label: read_per_pair(tmp_path, entry).exact.mean() for entry in Record.read(tmp_path).effects
    }
    assert kept == {"a": 1.0, "b": -1.0}


def test_without_pairs_nothing_is_kept_and_the_sentence_says_so(tmp_path):
    entry = write(tmp_path, np.ones((2, 1, 1)))
    assert entry.per_pair is None
    assert not (tmp_path / "per_pair").exists()
    with pytest.raises(ValueError, match="keeps no values of every pair for a at step 100"):
        read_per_pair(tmp_path, entry)


def test_effects_on_other_pairs_are_refused(tmp_path):
    with pytest.raises(ValueError, match="effects on 3 pairs came with 2 pairs"):
        write(tmp_path, np.ones((3, 1, 1)), pairs=pairs_of(2))


def test_a_large_sweep_by_position_is_left_out_and_heads_are_not(tmp_path):
    by_position = np.zeros((64, 12, 12, 110))
    assert write(tmp_path, by_position, (*HEADS, "position"), pairs=pairs_of(64)).per_pair is None
    assert (
        write(tmp_path, by_position[..., :2], (*HEADS, "position"), pairs=pairs_of(64)).per_pair == "100.npz"
    )
    assert write(tmp_path, np.zeros((7000, 12, 12)), pairs=pairs_of(7000)).per_pair == "100-1.npz"


@pytest.mark.parametrize("with_covariate", [False, True])
def test_a_pass_over_144_heads_and_64_pairs_takes_at_most_20_kilobytes(tmp_path, with_covariate):
    random = np.random.default_rng(0)
    values = (random.standard_t(4, size=(64, 12, 12)) * random.lognormal(size=(12, 12))).astype(np.float32)
    exact = values.copy()
    exact[12:] = np.nan  # a fifth of the pairs had an exact run
    prints = fingerprints(pairs_of(64))
    found = PerPair(exact, values, prints) if with_covariate else PerPair(values, None, prints)
    with (tmp_path / "1.npz").open("wb") as stream:
        found.save(stream)
    assert (tmp_path / "1.npz").stat().st_size <= 20_000


def test_one_value_a_pair_has_the_mean_and_the_error_of_the_estimate():
    random = np.random.default_rng(1)
    covariate = random.normal(size=(40, 1, 1)).astype(np.float32)
    residual = 0.3 * random.normal(size=40) + 0.2
    exact = np.full((40, 1, 1), np.nan, np.float32)
    exact[:10, 0, 0] = covariate[:10, 0, 0] + residual[:10]
    values = PerPair(exact, covariate, numbered(40)).of_every_pair[:, 0, 0].astype(np.float64)
    c, r = covariate[:, 0, 0], residual[:10]
    assert values.mean() == pytest.approx(c.mean() + r.mean(), rel=1e-5)
    # The terms of the estimator: the covariate over all 40 pairs, the residual over 10, and what they share.
    shared = 2 * ((c[:10] - c.mean()) * (r - r.mean())).sum() / 10
    variance = c.var() / 40 + r.var() / 10 + shared / 40
    assert values.var() / 40 == pytest.approx(variance, rel=1e-4)


def test_one_value_a_pair_is_the_exact_one_where_all_had_a_run():
    exact = np.random.default_rng(2).normal(size=(6, 2, 2)).astype(np.float32)
    np.testing.assert_array_equal(PerPair(exact, None, numbered(6)).of_every_pair, exact)
    np.testing.assert_allclose(PerPair(exact, exact * 0.5, numbered(6)).of_every_pair, exact, rtol=1e-5)


def test_some_pairs_are_taken_in_the_order_that_is_asked_for():
    exact = np.arange(8, dtype=np.float32).reshape(4, 1, 2)
    found = PerPair(exact, exact + 1, numbered(4)).of(np.array([3, 1], np.uint64))
    np.testing.assert_array_equal(found.exact, exact[[3, 1]])
    np.testing.assert_array_equal(found.covariate, exact[[3, 1]] + 1)
    assert found.pairs.tolist() == [3, 1]


def test_a_head_without_a_run_has_no_value():
    exact = np.full((4, 1, 2), np.nan, np.float32)
    exact[:2, 0, 0] = 1.0
    values = PerPair(exact, np.ones_like(exact), numbered(4)).of_every_pair
    assert np.isnan(values[:, 0, 1]).all()
    np.testing.assert_array_equal(values[:, 0, 0], np.ones(4))


@pytest.mark.parametrize("damage", ["empty", "truncated", "gone", "other", "shape", "pairs", "covariate"])
def test_a_damaged_file_is_one_sentence(tmp_path, damage):
    entry = write(tmp_path, np.ones((2, 1, 3)), pairs=pairs_of(2))
    file = tmp_path / "per_pair" / "100.npz"
    data = file.read_bytes()
    if damage == "gone":
        file.unlink()
    elif damage == "other":
        np.savez(file, exact=np.array(["text"], object))
    elif damage in ("shape", "pairs", "covariate"):
        n, heads = (3 if damage == "shape" else 2), (2 if damage == "covariate" else 3)
        arrays = {"exact": np.zeros((n, 1, 3), np.int16), "exact_scale": np.ones((1, 3), np.float32)}
        known = np.zeros((n, 1, heads), np.int16), np.ones((1, heads), np.float32)
        arrays |= dict(zip(("covariate", "covariate_scale"), known, strict=True))
        np.savez(file, pairs=numbered(2 if damage == "covariate" else 3), **arrays)
    else:
        file.write_bytes(b"" if damage == "empty" else data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"100\.npz (is missing|cannot be read|holds values)") as told:
        read_per_pair(tmp_path, entry)
    assert "\n" not in str(told.value)


def test_they_are_on_disk_before_the_line_that_names_them(tmp_path, monkeypatch):
    seen = []
    append = RecordWriter._append
    monkeypatch.setattr(
        RecordWriter,
        "_append",
        lambda self, entry: (seen.append(os.listdir(self.directory / "per_pair")), append(self, entry)),
    )
    write(tmp_path, np.ones((2, 1, 1)), pairs=pairs_of(2))
    assert seen == [["100.npz"]]


def test_a_killed_run_loses_none_that_it_named(tmp_path):
    program = f"""
import numpy as np
from pathlib import Path
from headwatch.record import RecordWriter
from tests.headwatch.record.test_per_pair import effects_of, pairs_of
with RecordWriter({str(tmp_path)!r}, name="run", model={{}}) as writer:
    for step in range(10**9):
        writer.effects(step, 0, "ablation", "a", effects_of(np.full((4, 12, 12), step + 1.0)), 0.0, pairs=pairs_of(4))
        print(step, flush=True)
"""
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    for _ in range(20):
        child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    child.communicate()
    record = Record.read(tmp_path)
    assert len(record.effects) >= 20
    for entry in record.effects:
        assert read_per_pair(tmp_path, entry).exact[0, 0, 0] == pytest.approx(entry.step + 1, rel=1e-3)
