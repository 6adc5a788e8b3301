"""CONTRIBUTING's worked examples run as they stand, and are short enough to read."""

import re
from pathlib import Path

import pytest

from headwatch.metrics import METRICS
from headwatch.model.find import FAMILIES
from headwatch.tasks import TASKS
from headwatch_callbacks.questions import QUESTIONS
from headwatch_callbacks.trackers import TRACKERS
from tests.headwatch_callbacks.training import QUIET
from tests.models import random_pairs, tiny_gpt2
from tests.tokenizers import word_level

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in QUIET]
ROOT = Path(__file__).parents[2]
ROOTS = {
    "headwatch": ROOT / "probes" / "headwatch",
    "headwatch_callbacks": ROOT / "callbacks" / "headwatch_callbacks",
}
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
SECTIONS = dict(re.findall(r"^## (Adding .*)\n((?:(?!^## ).*\n?)*)", TEXT, flags=re.M))
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
WORDS = ["If", "today", "is", "then", "tomorrow", *DAYS]


def floors(package):
    """The rooms of a package as CONTRIBUTING's table has them, floor by floor from the ground."""
    table = TEXT.partition(f"| rooms of `{package}` |")[2].partition("\n\n")[0]
    return [re.findall(r"`(\w+)`", row.split("|")[1]) for row in table.splitlines()[2:]]


def blocks(section):
    """The Python of a section, block by block."""
    return re.findall(r"^```python\n(.*?)^```$", section, flags=re.M | re.S)


@pytest.fixture
def registries(monkeypatch):
    """What the examples register is forgotten again."""
    for registry in (METRICS, TASKS, TRACKERS, FAMILIES, QUESTIONS):
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


@pytest.mark.parametrize("package", ["headwatch", "headwatch_callbacks"])
def test_the_table_of_floors_has_every_room(package):
    rooms = {path.stem for path in ROOTS[package].iterdir() if path.suffix in ("", ".py")}
    listed = [room for floor in floors(package) for room in floor]
    assert sorted(listed) == sorted(rooms - {"__init__", "__pycache__"})


def test_rooms_of_headwatch_import_from_the_floors_below_alone():
    height = {room: number for number, floor in enumerate(floors("headwatch")) for room in floor}
    for path in ROOTS["headwatch"].rglob("*.py"):
        room = path.relative_to(ROOTS["headwatch"]).with_suffix("").parts[0]
        code = re.sub(r"if TYPE_CHECKING:\n(?:    .*\n|\n)+", "", path.read_text())
        for other in re.findall(r"^\s*from headwatch\.(\w+)", code, flags=re.M):
            assert other == room or room == "__init__" or height[other] < height[room], f"{path}: {other}"
