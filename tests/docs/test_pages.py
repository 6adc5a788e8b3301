"""The pages that list things list what there is: the record's lines, the floors, the options."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from headwatch.effects import Effects
from headwatch.record import Record, RecordWriter
from headwatch.record.entries import KINDS, CheckpointEntry
from headwatch.record.per_pair import PerPair
from tests.models import random_pairs

ROOT = Path(__file__).parents[2]
OF_SOME_PASSES = {
    "degrees_of_freedom": np.ones((1, 2), np.float32),
    "n_exact": np.full((1, 2), 2),
    "cost": 0.3,
    "covariate": "first_order",
    "covariate_r2": np.ones((1, 2), np.float32),
    "suspect": np.zeros((1, 2), bool),
    "overhead": 0.05,
    "per_pair": "1.npz",
}


def sections(page):
    """Each `###` section of a page: its heading, and the keys in its table's first column."""
    text = (ROOT / "docs" / page).read_text()
    found = re.findall(r"^### (.+)\n((?:(?!^##).*\n?)*)", text, flags=re.M)
    return {heading: re.findall(r"^\| `([\w/]+)` \|", body, flags=re.M) for heading, body in found}


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """A record with a line of every type."""
    folder = tmp_path_factory.mktemp("record")
    effects = Effects(torch.ones(2, 1, 2), torch.ones(2), None, ("layer", "head"), "z", "mean", "loss")
    with RecordWriter(folder, name="run", model={"n_layers": 1, "n_heads": 2}) as writer:
        writer.effects(1, 0, "ablation", "ablation/z/mean/loss", effects, 0.1)
        writer._append(replace(Record.read(folder).effects[0], **OF_SOME_PASSES))
        writer.scores(1, 0, "patterns", {"induction": torch.ones(1, 2)}, 0.1)
        writer.scalars(1, {"loss": 2.0})
        writer.patterns(1, 0, "patterns", torch.ones(1, 1, 2, 3, 3).tril() / 3, [["a", "b", "c"]])
        writer.prompts(random_pairs(), "ablation/z/mean/loss")
        writer.checkpoint(CheckpointEntry(1, "checkpoint-1", "0" * 64))
        writer.note("info", "a note")
    return folder


def test_the_records_page_lists_every_type_of_line_and_all_of_its_keys(record):
    lines = [json.loads(line) for line in (record / "probes.jsonl").read_text().splitlines()]
    written = {kind: {key for line in lines if line["type"] == kind for key in line} for kind in KINDS}
    assert {line["type"] for line in lines} == set(KINDS)
    assert {heading: set(keys) for heading, keys in sections("record.md").items()} == written


def test_the_records_page_lists_the_keys_of_the_runs_description(record):
    text = (ROOT / "docs" / "record.md").read_text()
    table = text.partition("## run.json")[2].partition("## probes.jsonl")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, flags=re.M)) == set(
        json.loads((record / "run.json").read_text())
    )


def test_attention_maps_are_packed_as_the_records_page_says(record):
    with np.load(record / "attn" / "1.npz") as arrays:
        assert list(arrays) == ["prompt0"]
        assert arrays["prompt0"].shape == (1, 2, 6)
        assert arrays["prompt0"].flatten().tolist() == [85] * 12  # 1/3 in steps of 1/255


def test_the_effect_on_every_pair_is_kept_as_the_records_page_says(tmp_path):
    values = PerPair(
        np.array([[[0.5, -2.0]], [[np.nan, 1.0]]], np.float32),
        np.ones((2, 1, 2), np.float32),
        np.array([5, 7], np.uint64),
    )
    with (tmp_path / "1.npz").open("wb") as stream:
        values.save(stream)
    with np.load(tmp_path / "1.npz") as arrays:
        text = (ROOT / "docs" / "record.md").read_text().partition("Its arrays:")[2].partition("###")[0]
        assert re.findall(r"^\| `(\w+)` \|", text, flags=re.M) == list(arrays)
        assert arrays["pairs"].tolist() == [5, 7]
        assert arrays["exact"].tolist() == [[[1000, -1000]], [[-32768, 500]]]
        np.testing.assert_array_equal(arrays["exact_scale"], np.array([[0.0005, 0.002]], np.float32))
        assert arrays["covariate"].tolist() == [[[1000, 1000]], [[1000, 1000]]]


def test_the_page_on_the_engine_says_what_each_of_its_files_does():
    table = (
        (ROOT / "docs" / "engine.md").read_text().partition("## The way of a question")[2].partition("##")[0]
    )
    rows = re.findall(r"^\| (`.+?) \| \w", table, flags=re.M)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    files = {path.stem for path in (ROOT / "probes" / "headwatch" / "engine").glob("*.py")}
    assert named == files - {"__init__"}
