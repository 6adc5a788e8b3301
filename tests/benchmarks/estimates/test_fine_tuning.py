"""The errors that the fine-tuning benchmark prints, worked out by hand."""

import torch

from benchmarks.estimates.fine_tuning import N_PAIRS, Truth


def test_errors_are_in_standard_errors_of_an_exact_sweep():
    effects = torch.tensor(
        [[[1.0, 10.0]], [[3.0, 10.5]], [[5.0, 11.0]]]
    )  # means 3 and 10.5, deviations 2 and 0.5
    truth = Truth(None, {100: effects}, {})
    found = truth.errors(100, torch.tensor([[4.0, 10.0]]))
    expected = torch.tensor([[1.0 / (2 / N_PAIRS**0.5), 0.5 / (0.5 / N_PAIRS**0.5)]], dtype=torch.double)
    torch.testing.assert_close(found, expected)
