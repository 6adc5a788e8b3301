"""Cells whose intervals are not to be trusted have stripes and words in every picture, and no others have."""

import re

import numpy as np
import pytest

from headwatch.pictures.cell_map import SUSPECT, cell_map
from headwatch.pictures.heat_map import draw
from headwatch.pictures.svg_map import svg_map

DOUBTED = np.array([[False, True, False], [True, False, False]])


def shown(suspect):
    mean = np.array([[0.5, -0.2, np.nan], [0.0, 1.0, 0.3]])
    coords = {"layer": (0, 1), "head": (0, 1, 2)}
    return cell_map(mean, np.full((2, 3), 0.1), 8, ("layer", "head"), coords, suspect=suspect)


def test_a_notebooks_map_has_stripes_where_an_interval_is_doubted():
    text = svg_map(shown(DOUBTED), title="t", unit="u")
    assert text.count("<path ") == 2
    assert SUSPECT in text
    told = re.findall(r"<title>(L\dH\d)[^<]*not to be trusted", text)
    assert told == ["L0H1", "L1H0"]
    height = int(re.search(r' height="(\d+)"', text)[1])
    assert max(int(y) for y in re.findall(r'<text x="4" y="(\d+)"', text)) < height


@pytest.mark.parametrize("suspect", [None, np.zeros((2, 3), bool)])
def test_without_doubts_there_are_no_stripes(suspect):
    text = svg_map(shown(suspect), title="t", unit="u")
    assert "<path" not in text
    assert "trusted" not in text
    axes = draw(shown(suspect), title="t", unit="u")
    assert not axes.patches
    assert "trusted" not in axes.get_xlabel()


def test_a_plot_has_stripes_where_an_interval_is_doubted():
    pytest.importorskip("matplotlib")
    axes = draw(shown(DOUBTED), title="t", unit="u")
    at = {(patch.get_y() + 0.5, patch.get_x() + 0.5) for patch in axes.patches if patch.get_hatch()}
    assert at == {(0, 1), (1, 0)}
    assert SUSPECT in axes.get_xlabel()


def test_a_plot_is_saved_as_vectors(tmp_path):
    pytest.importorskip("matplotlib")
    axes = draw(shown(DOUBTED), title="t", unit="u")
    axes.figure.savefig(tmp_path / "map.svg")
    assert "<svg" in (tmp_path / "map.svg").read_text()
