"""Change points on trajectories whose truth is known, and against a search split by split."""

import numpy as np
import pytest

from headwatch.statistics.change_point import ChangePoint, find_change_point
from headwatch.statistics.intervals import p_values


def trajectories(n_steps, pairs, cells, seed, shift=0.0, at=None, memory=0.0):
    """Effects with a level of each pair's own, noise that neighbouring probes share in part, and a step at a probe."""
    random = np.random.default_rng(seed)
    noise = random.standard_normal((n_steps, pairs, cells))
    for step in range(1, n_steps):
        noise[step] = memory * noise[step - 1] + np.sqrt(1 - memory**2) * noise[step]
    values = 2 * random.standard_normal((1, pairs, cells)) + noise
    if at is not None:
        values[at:] += shift
    return values


def searched(values, steps):
    """The best split of one cell, by fitting two levels at each, and the paired t test there."""
    means = values.mean(1)
    splits = range(1, len(means))
    left_over = [means[:k].var() * k + means[k:].var() * (len(means) - k) for k in splits]
    k = splits[int(np.argmin(left_over))]
    change = values[k:].mean(0) - values[:k].mean(0)
    stderr = change.std(ddof=1) / np.sqrt(len(change))
    p = p_values(change.mean(keepdims=True), stderr[None], len(change) - 1)[0]
    return (steps[k - 1] + steps[k]) / 2, means[:k].mean(), means[k:].mean(), min(1, p * len(splits))


def test_the_split_leaves_the_smallest_sum_of_squares():
    values = trajectories(9, 6, 20, seed=0, shift=1.0, at=5)
    steps = np.array([0, 10, 20, 40, 80, 100, 150, 151, 300])
    found = find_change_point(values, steps, n_resamples=1)
    for cell in range(20):
        expected = searched(values[..., cell], steps)
        mine = (found.step[cell], found.before[cell], found.after[cell], found.p[cell])
        assert mine == pytest.approx(expected)


@pytest.mark.parametrize(("at", "shift"), [(6, 0.3), (6, 0.6), (6, 2.0), (2, 0.6), (10, 0.6)])
def test_the_interval_covers_the_probe_at_which_the_level_steps(at, shift):
    values = trajectories(12, 32, 400, seed=1, shift=shift, at=at)
    steps = 100 * np.arange(12)
    found = find_change_point(values, steps)
    truth = steps[at] - 50
    assert ((found.low < truth) & (found.high > truth)).mean() >= 0.93
    assert (found.low < found.step).all()
    assert (found.step < found.high).all()
    if shift == 2.0:
        assert (found.step == truth).mean() > 0.99
        assert np.median(found.high - found.low) == 100
        assert (found.p < 1e-6).all()
        assert found.after.mean() - found.before.mean() == pytest.approx(shift, abs=0.05)


@pytest.mark.parametrize("memory", [0.0, 0.8])
@pytest.mark.parametrize(("n_steps", "pairs"), [(4, 64), (12, 8), (40, 64)])
def test_flat_trajectories_alarm_no_more_often_than_said(n_steps, pairs, memory):
    values = trajectories(n_steps, pairs, 1000, seed=2, memory=memory)
    found = find_change_point(values, np.arange(n_steps), n_resamples=1)
    assert (found.p <= 0.05).mean() <= 0.05
    assert (found.p <= 0.2).mean() <= 0.2
    assert not found.significant(0.05).any()


def test_an_interval_of_a_higher_level_holds_that_of_a_lower_one():
    values = trajectories(12, 16, 50, seed=3, shift=0.5, at=6)
    narrow, wide = (find_change_point(values, np.arange(12), level=level) for level in (0.5, 0.99))
    assert (wide.low <= narrow.low).all()
    assert (wide.high >= narrow.high).all()
    assert (wide.high - wide.low).mean() > (narrow.high - narrow.low).mean()


def test_failed_passes_are_left_out_and_a_cell_that_lacks_one_is_nan():
    values = trajectories(10, 16, 6, seed=4, shift=2.0, at=5).reshape(10, 16, 2, 3)
    steps = np.arange(10) * 20
    failed = values.copy()
    failed[[1, 5]] = np.nan
    kept = [0, 2, 3, 4, 6, 7, 8, 9]
    found, expected = find_change_point(failed, steps), find_change_point(values[kept], steps[kept])
    for name in ("step", "low", "high", "before", "after", "p"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert (found.step == 100).all()  # between the probes at 80 and at 120
    failed[7, 3, 0, 2] = np.nan
    without = find_change_point(failed, steps)
    for name in ("step", "low", "high", "before", "after", "p"):
        assert np.isnan(getattr(without, name)).tolist() == [[False, False, True], [False] * 3]
        np.testing.assert_array_equal(getattr(without, name)[1], getattr(expected, name)[1])
    assert not without.significant()[0, 2]


def test_the_seed_decides_and_the_global_generator_is_left_alone():
    values = trajectories(12, 8, 40, seed=5, shift=0.3, at=6)
    np.random.seed(0)
    state = np.random.get_state()[1].copy()
    first, again, other = (
        find_change_point(values, np.arange(12), n_resamples=20, seed=seed) for seed in (1, 1, 2)
    )
    assert (np.random.get_state()[1] == state).all()
    np.testing.assert_array_equal(first.low, again.low)
    assert (first.low != other.low).any()


def test_one_trajectory_needs_no_cells():
    values = trajectories(6, 8, 1, seed=6, shift=5.0, at=3)[..., 0]
    found = find_change_point(values, np.arange(6))
    assert (found.step.shape, found.step.item(), found.low.item(), found.high.item()) == ((), 2.5, 2.0, 3.0)


def test_marks_allow_for_all_heads():
    p = np.array([0.001, 0.012, 0.04, 0.6, 0.9, np.nan])  # 0.04 > 0.05 · 3 / 5
    marks = ChangePoint(p, p, p, p, p, p).significant(0.05)
    assert marks.tolist() == [True, True, False, False, False, False]


def test_what_gives_no_change_point_is_refused():
    values = trajectories(5, 4, 3, seed=7)
    steps = np.arange(5)
    failed = values.copy()
    failed[:2] = np.nan
    for few, at in ((values[:3], steps[:3]), (failed, steps)):
        with pytest.raises(ValueError, match="3 probes with values: a change point needs 4 or more"):
            find_change_point(few, at)
    with pytest.raises(ValueError, match="4 steps for 5 probes: give one each"):
        find_change_point(values, steps[:4])
    with pytest.raises(ValueError, match="steps must rise from probe to probe"):
        find_change_point(values, steps // 2)
    with pytest.raises(ValueError, match="1 pair: a change point needs 2 or more"):
        find_change_point(values[:, :1], steps)
    with pytest.raises(ValueError, match=r"level=95\.0: give a share between 0 and 1"):
        find_change_point(values, steps, level=95.0)
    with pytest.raises(ValueError, match="n_resamples=0: give 1 or more"):
        find_change_point(values, steps, n_resamples=0)
