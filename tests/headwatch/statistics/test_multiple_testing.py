import numpy as np
import pytest

from headwatch.statistics.multiple_testing import (
    benjamini_hochberg,
    expected_false_alarms,
    expected_marks_by_chance,
)

# The example of Benjamini & Hochberg (1995), section 3.2: 15 hypotheses, of which four are rejected at q = 0.05
# (Bonferroni's procedure rejects three).
PUBLISHED = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344]
PUBLISHED += [0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]


def by_definition(p: np.ndarray, q: float) -> np.ndarray:
    """Step up: for each k in turn, whether k p-values are at most q · k / m."""
    m = len(p)
    best = max((k for k in range(1, m + 1) if np.sum(p <= q * k / m) >= k), default=0)
    return p <= q * best / m if best else np.zeros(m, bool)


def test_the_published_example():
    order = np.random.default_rng(0).permutation(15)
    found = benjamini_hochberg(np.array(PUBLISHED)[order])
    assert sorted(np.array(PUBLISHED)[order][found]) == PUBLISHED[:4]


@pytest.mark.parametrize("seed", range(20))
def test_against_the_definition(seed):
    generator = np.random.default_rng(seed)
    p = np.concatenate([generator.random(30), generator.random(10) * 0.02])
    for q in (0.01, 0.05, 0.3):
        assert benjamini_hochberg(p, q).tolist() == by_definition(p, q).tolist()


def test_a_p_value_without_a_test_is_not_significant_and_does_not_count():
    p = np.array([[0.04, np.nan], [0.02, np.nan]])
    assert benjamini_hochberg(p).tolist() == [[True, False], [True, False]]
    assert not benjamini_hochberg(np.full(3, np.nan)).any()


def test_nothing_is_significant_where_nothing_is_there():
    assert not benjamini_hochberg(np.linspace(0.1, 1, 144).reshape(12, 12)).any()
    assert benjamini_hochberg(np.zeros(0)).shape == (0,)


def test_the_share_of_false_marks_stays_below_q():
    generator = np.random.default_rng(3)
    shares = []
    for _ in range(400):
        p = np.concatenate([generator.random(100), generator.random(20) * 1e-4])
        marked = benjamini_hochberg(p, q=0.1)
        shares.append(marked[:100].sum() / max(marked.sum(), 1))
    assert np.mean(shares) == pytest.approx(0.1 * 100 / 120, abs=0.02)


@pytest.mark.parametrize("q", [0.0, 1.0, 5.0])
def test_q_is_a_share(q):
    with pytest.raises(ValueError, match=r"q=.*: give a share between 0 and 1, such as 0\.05"):
        benjamini_hochberg(np.array([0.5]), q)


def test_chance_alone_gives_as_many_alarms_as_are_expected():
    random = np.random.default_rng(5)
    p = random.uniform(size=(2000, 12, 12))
    p[:, 0] = np.nan
    assert expected_false_alarms(p[0], 0.05) == pytest.approx(0.05 * 132)
    alarms = (p <= 0.05).sum((1, 2))
    assert alarms.mean() == pytest.approx(expected_false_alarms(p[0], 0.05), abs=4 * alarms.std() / 2000**0.5)


@pytest.mark.parametrize("level", [0.0, 1.0, 5.0])
def test_a_level_is_a_share(level):
    with pytest.raises(ValueError, match=f"level={level}: give a share between 0 and 1"):
        expected_false_alarms(np.array([0.5]), level)


@pytest.mark.parametrize(
    ("n", "q", "expected"),
    # One test is marked with probability q. Of two, both are if the larger p is at most q, else the smaller is if it
    # is at most q / 2: 2 q² + q (1 − q). Of endlessly many: q / (1 − q)².
    [(1, 0.05, 0.05), (2, 0.2, 2 * 0.2**2 + 0.2 * 0.8), (100_000, 0.05, 0.05 / 0.95**2)],
)
def test_marks_by_chance_in_closed_form(n, q, expected):
    assert expected_marks_by_chance(np.full(n, 0.5), q) == pytest.approx(expected, rel=1e-4)


def test_marks_by_chance_are_as_many_as_chance_gives():
    generator = np.random.default_rng(11)
    marks = [benjamini_hochberg(generator.random(30), 0.3).sum() for _ in range(20_000)]
    expected = expected_marks_by_chance(np.concatenate([np.full(30, 0.5), [np.nan]]), 0.3)
    assert np.mean(marks) == pytest.approx(expected, abs=4 * np.std(marks) / len(marks) ** 0.5)
    assert expected_marks_by_chance(np.full(3, np.nan)) == 0
    with pytest.raises(ValueError, match=r"q=2\.0: give a share"):
        expected_marks_by_chance(np.array([0.5]), 2.0)
