"""What a user sees and takes on from an `Effects`: its strongest places, its table, its one line, its picture."""

import copy
import pickle
import sys

import pytest
import torch

import headwatch as hw
from headwatch.effects import Effects
from tests.models import random_pairs, tiny_gpt2


def made(values: list, dims: tuple[str, ...], n: int = 3, **others: object) -> Effects:
    """Effects whose means are these, with a standard error of 0.1 each."""
    mean = torch.tensor(values)
    spread = torch.linspace(-1, 1, n) if n > 1 else torch.zeros(1)
    spread = spread / spread.std() * 0.1 * n**0.5 if n > 1 else spread
    per_pair = mean + spread.reshape(-1, *[1] * mean.ndim)
    return Effects(per_pair, torch.zeros(n), None, dims, "z", "mean", "loss", **others)


CHOSEN = {"layer": (9, 10), "head": (0, 6, 7)}


@pytest.fixture
def chosen():
    return made([[0.0, 1.5, -0.05], [-3.0, 0.0, 0.1]], ("layer", "head"), coords=CHOSEN)


def test_the_top_is_given_by_layer_and_head_largest_first(chosen):
    assert chosen.top(3) == [(10, 0), (9, 6), (10, 7)]
    assert len(chosen.top(99)) == 6
    with pytest.raises(ValueError, match="k=0: give 1 or more"):
        chosen.top(0)


def test_the_top_leaves_nan_out():
    found = made([[torch.nan, 1.0], [2.0, torch.inf]], ("layer", "head")).top()
    assert found == [(1, 0), (0, 1)]


def test_given_takes_the_top():
    model, pairs = tiny_gpt2(), random_pairs(4)
    effects = hw.ablate_heads(model, pairs, kind="mean", layers=[1, 2])
    backup = hw.ablate_heads(model, pairs, kind="mean", given=effects.top(2))
    for layer, head in effects.top(2):
        assert layer in (1, 2)
        assert backup.mean[layer, head].item() == pytest.approx(0, abs=1e-6)
    sets = hw.ablate_head_sets(model, pairs, sets=[[(2, 1)], [(1, 1), (0, 3)]], kind="mean")
    again = hw.ablate_head_sets(model, pairs, sets=sets.top(2), kind="mean")
    assert set(again.coords["set"]) == {((2, 1),), ((1, 1), (0, 3))}
    by_layer = hw.ablate(model, pairs, site="mlp_out", kind="mean")
    chosen_layers = hw.ablate(model, pairs, site="mlp_out", kind="mean", layers=by_layer.top(2))
    assert chosen_layers.coords["layer"] == tuple(by_layer.top(2))


def test_the_top_by_position_has_the_position_too():
    values = torch.zeros(2, 2, 3)
    values[1, 0, 2] = -5.0
    assert made(values.tolist(), ("layer", "head", "position")).top(1) == [(1, 0, 2)]


def test_one_line_names_the_strongest_head_with_its_interval(chosen):
    line = repr(chosen)
    assert "\n" not in line
    assert "strongest L10H0 -3, 95 % interval -3.43 to -2.57" in line
    assert "z, mean ablation, 3 pairs on loss, 2 layers × 3 heads" in line


@pytest.mark.parametrize(
    ("effects", "words"),
    [
        (made([1.0, 2.0], ("layer",), n=1), "strongest L1 +2, no interval from one pair"),
        (made([[1.0, 0.0]], ("layer", "head"), n=1), "z, mean ablation, 1 pair on loss, 1 layer × 2 heads;"),
        (made([torch.nan, torch.nan], ("layer",)), "no finite effect"),
        (
            made([1.0], ("set",), coords={"set": (((9, 6), (10, 0)),)}),
            "strongest L9H6+L10H0 +1, 95 % interval +0.57 to +1.43",
        ),
        (made([[1.0]], ("layer", "neuron"), coords={"layer": (4,), "neuron": (200,)}), "strongest L4N200 +1"),
        (made([1.0], ("layer",), exact=False), "z, mean ablation, first-order, 3 pairs"),
        (made([1.0], ("layer",), receivers="logits"), "mean ablation of paths to logits"),
        (
            made([1.0], ("layer",), receivers=((9, 6), (9, 9)), receiver_input="q"),
            "of paths to q of L9H6+L9H9",
        ),
    ],
)
def test_one_line_of_other_results(effects, words):
    assert words in repr(effects)


def test_results_are_equal_only_to_themselves_and_can_be_kept_in_a_set(chosen):
    other = made([[0.0, 1.5, -0.05], [-3.0, 0.0, 0.1]], ("layer", "head"), coords=CHOSEN)
    assert chosen == chosen
    assert chosen != other
    assert len({chosen, other, chosen}) == 2


def test_a_result_can_be_copied_and_sent_to_another_process(chosen):
    for copied in (copy.deepcopy(chosen), pickle.loads(pickle.dumps(chosen))):
        assert copied.coords == CHOSEN
        assert torch.equal(copied.per_pair, chosen.per_pair)


def test_the_table_has_a_row_a_cell_under_the_places_it_is_about(chosen):
    pytest.importorskip("pandas", reason="needs the extra headwatch[dataframe]")
    table = chosen.to_dataframe()
    assert list(table) == ["layer", "head", "mean", "stderr", "low", "high", "p", "significant"]
    assert len(table) == 6
    [row] = table[(table.layer == 10) & (table["head"] == 0)].to_dict("records")
    assert row["mean"] == pytest.approx(-3.0)
    assert row["stderr"] == pytest.approx(0.1, rel=1e-4)
    assert (row["low"], row["high"]) == (pytest.approx(-3.4303, abs=1e-3), pytest.approx(-2.5697, abs=1e-3))
    assert row["p"] == pytest.approx(1 - 30 / 902**0.5, rel=1e-3)
    assert table.significant.tolist() == [False, True, False, True, False, False]


def test_the_table_of_sets_and_of_nan():
    pytest.importorskip("pandas", reason="needs the extra headwatch[dataframe]")
    table = made([1.0, torch.nan], ("set",), coords={"set": (((9, 6), (10, 0)), ((1, 1),))}).to_dataframe()
    assert table["set"].tolist() == [((9, 6), (10, 0)), ((1, 1),)]
    assert table["mean"].isna().tolist() == table.p.isna().tolist() == [False, True]


def test_without_pandas_one_sentence_says_what_to_install(chosen, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs pandas: pip install 'headwatch\[dataframe\]'"):
        chosen.to_dataframe()


def test_a_notebook_shows_a_map_with_a_square_a_cell_and_a_dot_a_significant_one(chosen):
    page = chosen._repr_html_()
    assert page.count("<rect") == 6
    assert page.count("<circle") == int(chosen.significant().sum()) == 2
    assert "<title>L10H0 -3, 95 % interval -3.43 to -2.57, significant</title>" in page
    assert "significant: false discovery rate 5 % over 6 cells (Benjamini-Hochberg)" in page
    assert ">7</text>" in page  # the third column is head 7
    assert 'fill="#053061"' in page  # the most negative effect


def test_a_notebook_shows_no_markup_of_others(chosen):
    hostile = made([[1.0]], ("layer", "head"))
    object.__setattr__(hostile, "metric", "<script>alert(1)</script>")
    assert "<script" not in hostile._repr_html_()


def test_thousands_of_neurons_become_a_list_of_the_strongest():
    effects = made(torch.arange(6000.0).reshape(2, 3000).tolist(), ("layer", "neuron"))
    page = effects._repr_html_()
    assert page.count("<li>") == 10
    assert "L1N2999 +5999" in page
    assert len(page) < 5000
