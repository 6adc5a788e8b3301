"""Orders whose prefixes are counted one by one."""

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
import torch

from headwatch.statistics.balanced_order import balanced_order

MIXED = {
    "one": [5],
    "halves": [32, 32],
    "unequal": [30, 20, 14],
    "rare": [61, 1, 1, 1],
    "many": [8] * 8,
    "primes": [2, 3, 5, 7, 11, 13],
}


def shuffled_labels(counts, seed):
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)) * 7 - 3, counts))


@pytest.mark.parametrize("counts", MIXED.values(), ids=MIXED)
def test_every_prefix_holds_its_share_of_each_label(counts):
    for seed in range(30):
        labels = shuffled_labels(counts, seed)
        order = balanced_order(len(labels), labels, seed=seed)
        assert sorted(order.tolist()) == list(range(len(labels)))
        for m in range(1, len(labels) + 1):
            prefix = Counter(labels[order[:m].numpy()].tolist())
            for label, count in Counter(labels.tolist()).items():
                assert abs(prefix[label] * len(labels) - m * count) <= len(labels)


def test_a_random_order_does_not():
    labels = shuffled_labels([32, 32], 0)
    prefixes = [labels[balanced_order(64, seed=seed)[:16].numpy()] for seed in range(50)]
    assert max(abs((prefix == labels[0]).sum() - 8) for prefix in prefixes) > 2


@pytest.mark.parametrize("labels", [None, [4, 4, 4, 4]])
def test_all_permutations_are_equally_probable_where_there_is_nothing_to_balance(labels):
    draws = 4800
    found = Counter(tuple(balanced_order(4, labels, seed=seed).tolist()) for seed in range(draws))
    assert set(found) == set(permutations(range(4)))
    chi_squared = sum((count - 200) ** 2 / 200 for count in found.values())
    assert chi_squared < 49.7  # the 0.1 % point at 23 degrees of freedom


def test_which_pair_of_a_label_comes_when_is_a_matter_of_chance():
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 1, 1])
    places = np.zeros((9, 3))
    draws = 3000
    for seed in range(draws):
        order = balanced_order(9, labels, seed=seed).numpy()
        for rank, pair in enumerate(order[labels[order] == 0]):
            places[pair, rank] += 1
    expected = draws / 3
    assert (
        (places[:3] - expected) ** 2 / expected
    ).sum() < 22.5  # the 0.1 % point at 6 (of 9 counts, 4 are free)


def test_short_prefixes_hold_their_shares_on_average():
    labels = np.repeat([0, 1, 2], [30, 20, 14])
    first = np.stack([labels[balanced_order(64, labels, seed=seed)[:8].numpy()] for seed in range(1000)])
    for label, share in enumerate([30 / 64, 20 / 64, 14 / 64]):
        assert (first == label).mean() == pytest.approx(share, abs=0.02)
        assert (first[:, 0] == label).any()


def test_labels_follow_each_other_in_any_order():
    labels = np.repeat(range(4), 2)
    found = {tuple(labels[balanced_order(8, labels, seed=seed).numpy()][:2].tolist()) for seed in range(400)}
    assert found == set(permutations(range(4), 2))


def test_the_seed_decides_and_the_global_generator_is_left_alone():
    labels = shuffled_labels([10, 6], 1)
    state = torch.get_rng_state()
    first, again, other = (balanced_order(16, labels, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_lists_arrays_and_tensors_are_labels():
    labels = [3, 3, 1, 1, 2]
    orders = [balanced_order(5, kind(labels), seed=3) for kind in (list, np.array, torch.tensor)]
    assert all(torch.equal(order, orders[0]) for order in orders)
    assert balanced_order(0, []).tolist() == balanced_order(0).tolist() == []


def test_labels_that_are_not_one_whole_number_a_pair_are_refused():
    with pytest.raises(ValueError, match=r"labels of shape \(3,\) .*: give 4 whole numbers, one a pair"):
        balanced_order(4, [1, 2, 2])
    with pytest.raises(ValueError, match=r"torch.float64: give 2 whole numbers"):
        balanced_order(2, np.array([0.5, 1.0]))
