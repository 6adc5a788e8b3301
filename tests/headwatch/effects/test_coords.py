"""Which layers, heads, neurons, positions and sets the axes of a result are, from every question that has one."""

import pytest
import torch

import headwatch as hw
from headwatch.effects import Effects
from tests.models import random_pairs, tiny_gpt2

ALL_LAYERS, ALL_HEADS = (0, 1, 2), (0, 1, 2, 3)


@pytest.fixture(scope="module")
def model():
    return tiny_gpt2()


def test_chosen_layers_keep_their_numbers_and_their_order(model):
    effects = hw.ablate_heads(model, random_pairs(3), kind="mean", metric="loss", layers=[2, 0])
    assert effects.coords == {"layer": (2, 0), "head": ALL_HEADS}
    whole = hw.ablate_heads(model, random_pairs(3), kind="mean", metric="loss")
    assert whole.coords == {"layer": ALL_LAYERS, "head": ALL_HEADS}
    torch.testing.assert_close(effects.mean[0], whole.mean[2], rtol=1e-5, atol=1e-6)


def test_chosen_neurons_and_positions(model):
    effects = hw.ablate(
        model,
        random_pairs(3),
        site="post",
        kind="zero",
        layers=[1],
        neurons=[100, 7],
        by_position=True,
        metric="loss",
    )
    assert effects.dims == ("layer", "neuron", "position")
    assert effects.coords == {"layer": (1,), "neuron": (100, 7), "position": tuple(range(9))}


def test_whole_layers(model):
    effects = hw.patch_activations(model, random_pairs(3), site="resid_pre", layers=[1, 2])
    assert effects.coords == {"layer": (1, 2)}


def test_sets_are_the_heads_in_them(model):
    effects = hw.ablate_head_sets(model, random_pairs(3), sets=[[(2, 1), (0, 3)], [(1, 1)]], metric="loss")
    assert effects.coords == {"set": (((2, 1), (0, 3)), ((1, 1),))}


@pytest.mark.parametrize("by_position", [False, True])
def test_first_order(model, by_position):
    effects = hw.attribute_heads(model, random_pairs(3), by_position=by_position)
    expected = {"layer": ALL_LAYERS, "head": ALL_HEADS}
    assert effects.coords == expected | ({"position": tuple(range(9))} if by_position else {})


def test_paths_say_who_receives(model):
    assert hw.patch_paths(model, random_pairs(3)).receivers == "logits"
    assert hw.ablate_heads(model, random_pairs(3), metric="loss").receivers is None


def test_paths_to_heads_say_which_and_what_of_them(model):
    effects = hw.patch_paths(model, random_pairs(3), receivers=[(2, 1), (2, 3)], receiver_input="q")
    assert effects.receivers == ((2, 1), (2, 3))
    assert effects.receiver_input == "q"
    assert "paths to q of L2H1+L2H3" in repr(effects)


def test_several_metrics_share_their_coordinates(model):
    found = hw.ablate_heads(model, random_pairs(3), metric=["loss", "logit_diff"], layers=[2])
    for effects in found.values():
        assert effects.coords == {"layer": (2,), "head": ALL_HEADS}


def test_without_coords_an_axis_counts_from_0():
    effects = Effects(torch.zeros(2, 3, 4), torch.zeros(2), None, ("layer", "neuron"), "post", "zero", "loss")
    assert effects.coords == {"layer": (0, 1, 2), "neuron": (0, 1, 2, 3)}


@pytest.mark.parametrize(
    "coords",
    [
        {"layer": (0, 1, 2), "head": (0, 1)},
        {"layer": (0, 1)},
        {"head": (0, 1), "layer": (0, 1)},
        {"layer": (0, 1), "neuron": (0, 1)},
    ],
)
def test_coords_that_do_not_fit_are_refused(coords):
    with pytest.raises(
        ValueError, match=r"coords of .* don't fit effects \(2, 2\) of dims=\('layer', 'head'\)"
    ):
        Effects(
            torch.zeros(2, 2, 2), torch.zeros(2), None, ("layer", "head"), "z", "zero", "loss", coords=coords
        )
