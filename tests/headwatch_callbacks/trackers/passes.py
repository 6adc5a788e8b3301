"""Passes of probes made by hand, with numbers that tests can compute on."""

import torch

from headwatch.effects import Effects
from headwatch_callbacks.questions.result import AttentionFrame, ProbeResult


def effects(per_pair: torch.Tensor, dims: tuple[str, ...] = ("layer", "head"), **others: object) -> Effects:
    """Effects on the loss with the values given, `[pair, *dims]`."""
    clean = torch.full((len(per_pair),), 2.5)
    return Effects(per_pair, clean, None, dims, site="z", kind="mean", metric="loss", **others)


def ablation(
    step: int = 10, values: list[list[float]] | None = None, label: str = "ablation/z/mean/loss"
) -> ProbeResult:
    """A pass of three pairs over heads whose mean effects are `values`, with standard error 0.1 each."""
    mean = torch.tensor(values or [[0.0, 1.0, -0.05], [-3.0, 0.0, 0.1]])
    spread = 0.1 * 3**0.5 * torch.tensor([-1.0, 0.0, 1.0])  # unbiased std 0.1·√3, so stderr 0.1
    per_pair = mean + spread[:, None, None]
    scalars = {"clean": 2.5}
    return ProbeResult("ablation", label, step, 1, 0.25, effects=effects(per_pair), scalars=scalars)


def patterns(step: int = 10) -> ProbeResult:
    """Attention maps of one prompt of three tokens, padded to four, and one score."""
    maps = torch.tril(torch.ones(1, 2, 3, 4, 4))
    maps = maps / maps.sum(-1, keepdim=True)
    frame = AttentionFrame(maps, (("When", " Mary", " and"),))
    scores = {"induction": torch.arange(6.0).reshape(2, 3) / 6}
    return ProbeResult("patterns", "patterns", step, 1, 0.1, scores=scores, frame=frame)
