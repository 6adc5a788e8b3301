"""How a competent user would run a sweep with each tool: one module a tool, each with one class.

The class wraps the model; its `run(job, prompts, chosen)` returns an `Outcome`.
"""

from typing import NamedTuple

from torch import Tensor

from benchmarks.jobs import Prompts


class Outcome(NamedTuple):
    """What a sweep gave.

    Attributes:
        effects: metric(intervened) − metric(not intervened), `[intervention, pair]`.
        plain_seconds: time for what is done once, such as the runs that nothing is changed in.
        sweep_seconds: time for the interventions.
        share: the share of the job's work that `sweep_seconds` paid for; 1 where all interventions were run.
        largest: the largest effect of all the job's interventions on any pair; None where they were not all run.
    """

    effects: Tensor
    plain_seconds: float
    sweep_seconds: float
    share: float
    largest: float | None = None


def logit_difference(logits: Tensor, prompts: Prompts) -> Tensor:
    """Answer − foil at the last position, `[pair]`, from logits `[pair, position, vocab]`."""
    last = logits[:, -1]
    answer, foil = prompts.answer[:, None], prompts.foil[:, None]
    return (last.gather(1, answer) - last.gather(1, foil))[:, 0]
