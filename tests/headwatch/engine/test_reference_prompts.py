"""What an ablation writes comes from the reference prompts, however few pairs are run: against plain forwards."""

import pytest
import torch

import headwatch as hw
from headwatch.interventions.sites import shared_out
from tests.compare import tensors_close
from tests.models import random_pairs, tiny_gpt2
from tests.reference.sweeps import sweep


@pytest.fixture(scope="module")
def model():
    return tiny_gpt2(seed=3)


@pytest.mark.parametrize("engine", ["exact", "hooks"])
@pytest.mark.parametrize("kind", ["mean", "position_mean", "resample"])
@pytest.mark.parametrize("n_others", [3, 8])
def test_values_come_from_the_reference(model, kind, engine, n_others):
    pairs, others = random_pairs(5), random_pairs(n_others, seed=7)
    expected = sweep(
        model, pairs, "z", kind, "logit_diff", permutation=shared_out(n_others, 5), reference=others
    )
    options = {"kind": kind, "metric": "logit_diff", "reference": others, "engine": engine}
    tensors_close(hw.ablate_heads(model, pairs, **options).per_pair, expected.float())
    tensors_close(hw.ablate(model, pairs, "z", **options).per_pair, expected.float())
    sets = hw.ablate_head_sets(model, pairs, [[(1, 2)], [(0, 1)]], **options)
    tensors_close(sets.per_pair, torch.stack([expected[:, 1, 2], expected[:, 0, 1]], 1).float())


def test_means_of_a_reference_are_over_prompts_of_several_lengths(model):
    pairs, others = random_pairs(4, 9), random_pairs(3, 6, seed=5, lengths=[4, 6, 5])
    expected = sweep(model, pairs, "mlp_out", "mean", "loss", reference=others)
    found = hw.ablate(model, pairs, "mlp_out", kind="mean", metric="loss", reference=others)
    tensors_close(found.per_pair, expected.float())


@pytest.mark.parametrize(("n", "n_pairs"), [(3, 8), (8, 3), (1, 4), (5, 5)])
def test_reference_prompts_are_shared_out_evenly_and_by_the_seed(n, n_pairs):
    counts = shared_out(n, n_pairs, seed=1).bincount(minlength=n)
    assert len(shared_out(n, n_pairs)) == n_pairs
    assert counts.max() - counts.min() <= 1
    torch.testing.assert_close(shared_out(n, n_pairs, seed=1), shared_out(n, n_pairs, seed=1))


def test_seeds_share_out_differently():
    assert len({tuple(shared_out(9, 9, seed).tolist()) for seed in range(5)}) == 5


@pytest.mark.parametrize(
    ("kind", "others", "said"),
    [
        (
            "zero",
            random_pairs(3),
            "reference= has no effect with kind='zero': mean, position_mean, resample write",
        ),
        (
            "position_mean",
            random_pairs(3, 7),
            "kind='position_mean' needs reference prompts of the pairs' 9 tokens",
        ),
        ("resample", random_pairs(3, 10), "kind='resample' needs reference prompts of the pairs' 9 tokens"),
        (
            "resample",
            random_pairs(2, 9, lengths=[8, 9]),
            "kind='resample' with reference= needs prompts of one length",
        ),
        ("mean", random_pairs(3, vocab=900), "vocabulary"),
    ],
)
def test_a_reference_that_does_not_fit_is_refused(model, kind, others, said):
    for ask in (hw.ablate_heads, hw.ablate, hw.estimate_heads):
        with pytest.raises(ValueError, match=said):
            ask(model, random_pairs(5), kind=kind, reference=others)
