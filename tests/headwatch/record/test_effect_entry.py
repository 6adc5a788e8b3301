"""What only some passes have is written where it is, left out where not, and checked like everything else."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from headwatch.effects import Effects
from headwatch.effects.estimated import EstimatedEffects
from headwatch.record import Record, RecordWriter, compare, export
from headwatch.record.lines import parse
from headwatch.record.per_pair import read_per_pair
from tests.headwatch.record.test_per_pair import pairs_of

OLD = Path(__file__).parents[2] / "data" / "record_format_1"  # written by headwatch 0.1
LABEL = "ablation/z/mean/loss"
ESTIMATE = {
    "degrees_of_freedom": np.array([[3.0, 1.5, 63.0]], np.float32),
    "n_exact": np.array([[4, 2, 64]]),
    "cost": 0.25,
    "covariate": "last_position+first_order",
    "covariate_r2": np.array([[0.9, np.nan, -0.5]], np.float32),
    "suspect": np.array([[False, True, False]]),
    "overhead": 0.04,
    "per_pair": "100-2.npz",
}


@pytest.fixture
def exact(tmp_path):
    """A pass over 4 pairs, as a writer leaves it."""
    per_pair = torch.tensor([[[1.0, 2.0, 0.0]], [[2.0, 2.5, 0.0]], [[3.0, 3.0, 0.0]], [[4.0, 5.0, 1.0]]])
    effects = Effects(per_pair, torch.ones(4), None, ("layer", "head"), "z", "mean", "loss")
    with RecordWriter(tmp_path / "run", name="run", model={}) as writer:
        writer.effects(100, 1, "ablation", LABEL, effects, 0.5)
    return Record.read(tmp_path / "run").effects[0]


def as_line(entry):
    return json.loads(json.dumps(entry.to_json()))


def test_what_an_estimate_has_comes_back(exact):
    entry, unknown = parse(json.dumps(replace(exact, **ESTIMATE).to_json()).encode())
    assert unknown == ()
    for name, value in ESTIMATE.items():
        np.testing.assert_array_equal(getattr(entry, name), value, err_msg=name)


def test_an_exact_pass_takes_no_room_for_it(exact):
    assert not set(ESTIMATE) & set(as_line(exact))
    assert all(getattr(exact, name) is None for name in ESTIMATE)


def test_a_line_of_an_older_headwatch_is_read_and_has_the_n_minus_1_of_its_pairs():
    for entry in Record.read(OLD).effects:
        assert all(getattr(entry, name) is None for name in ESTIMATE)
        np.testing.assert_array_equal(entry.t_degrees_of_freedom, np.full(entry.mean.shape, entry.n - 1))


def test_intervals_and_marks_have_the_degrees_of_freedom_of_their_head(exact):
    shown = replace(exact, **ESTIMATE).cell_map()
    # Two-sided 95 % points of Student's t, from a table: 3.1824 at 3; 1.9983 at 63.
    stderr = np.asarray([1.5, 2.5, 3.5, 4.5]).std(ddof=1) / 2
    assert shown.margin(0, 0) == pytest.approx(3.1824 * stderr, rel=1e-4)
    assert shown.margin(0, 2) == pytest.approx(1.9983 * 0.25, rel=1e-4)
    # Between those of 1 and of 2 degrees of freedom, 12.706 and 4.3027.
    second = np.asarray([2.0, 2.5, 3.0, 5.0]).std(ddof=1) / 2
    assert 4.3027 * second < shown.margin(0, 1) < 12.706 * second
    assert [shown.is_suspect(0, head) for head in range(3)] == [False, True, False]
    assert not exact.cell_map().is_suspect(0, 1)


def test_the_table_has_the_intervals_of_the_map(exact, tmp_path):
    with RecordWriter(tmp_path / "estimate", name="run", model={}) as writer:
        writer._append(replace(exact, **ESTIMATE))
    rows = export(tmp_path / "estimate", tmp_path / "out.csv").read_text().splitlines()
    names = rows[0].split(",")
    high = [float(row.split(",")[names.index("high")]) for row in rows[1:]]
    np.testing.assert_allclose(high, replace(exact, **ESTIMATE).cell_map().high[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"n_exact": [1, 2]}, "'n_exact' holds 2 values and the shape .* needs 3"),
        ({"n_exact": [1, 2, -3]}, "'n_exact' must be a whole number from 0 up"),
        ({"degrees_of_freedom": [1, 2]}, "'degrees_of_freedom' holds 2"),
        ({"suspect": [0, 1, 0]}, "'suspect' must be a flat list of true and false"),
        ({"suspect": [True]}, "'suspect' holds 1"),
        ({"cost": "cheap"}, "'cost' must be a number"),
        ({"covariate": 3}, "'covariate' must be text"),
        ({"per_pair": "../../run.json"}, "plain npz name such as '100.npz'"),
    ],
)
def test_what_is_damaged_is_one_sentence(exact, changes, said):
    line = as_line(replace(exact, **ESTIMATE))
    with pytest.raises(ValueError, match=said):
        parse(json.dumps(line | changes).encode())


def estimated():
    """Estimates of 20 pairs over 3 heads, of which 8, 5 and 8 had an exact run; without a covariate for the last."""
    random = torch.Generator().manual_seed(0)
    known = torch.randn(20, 1, 3, generator=random)
    exact = known + 0.2 * torch.randn(20, 1, 3, generator=random)
    exact[8:], exact[5:, 0, 1] = torch.nan, torch.nan
    known[..., 2] = 0.0
    return EstimatedEffects(
        exact_values=exact,
        covariate=known,
        tail=torch.ones(20, 1, 3),
        task_of=torch.zeros(20, dtype=torch.long),
        order=torch.arange(20),
        clean=torch.ones(20),
        corrupted=None,
        dims=("layer", "head"),
        site="z",
        kind="mean",
        metric="loss",
        cost=0.3,
        cost_by_clock=0.4,
        covariate_names=("last position", "first order"),
    )


def test_an_estimate_is_kept_with_all_that_its_interval_stands_on(tmp_path):
    found = estimated()
    with RecordWriter(tmp_path, name="run", model={}) as writer:
        writer.effects(7, 0, "ablation", LABEL, found, 0.1, pairs=pairs_of(20), overhead=0.03)
    record = Record.read(tmp_path)
    assert record.problems == ()
    [entry] = record.effects
    assert (entry.exact, entry.n, entry.cost, entry.overhead) == (False, 20, 0.3, 0.03)
    assert entry.covariate == "last position+first order"
    assert entry.n_exact.tolist() == [[8, 5, 8]]
    for name in ("mean", "stderr", "degrees_of_freedom", "covariate_r2", "suspect"):
        np.testing.assert_allclose(
            getattr(entry, name), getattr(found, name).numpy(), rtol=1e-6, err_msg=name
        )
    np.testing.assert_allclose(entry.cell_map().high, found.interval()[1].numpy(), rtol=1e-5)
    kept = read_per_pair(tmp_path, entry)
    largest = found.exact_values.abs().nan_to_num().amax(0).numpy()
    assert (np.isnan(kept.exact) == np.isnan(found.exact_values.numpy())).all()
    assert (np.nan_to_num(np.abs(kept.exact - found.exact_values.numpy())) <= 1e-3 * largest).all()
    np.testing.assert_allclose(kept.covariate, found.covariate.numpy(), atol=2e-3)


def test_two_estimates_are_compared_on_what_was_run_and_what_is_known(tmp_path):
    first = estimated()
    second = replace(first, exact_values=first.exact_values + 0.5, covariate=first.covariate + 0.4)
    with RecordWriter(tmp_path, name="run", model={}) as writer:
        for step, found in ((1, first), (2, second)):
            writer.effects(step, 0, "ablation", LABEL, found, 0.1, pairs=pairs_of(20))
    np.testing.assert_allclose(compare(tmp_path, 1, 2).mean, [[0.5, 0.5, 0.5]], atol=0.01)
