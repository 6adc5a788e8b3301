"""A result of one to three axes on two, with marks made over all its cells. Expected values are worked out by loops."""

import numpy as np
import pytest

from headwatch.cell_names import counted
from headwatch.pictures.cell_map import cell_map, ranked, score_map
from headwatch.statistics.intervals import interval, p_values
from headwatch.statistics.multiple_testing import benjamini_hochberg

DIMS = ("layer", "head", "position")


def by_position(seed: int = 0, n: int = 16):
    """Noise with some effects in it, `[layer, head, position]`, as a map and as its parts."""
    generator = np.random.default_rng(seed)
    mean = generator.normal(size=(4, 5, 30))
    mean[1, 2, 7], mean[3, 4, 0], mean[0, 0, 29] = -6.0, 5.0, 4.2
    stderr = np.ones_like(mean)
    return cell_map(mean, stderr, n, DIMS, counted(DIMS, mean.shape)), mean, stderr


def test_each_head_is_shown_at_its_strongest_position_with_all_that_belongs_there():
    shown, mean, stderr = by_position()
    low, high = interval(mean, stderr, 15)
    marked = benjamini_hochberg(p_values(mean, stderr, 15))
    for row, column in np.ndindex(4, 5):
        at = max(range(30), key=lambda position: abs(mean[row, column, position]))
        assert shown.values[row, column] == mean[row, column, at]
        assert shown.low[row, column] == low[row, column, at]
        assert shown.high[row, column] == high[row, column, at]
        assert shown.marked(row, column) == marked[row, column, at]
    assert shown.note == "each head at its strongest position"
    assert shown.dims == ("layer", "head")


def test_marks_are_made_over_all_positions_and_not_over_the_strongest_ones():
    shown, mean, _ = by_position()
    strongest = np.abs(mean).max(-1)
    too_many = benjamini_hochberg(p_values(strongest, np.ones((4, 5)), 15))
    assert shown.significant.sum() < too_many.sum()
    assert shown.n_tested == 4 * 5 * 30
    assert "over 600 cells" in shown.marks


def test_a_head_that_is_nan_everywhere_stays_nan():
    mean = np.ones((2, 2, 3))
    mean[0, 1] = np.nan
    shown = cell_map(mean, np.ones_like(mean), 4, DIMS, counted(DIMS, mean.shape))
    assert np.isnan(shown.values).tolist() == [[False, True], [False, False]]
    assert np.isnan(shown.margin(0, 1))
    assert not shown.marked(0, 1)


def test_cells_are_named_by_their_coordinates():
    coords = {"layer": (9, 10), "head": (0, 6, 7)}
    shown = cell_map(np.ones((2, 3)), np.ones((2, 3)), 4, ("layer", "head"), coords)
    assert shown.cell_name(1, 2) == "L10H7"
    assert shown.places(1, 2) == (10, 7)
    assert (shown.labels(0), shown.labels(1)) == (["9", "10"], ["0", "6", "7"])


def test_one_axis_becomes_one_column():
    shown = cell_map(np.array([1.0, -2.0]), np.ones(2), 4, ("layer",), {"layer": (3, 5)})
    assert shown.values.tolist() == [[1.0], [-2.0]]
    assert (shown.labels(0), shown.labels(1), shown.cell_name(1, 0)) == (["3", "5"], [""], "L5")


def test_the_margin_is_half_an_interval():
    shown = cell_map(np.ones((1, 1)), np.full((1, 1), 0.5), 3, ("layer", "head"), counted(DIMS[:2], (1, 1)))
    assert shown.margin(0, 0) == pytest.approx(0.5 * 4.3027, rel=1e-4)


def test_a_single_pair_and_scores_have_neither_interval_nor_mark():
    single = cell_map(
        np.ones((1, 2)), np.full((1, 2), np.nan), 1, ("layer", "head"), counted(DIMS[:2], (1, 2))
    )
    for shown in (single, score_map(np.ones((1, 2)), "induction")):
        assert shown.low is shown.high is shown.significant is None
        assert np.isnan(shown.margin(0, 0))
        assert not shown.marked(0, 0)


def test_ranked_is_by_magnitude_without_what_is_not_finite():
    assert ranked(np.array([[1.0, -3.0], [np.inf, np.nan]])) == [(0, 1), (0, 0)]
    assert ranked(np.array([2.0, -2.0, 2.0])) == [(0,), (1,), (2,)]
    assert ranked(np.zeros((0, 3))) == []


def test_degrees_of_freedom_and_doubts_go_with_the_position_that_is_shown():
    mean = np.array([[[1.0, -3.0], [0.5, 0.1]]])
    freedom, doubts = np.array([[[9.0, 2.0], [3.0, 9.0]]]), np.array([[[False, True], [False, True]]])
    coords = counted(DIMS, mean.shape)
    shown = cell_map(mean, np.ones_like(mean), 8, DIMS, coords, degrees_of_freedom=freedom, suspect=doubts)
    # From a table of Student's t: 4.3027 at 2 degrees of freedom, 3.1824 at 3.
    assert [shown.margin(0, head) for head in (0, 1)] == pytest.approx([4.3027, 3.1824], rel=1e-4)
    assert [shown.is_suspect(0, head) for head in (0, 1)] == [True, False]
