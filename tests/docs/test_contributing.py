"""CONTRIBUTING's worked examples run as they stand, and are short enough to read."""

import re
from pathlib import Path

import pytest

from headwatch.metrics import METRICS
from headwatch.model.find import FAMILIES
from headwatch.tasks import TASKS
from headwatch_callbacks.trackers import TRACKERS
from tests.headwatch_callbacks.training import QUIET
from tests.models import random_pairs, tiny_gpt2
from tests.tokenizers import word_level

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in QUIET]
TEXT = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
SECTIONS = dict(re.findall(r"^## (Adding .*)\n((?:(?!^## ).*\n?)*)", TEXT, flags=re.M))
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
WORDS = ["If", "today", "is", "then", "tomorrow", *DAYS]


def blocks(section):
    """The Python of a section, block by block."""
    return re.findall(r"^```python\n(.*?)^```$", section, flags=re.M | re.S)


@pytest.fixture
def registries(monkeypatch):
    """What the examples register is forgotten again."""
    for registry in (METRICS, TASKS, TRACKERS, FAMILIES):
        monkeypatch.setattr(registry, "_known", dict(registry._known))


def test_there_is_an_example_for_each_thing_that_people_add():
    assert list(SECTIONS) == [
        "Adding a metric",
        "Adding a task",
        "Adding a probe",
        "Adding a tracker",
        "Adding a model family",
    ]


@pytest.mark.parametrize("title", SECTIONS)
def test_a_worked_example_runs_and_so_do_its_tests(title, registries, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {
        "model": tiny_gpt2(),
        "pairs": random_pairs(),
        "tokenizer": word_level(WORDS),
        "tmp_path": tmp_path,
    }
    for number, block in enumerate(blocks(SECTIONS[title])):
        exec(compile(block, f"CONTRIBUTING.md, {title}, block {number + 1}", "exec"), names)
    tests = [value for name, value in names.items() if name.startswith("test_")]
    assert tests, f"{title} shows no test"
    for test in tests:
        test()


@pytest.mark.parametrize("title", SECTIONS)
def test_a_worked_example_has_fewer_than_60_lines_of_code(title):
    lines = [line for block in blocks(SECTIONS[title]) for line in block.splitlines() if line]
    assert 10 < len(lines) < 60
