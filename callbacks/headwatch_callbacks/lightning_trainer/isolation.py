"""What keeps a probe from changing one bit of the training that it looks at."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.seed import isolate_rng

from headwatch.model.eval_mode import eval_mode


@contextmanager
def preserve_rng() -> Iterator[None]:
    """The global random states of torch, numpy and Python are as before afterwards, also after an exception."""
    raised: Exception | None = None
    with isolate_rng():
        try:
            yield
        except Exception as error:  # isolate_rng puts nothing back when an exception passes through it
            raised = error
    if raised is not None:
        raise raised


@contextmanager
def eval_without_trace(trainer: pl.Trainer, pl_module: pl.LightningModule) -> Iterator[None]:
    """Evaluation mode, no gradients, the run's precision; each module's own mode put back afterwards.

    `trainer.validate` runs in inference mode, whose tensors can't be used outside it: it is off inside.
    """
    with torch.inference_mode(False), eval_mode(pl_module), autocast_of(trainer):
        yield


def autocast_of(trainer: pl.Trainer) -> AbstractContextManager[None]:
    """The run's precision."""
    # A mixed-precision plugin has this context. The others would change the default dtype, and metrics are fp32.
    context: AbstractContextManager[None] = getattr(
        trainer.precision_plugin, "autocast_context_manager", nullcontext
    )()
    return context
