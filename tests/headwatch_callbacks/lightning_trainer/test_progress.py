"""The bar of a long pass, beside Lightning's rich bar, its tqdm bar, and none."""

from types import SimpleNamespace

import pytest
from lightning.pytorch.callbacks import RichProgressBar, TQDMProgressBar
from rich.console import Console
from rich.progress import Progress

from headwatch_callbacks.lightning_trainer import progress
from headwatch_callbacks.lightning_trainer.progress import PassProgress


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(progress, "PATIENCE", 0.0)


def beside(bar):
    return SimpleNamespace(progress_bar_callback=bar, is_global_zero=True)


def test_it_is_a_task_of_lightnings_running_display_and_is_hidden_afterwards(impatient):
    bar = RichProgressBar()
    bar.progress = Progress(console=Console(quiet=True))
    first = bar.progress.add_task("Epoch 0", total=10)
    with bar.progress:
        for label in ("ablation", "patching"):
            with PassProgress(beside(bar), label) as passing:
                passing(3, 12)
                mine = bar.progress.tasks[-1]
                assert (mine.description, mine.completed, mine.total, mine.visible) == (label, 3, 12, True)
            assert not bar.progress.tasks[-1].visible
    assert len(bar.progress.tasks) == 2
    assert bar.progress.tasks[first].description == "Epoch 0"


def test_before_lightnings_display_runs_it_has_its_own(impatient, capsys):
    with PassProgress(beside(RichProgressBar()), "ablation") as passing:
        passing(3, 12)
        own = passing.display.progress
        assert own.live.is_started
    assert not own.live.is_started


def test_beside_tqdm_it_is_a_line(impatient, capsys):
    with PassProgress(beside(TQDMProgressBar()), "ablation") as passing:
        passing(3, 12)
        assert passing.display.line.n == 3
        passing(12, 12)
        assert passing.display.line.n == 12
    assert "ablation" in capsys.readouterr().err


@pytest.mark.parametrize(
    "trainer",
    [
        beside(None),
        beside(TQDMProgressBar(refresh_rate=0)),
        SimpleNamespace(progress_bar_callback=TQDMProgressBar(), is_global_zero=False),
    ],
)
def test_it_shows_nothing_where_lightning_shows_nothing(impatient, trainer, capsys):
    with PassProgress(trainer, "ablation") as passing:
        passing(3, 12)
    assert passing.display is None
    assert capsys.readouterr().err == ""


def test_it_shows_nothing_for_a_short_pass(monkeypatch):
    monkeypatch.setattr(progress, "PATIENCE", 60.0)
    with PassProgress(beside(TQDMProgressBar()), "ablation") as passing:
        passing(3, 12)
    assert passing.display is None
