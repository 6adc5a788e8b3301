"""Attention maps in one byte a weight: weights come back to within 0.002, and what is no number comes back as none."""

import numpy as np
import pytest

from headwatch.record.packing import pack, unpack


def softmax_maps(tokens, seed=0):
    weights = np.tril(np.random.default_rng(seed).exponential(size=(2, 3, tokens, tokens)))
    return weights / weights.sum(-1, keepdims=True)


@pytest.mark.parametrize("tokens", [1, 2, 5, 40])
def test_rows_without_numbers_come_back_as_such_and_the_others_as_they_were(tokens):
    maps = softmax_maps(tokens)
    maps[0, 1, tokens - 1, : tokens // 2 + 1] = np.nan
    maps[1, 2, 0, 0] = np.nan
    wanted = maps.copy()
    wanted[0, 1, tokens - 1] = np.where(np.arange(tokens) < tokens, np.nan, 0)
    found = unpack(pack(maps))
    np.testing.assert_allclose(found, wanted, atol=0.002)
    above = np.triu(np.ones((tokens, tokens), bool), 1)
    assert (found[..., above] == 0).all()


def test_a_whole_map_without_numbers():
    maps = np.tril(np.full((1, 4, 4), np.nan))
    assert np.isnan(unpack(pack(maps)))[0][np.tril(np.ones((4, 4), bool))].all()


def test_one_weight_of_one_is_a_number():
    maps = np.tile(np.eye(4), (2, 1, 1))
    maps[1] = 0
    maps[1, :, 0] = 1
    np.testing.assert_array_equal(unpack(pack(maps)), maps)


@pytest.mark.parametrize("row", [[1.0, 1.0], [0.5, 1.5], [0.5, np.inf]])
def test_what_no_softmax_gives_is_refused(row):
    maps = np.array([[1.0, 0.0], row])
    with pytest.raises(ValueError, match="attention weights"):
        pack(maps)
    with pytest.raises(ValueError, match="attention weights of a query must sum to 1"):
        pack(np.zeros((2, 2)))
