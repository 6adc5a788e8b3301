"""Cheap estimates on all pairs, exact effects on some of them: together better than either.

First-order effects a of all N pairs are nearly free; exact effects x of n of them are not. Where the two move
together, what the cheap ones say about how the n pairs differ from all N is taken off the exact mean (a control
variate, or regression estimator: Cochran 1977, chapter 7). Bias in a does no harm: only its spread is used.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Combined:
    """The mean exact effect, estimated from few exact and many approximate effects.

    Example:
        >>> x = torch.tensor([1.0, 2.0, 3.0, 4.0])
        >>> hw.control_variate(x, x, torch.arange(9.0)).n_all
        9

    Attributes:
        mean: the estimate, `[*dims]`, in the metric's unit.
        stderr: its standard error as an estimate of the mean over all prompts like these, `[*dims]`.
        coefficient: what the approximate effects were multiplied by, `[*dims]`.
        n: pairs with an exact effect.
        n_all: pairs with an approximate effect.
    """

    mean: Float[Tensor, " *dims"]
    stderr: Float[Tensor, " *dims"]
    coefficient: Float[Tensor, " *dims"]
    n: int
    n_all: int


def control_variate(
    exact: Float[Tensor, "n *dims"],
    approximate_subset: Float[Tensor, "_ ..."],
    approximate_all: Float[Tensor, "_ ..."],
    *,
    folds: int | None = None,
) -> Combined:
    """mean_n(x) − c · (mean_n(a) − mean_N(a)) with c = cov(x, a) / var(a), per head or whatever `dims` are.

    Example:
        >>> approximate = hw.attribute_heads(model, pairs).per_pair        # on all pairs
        >>> exact = hw.patch_activations(model, pairs[:4]).per_pair        # on few
        >>> both = hw.control_variate(exact, approximate[:4], approximate)
        >>> both.mean.shape                                                # [layer, head]
        torch.Size([12, 12])

    The n pairs are a random subset of the N. Without folds c is fitted on the same n pairs, which biases the mean
    by O(1/n). With folds each fold's c comes from the other folds, and its control is centred on the pairs that
    this c has not seen: unbiased at any n. The standard error counts the n pairs' residual spread, the N pairs'
    spread that a carries, and the fit of c; of x alone it would be std(x) / sqrt(n).

    Args:
        exact: x on n pairs, `[n, *dims]`.
        approximate_subset: a on the same n pairs in the same order, `[n, *dims]`.
        approximate_all: a on all N pairs, those n among them, `[n_all, *dims]`.
        folds: how many parts to cross-fit in, 2 to n / 2; None for no cross-fitting. Pairs are dealt to folds in
            turn, which is random where the subset's order is.

    Raises:
        ValueError: other shapes, fewer than 4 exact pairs, more exact than approximate ones, or a number of folds
            that leaves too few pairs to fit on.
    """
    n, n_all = len(exact), len(approximate_all)
    _check(exact, approximate_subset, approximate_all, folds)
    x, a, everyone = exact.double(), approximate_subset.double(), approximate_all.double()
    if folds is None:
        coefficient = _slope(x, a)
        mean = x.mean(0) - coefficient * (a.mean(0) - everyone.mean(0))
        stderr = _standard_error(x - coefficient * a, a, everyone, coefficient)
    else:
        fold_of = torch.arange(n, device=x.device) % folds
        mean, coefficients = _cross_fitted(x, a, everyone.sum(0), n_all, fold_of)
        coefficient = coefficients.mean(0)
        stderr = _standard_error(x - coefficients * a, a, everyone, coefficient)
    dtype = exact.dtype
    return Combined(mean.to(dtype), stderr.to(dtype), coefficient.to(dtype), n, n_all)


def _check(exact: Tensor, subset: Tensor, everyone: Tensor, folds: int | None) -> None:
    n = len(exact)
    if exact.shape != subset.shape or exact.shape[1:] != everyone.shape[1:]:
        raise ValueError(
            f"exact {tuple(exact.shape)}, approximate_subset {tuple(subset.shape)} and approximate_all "
            f"{tuple(everyone.shape)}: the first two need one shape, and all three the same axes after the first"
        )
    if n < 4:
        raise ValueError(f"{n} exact pairs are too few for a slope and its error: give 4 or more")
    if n > len(everyone):
        raise ValueError(
            f"{n} exact pairs of {len(everyone)}: approximate_all must hold all pairs, the exact ones too"
        )
    if folds is not None and not 2 <= folds <= n // 2:
        raise ValueError(f"folds={folds}: give 2 to {n // 2} for {n} exact pairs")


def _slope(x: Tensor, a: Tensor) -> Tensor:
    """cov(x, a) / var(a) over the first axis; 0 where a does not vary."""
    centred = a - a.mean(0)
    spread = centred.square().sum(0)
    return torch.where(spread > 0, (centred * x).sum(0) / spread, 0.0)


def _standard_error(residual: Tensor, a: Tensor, everyone: Tensor, coefficient: Tensor) -> Tensor:
    """Of mean_n(r) + c · mean_N(a), with r = x − c·a, the n pairs being among the N."""
    n, n_all = len(residual), len(everyone)
    centred, off = a - a.mean(0), residual - residual.mean(0)
    spread = centred.square().sum(0)
    of_residual = off.square().sum(0) / (n - 2)
    shift = a.mean(0) - everyone.mean(0)
    from_fit = torch.where(spread > 0, shift.square() / spread, 0.0)
    together = 2 * coefficient * (centred * off).sum(0) / (n - 1) / n_all
    variance = of_residual * (1 / n + from_fit) + coefficient.square() * everyone.var(0) / n_all + together
    return variance.clamp(min=0).sqrt()


def _cross_fitted(
    x: Tensor, a: Tensor, total_a: Tensor, n_all: int, fold_of: Int[Tensor, " n"]
) -> tuple[Tensor, Tensor]:
    """The mean, and the coefficient that each pair's fold used, `[n, *dims]`."""
    mean, coefficients = torch.zeros_like(x[0]), torch.zeros_like(x)
    for fold in fold_of.unique():
        inside = fold_of == fold
        slope = _slope(x[~inside], a[~inside])
        # Centred on every pair but those that the slope was fitted on: the slope is independent of it.
        unseen = (total_a - a[~inside].sum(0)) / (n_all - (~inside).sum())
        mean += (x[inside].mean(0) - slope * (a[inside].mean(0) - unseen)) * inside.sum() / len(x)
        coefficients[inside] = slope
    return mean, coefficients
