"""Passes in another process, while the training goes on: asked of a copy of rank 0's weights."""

from collections.abc import Callable

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import nn

from headwatch_callbacks.background.messages import Precision
from headwatch_callbacks.background.passes import Taken
from headwatch_callbacks.lightning_trainer.isolation import autocast_of
from headwatch_callbacks.lightning_trainer.trainer_run import Run
from headwatch_callbacks.questions.question import Moment, Question


def ask_in_background(
    trainer: pl.Trainer,
    run: Run,
    question: Question,
    model: nn.Module,
    at: Moment,
    *,
    device: torch.device,
    failed: Callable[[str], None],
) -> Taken:
    """Have another process ask a copy of rank 0's weights, if it can; all ranks know what became of it."""
    with autocast_of(trainer):
        precision = Precision.current(next(model.parameters()).device)
    return run.ranks.from_first(
        lambda: run.background.ask(question, model, at, device=device, precision=precision, failed=failed)
    )


def finish_background(run: Run) -> None:
    """Wait for the last passes in the background."""
    for asked in run.background.under_way:
        rank_zero_info(f"headwatch waits for {asked.question.identity} of step {asked.at.step}")
    run.ranks.from_first(run.background.finish)
