"""`EstimatedEffects` keeps what `Effects` promises, from numbers that are set by hand."""

import matplotlib as mpl
import numpy as np
import pytest
import torch

import headwatch as hw
from headwatch.cell_names import counted

mpl.use("Agg")

N, SHAPE = 8, (2, 3)


def estimated(exact=None, covariate=None, kind="denoise", names=("first order",), **fields):
    """Estimates of 2 × 3 heads on 8 pairs, of which the first 4 were run."""
    draw = torch.Generator().manual_seed(0)
    values = torch.randn((N, *SHAPE), generator=draw) + 3.0
    run = values.clone()
    run[4:] = torch.nan
    guess = values + 0.1 * torch.randn((N, *SHAPE), generator=draw)
    patching = kind in ("denoise", "noise")
    given = {
        "exact_values": run if exact is None else exact,
        "covariate": guess if covariate is None else covariate,
        "tail": torch.zeros(N, *SHAPE),
        "task_of": torch.zeros(N, dtype=torch.long),
        "order": torch.arange(N),
        "clean": torch.linspace(4.0, 5.0, N),
        "corrupted": torch.linspace(-2.0, -1.0, N) if patching else None,
        "dims": ("layer", "head"),
        "site": "z",
        "kind": kind,
        "metric": "logit_diff",
        "cost": 0.5,
        "cost_by_clock": 0.6,
        "covariate_names": names,
        "coords": counted(("layer", "head"), SHAPE),
    }
    return hw.EstimatedEffects(**(given | fields))


def test_the_mean_is_that_of_the_covariate_and_of_what_it_was_off_by():
    found = estimated()
    expected = found.covariate.mean(0) + (found.exact_values - found.covariate)[:4].mean(0)
    torch.testing.assert_close(found.mean, expected)
    assert (found.n, found.exact) == (N, False)
    assert (found.n_exact == 4).all()


@pytest.mark.parametrize(("kind", "base"), [("denoise", -1.5), ("noise", 4.5)])
def test_normalized_is_the_share_of_what_patching_restores(kind, base):
    found = estimated(kind=kind)
    torch.testing.assert_close(found.normalized, (base + found.mean + 1.5) / 6.0)


def test_an_ablation_has_nothing_to_normalize_by():
    with pytest.raises(ValueError, match="normalized needs a corrupted run and kind='zero' makes none"):
        _ = estimated(kind="zero").normalized


def test_no_interval_of_a_share_is_offered():
    """Its ends would rest on how effects and scores move together on the few pairs that were run."""
    assert not hasattr(estimated(), "normalized_interval")
    assert "`normalized_interval`" in (hw.EstimatedEffects.__doc__ or "")


def test_the_table_has_a_row_a_head_with_its_own_interval():
    found = estimated()
    table, (low, high) = found.to_dataframe(), found.interval()
    assert list(table.columns) == ["layer", "head", "mean", "stderr", "low", "high", "p", "significant"]
    assert table[["layer", "head"]].to_numpy().tolist() == [[i, j] for i in range(2) for j in range(3)]
    for name, values in (("mean", found.mean), ("stderr", found.stderr), ("low", low), ("high", high)):
        np.testing.assert_allclose(table[name], values.flatten(), rtol=1e-6)


def nan_in_one_head(run):
    """A run of one head that gave no number, as estimates keep it."""
    found = estimated()
    exact, covariate = found.exact_values.clone(), found.covariate.clone()
    if run:
        exact[2, 1, 0] = torch.nan
    covariate[2, 1, 0] = torch.nan
    return estimated(exact, covariate)


@pytest.mark.parametrize("run", [False, True])
def test_nan_stays_with_its_head(run):
    found, whole = nan_in_one_head(run), estimated()
    missing = torch.zeros(SHAPE, dtype=torch.bool)
    missing[1, 0] = True
    for values in (found.mean, found.stderr, *found.interval(), found.p_values(), found.normalized):
        assert torch.equal(values.isnan(), missing)
    assert torch.equal(found.mean[~missing], whole.mean[~missing])
    assert not found.significant()[1, 0]
    assert found.significant()[~missing].all()
    assert (1, 0) not in found.top(6)
    assert len(found.top(6)) == 5
    assert found.to_dataframe()["mean"].isna().tolist() == missing.flatten().tolist()


@pytest.mark.parametrize("make", [estimated, lambda: nan_in_one_head(True)], ids=["numbers", "a NaN"])
def test_it_is_drawn_and_shown(make):
    found = make()
    axes = found.plot()
    assert axes.get_title()
    html = found._repr_html_()
    assert html.count("<svg") == 1
    assert "estimated at 50 % of the exact cost" in html


def test_saved_and_moved_it_is_the_same(tmp_path):
    found = nan_in_one_head(True)
    found.save(tmp_path / "found.npz")
    for again in (hw.EstimatedEffects.load(tmp_path / "found.npz"), found.to("cpu")):
        torch.testing.assert_close(again.mean, found.mean, equal_nan=True, rtol=0, atol=0)
        torch.testing.assert_close(again.stderr, found.stderr, equal_nan=True, rtol=0, atol=0)
        assert repr(again) == repr(found)


def test_the_share_of_variance_that_a_covariate_explains():
    found = estimated()
    exact, residual = found.exact_values[:4], (found.exact_values - found.covariate)[:4]
    torch.testing.assert_close(found.covariate_r2, 1 - residual.var(0) / exact.var(0), rtol=1e-4, atol=1e-5)
    same = estimated(torch.ones(N, *SHAPE), torch.zeros(N, *SHAPE))
    assert same.covariate_r2.isnan().all()


def test_a_head_whose_runs_have_missed_its_tail_is_suspect():
    tail = torch.ones(N, *SHAPE)
    tail[4:, 0, 1] = 5.1  # on average 3.05
    tail[4:, 0, 2] = 4.9  # on average 2.95
    spread = torch.arange(N).float()[:, None, None].expand(N, *SHAPE)
    exact = spread.clone()
    exact[4:] = torch.nan
    found = estimated(exact, spread, tail=tail)
    assert found.suspect.nonzero().tolist() == [[0, 1]]
