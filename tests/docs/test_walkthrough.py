"""The walkthrough runs as it stands, and finds what it says that it finds."""

from pathlib import Path

import nbformat
import pytest
import torch

NOTEBOOK = Path(__file__).parents[2] / "docs" / "walkthrough.ipynb"


@pytest.fixture(scope="module")
def names():
    """What the notebook's code cells define, run one after the other."""
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    defined = {"__name__": "walkthrough"}
    state = torch.get_rng_state()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, f"{NOTEBOOK.name}:{cell.id}", "exec"), defined)
    torch.set_rng_state(state)
    matplotlib.pyplot.close("all")
    return defined


def test_it_is_a_valid_notebook_without_stored_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert all(
        not cell.outputs and cell.execution_count is None
        for cell in notebook.cells
        if cell.cell_type == "code"
    )


def test_the_model_knows_its_task(names):
    assert names["right"] == 1.0


def test_one_head_writes_the_answer_directly(names):
    attributions = names["attributions"].reshape(2, 4)
    assert attributions[1, 2] > 5
    attributions[1, 2] = 0
    assert attributions.abs().max() < 0.1


def test_two_heads_are_needed_and_each_is_enough(names):
    planted = torch.zeros(2, 4, dtype=torch.bool)
    planted[0, 1] = planted[1, 2] = True
    assert (names["effects"].mean[planted] < -5).all()
    assert (names["effects"].mean[~planted].abs() < 0.5).all()
    assert (names["patched"].normalized[planted] > 0.9).all()
    assert (names["patched"].normalized[~planted].abs() < 0.1).all()


def test_the_two_work_one_after_the_other(names):
    first, second, both = names["joint"].mean.tolist()
    assert both == pytest.approx(min(first, second), rel=0.2)
    assert names["by_head"].normalized[0, 1].argmax() == 12
    assert names["feeders"].top(1) == [(0, 1)]
    assert names["direct"].top(1) == [(1, 2)]


def test_the_stream_shows_the_way_of_the_information(names):
    assert names["by_position"].normalized.argmax(-1).tolist() == [11, 12]


def test_the_scores_name_both_kinds_of_head(names):
    assert names["scores"].previous_token.flatten().argmax() == 1
    assert names["scores"].induction.flatten().argmax() == 6
