"""Names as the page shows them: runs that are told apart, and texts too long to draw."""

import json
from pathlib import Path

import pytest

from headwatch.page import report
from headwatch.page.run_names import run_names
from headwatch.page.shortened import shortened
from headwatch.record import RecordWriter
from tests.headwatch.page.browser import ask
from tests.headwatch.page.conftest import wait_until
from tests.headwatch.page.fake_run import write_pass

LONG = "x" * 100_000


def test_runs_of_one_name_are_told_apart_by_their_folders():
    runs = [
        ("lora", "a/lora"),
        ("lora", "b/lora"),
        ("full", "full"),
        ("deep", "x/a/run"),
        ("deep", "y/a/run"),
    ]
    assert run_names([(name, Path(folder)) for name, folder in runs]) == [
        "lora · a/lora",
        "lora · b/lora",
        "full",
        "deep · x/a/run",
        "deep · y/a/run",
    ]


def test_no_two_runs_are_called_the_same():
    folders = ["a", "a", "b/a"]
    named = run_names([("r", Path(folder)) for folder in folders] + [("r · b/a", Path("c"))])
    assert len(set(named)) == len(named)
    long = run_names([(LONG, Path("a")), (LONG + "y", Path("b"))])
    assert len(set(long)) == 2
    assert max(map(len, long)) < 300


def test_texts_that_begin_alike_stay_apart():
    assert shortened("x" * 200) == "x" * 200
    one, other = shortened(LONG + "a"), shortened(LONG + "b")
    assert one != other
    assert one.startswith("x" * 200 + "… (100,001 characters, ")
    assert len(one) < 250
    assert shortened("\ud800" * 300)


@pytest.fixture
def long_names(tmp_path):
    """A run all of whose names, tokens and notes are too long to draw."""
    with RecordWriter(tmp_path / "long", name=LONG, model={"n_layers": 2, "n_heads": 2}) as writer:
        for step in (0, 10):
            write_pass(writer, step, 10, (2, 2), [("ablation", "mean", "loss")], step)
            writer.scalars(step, {LONG: 1.0, LONG + "other": 2.0})
        writer.note("warning", LONG)
    file = tmp_path / "long" / "probes.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line in lines:
        for name in {"label", "metric", "kind", "site", "probe"} & line.keys():
            line[name] += LONG
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path / "long"


def test_names_of_100_000_characters_are_cut(serving, open_page, long_names):
    server = serving(long_names.parent)
    names = [run["name"] for run in json.loads(ask(server, "/runs")[2])["runs"]]
    body = ask(server, "/run?id=0&after=0")[2]
    assert max(map(len, names)) < 300
    assert len(body) < 20_000
    page = open_page(server.url)
    wait_until(page, "heads.view.step === 10")
    scalars = page.locator("#scalar option").all_inner_texts()
    assert len({text for text in scalars if text.startswith("xxx")}) == 2
    assert page.evaluate("document.body.innerText.length") < 20_000


def test_a_report_of_such_names_is_small_too(long_names, tmp_path, open_page):
    file = report([long_names], tmp_path / "report.html")
    assert file.stat().st_size < 300_000
    page = open_page(file.as_uri())
    assert page.evaluate("heads.view.step") == 10
    assert len(page.title()) < 300


def test_a_report_tells_runs_of_one_name_apart(tmp_path, open_page):
    for parent in ("a", "b"):
        with RecordWriter(
            tmp_path / parent / "lora", name="lora", model={"n_layers": 2, "n_heads": 2}
        ) as writer:
            write_pass(writer, 0, 10, (2, 2), [("ablation", "mean", "loss")], 0)
    file = report([tmp_path / "a" / "lora", tmp_path / "b" / "lora"], tmp_path / "report.html")
    page = open_page(file.as_uri())
    assert page.locator("#run option").all_inner_texts() == ["lora · a/lora", "lora · b/lora"]
