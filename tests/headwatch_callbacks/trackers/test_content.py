import numpy as np
import pytest

from headwatch.pictures.colours import diverging
from headwatch_callbacks.trackers.content import Album, Cadence, numbers, summary
from headwatch_callbacks.trackers.settings import Trackers
from tests.headwatch_callbacks.trackers.passes import ablation, patterns

LABEL = "headwatch/ablation/z/mean/loss"


def test_a_pass_gives_its_scalars_and_how_importance_is_spread():
    found = numbers(ablation(), per_head=False)
    shares = np.array([1.0, 0.05, 3.0, 0.1]) / 4.15
    assert found[f"{LABEL}/clean"] == 2.5
    assert found[f"{LABEL}/top_effect"] == pytest.approx(-3.0)
    assert found[f"{LABEL}/importance_entropy"] == pytest.approx(-(shares * np.log(shares)).sum(), rel=1e-4)
    assert found[f"{LABEL}/effective_heads"] == pytest.approx(
        np.exp(-(shares * np.log(shares)).sum()), rel=1e-4
    )
    assert not any(name.startswith("heads/") for name in found)


def test_per_head_series_by_choice():
    found = numbers(ablation(), per_head=True)
    assert found["heads/ablation/z/mean/loss/L1H0"] == pytest.approx(-3.0)
    assert sum(name.startswith("heads/") for name in found) == 6


def test_values_that_are_not_finite_are_left_out():
    found = numbers(ablation(values=[[float("nan"), 1.0]]), per_head=True)
    assert "heads/ablation/z/mean/loss/L0H0" not in found
    assert found["heads/ablation/z/mean/loss/L0H1"] == pytest.approx(1.0)


def test_the_summary_names_the_head_that_matters_most():
    assert summary(ablation()) == {f"{LABEL}/top_head": "L1H0"}
    assert summary(patterns()) == {}


def test_a_map_a_pass_and_a_mosaic_at_every_nth():
    album = Album(Trackers(mosaic_every=3))
    drawn = [set(album.add(patterns(step))) for step in range(5)]
    score, attention = "headwatch/patterns/induction/map", "headwatch/patterns/attention"
    assert drawn == [{score, attention}, {score}, {score}, {score, attention}, {score}]
    [(result, pictures)] = album.last()
    assert (result.step, set(pictures)) == (4, {attention})
    assert album.last() == []


def test_the_colour_scale_of_a_series_only_widens():
    album = Album(Trackers())
    cell = np.asarray(album.add(ablation(values=[[1.0]]))[f"{LABEL}/map"])
    assert (cell == diverging(np.array([1.0]), 1.0)[0]).all(-1).any()
    album.add(ablation(values=[[4.0]]))
    later = np.asarray(album.add(ablation(values=[[1.0]]))[f"{LABEL}/map"])
    assert (later == diverging(np.array([1.0]), 4.0)[0]).all(-1).sum() > 1000


def test_the_rate_of_pictures_halves_so_that_a_thousand_passes_stay_below_the_files_limit():
    cadence = Cadence(full_rate=100)
    drawn = [place for place in range(1000) if cadence.due()]
    assert drawn[:100] == list(range(100))
    assert np.diff(drawn[101:200]).tolist() == [2] * 98
    assert len(drawn) < 400
