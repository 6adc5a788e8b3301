"""Expected values are numpy's, in float64."""

import numpy as np
import pytest
import torch

from headwatch.effects import Effects
from tests.compare import close

PAIRS, LAYERS, HEADS = 7, 3, 4


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def made(kind: str = "denoise", n: int = PAIRS, corrupted: bool = True) -> Effects:
    return Effects(
        per_pair=numbers(n, LAYERS, HEADS),
        clean=numbers(n, seed=1) + 3,
        corrupted=numbers(n, seed=2) if corrupted else None,
        dims=("layer", "head"),
        site="z",
        kind=kind,
        metric="logit_diff",
    )


def test_mean_and_standard_error_over_pairs():
    effects = made()
    values = effects.per_pair.double().numpy()
    assert effects.n == PAIRS
    close(effects.mean, values.sum(0) / PAIRS)
    variance = ((values - values.mean(0)) ** 2).sum(0) / (PAIRS - 1)
    close(effects.stderr, np.sqrt(variance / PAIRS))


def test_one_pair_has_a_mean_and_no_standard_error():
    effects = made(n=1)
    assert effects.stderr.isnan().all()
    assert torch.equal(effects.mean, effects.per_pair[0])


@pytest.mark.parametrize("kind", ["zero", "mean", "position_mean", "resample", "noise", "denoise"])
def test_effects_are_measured_from_the_clean_run_unless_it_is_denoising(kind):
    effects = made(kind)
    start = effects.corrupted if kind == "denoise" else effects.clean
    assert torch.equal(effects.not_intervened, start)
    assert effects.baseline == pytest.approx(start.double().numpy().mean(), rel=1e-5)


@pytest.mark.parametrize("kind", ["noise", "denoise"])
def test_normalized_is_0_as_corrupted_and_1_as_clean(kind):
    effects = made(kind)
    clean, corrupted = (part.double().numpy() for part in (effects.clean, effects.corrupted))
    start = corrupted if kind == "denoise" else clean
    metric = (start[:, None, None] + effects.per_pair.double().numpy()).mean(0)
    close(effects.normalized, (metric - corrupted.mean()) / (clean.mean() - corrupted.mean()))


def test_an_intervention_that_restores_the_clean_run_has_normalized_1():
    clean, corrupted = torch.tensor([3.0, 5.0]), torch.tensor([1.0, -1.0])
    whole = torch.stack([clean - corrupted, torch.zeros(2)], dim=1)
    effects = Effects(whole, clean, corrupted, ("head",), "z", "denoise", "logit_diff")
    assert effects.normalized.tolist() == [1.0, 0.0]


def test_normalized_needs_a_corrupted_run():
    with pytest.raises(ValueError, match="kind='mean' makes none: use patch_activations"):
        _ = made("mean", corrupted=False).normalized


def test_normalized_needs_prompts_that_score_differently():
    same = torch.tensor([1.0, 2.0])
    effects = Effects(numbers(2, 3), same, same.flip(0), ("head",), "z", "noise", "logit_diff")
    with pytest.raises(ValueError, match=r"undefined: logit_diff is 1\.5 on clean and corrupted alike"):
        _ = effects.normalized


@pytest.mark.parametrize("corrupted", [True, False])
def test_to_moves_every_tensor(corrupted):
    moved = made("noise", corrupted=corrupted).to("meta")
    assert moved.per_pair.is_meta
    assert moved.clean.is_meta
    assert moved.corrupted is None or moved.corrupted.is_meta
    assert moved.dims == ("layer", "head")
