"""Where results go: one sink for each logger of the Trainer, shared by all its probes, each behind a guard."""

from weakref import WeakKeyDictionary, ref

import lightning.pytorch as pl
from lightning.pytorch.loggers import Logger

from headwatch_callbacks.trackers.guard import GuardedSink, TrackerSink
from headwatch_callbacks.trackers.mlflow import MLFlowSink
from headwatch_callbacks.trackers.numbers_only import NumbersSink
from headwatch_callbacks.trackers.options import TrackerOptions, Trackers, options_of
from headwatch_callbacks.trackers.tensorboard import TensorBoardSink
from headwatch_callbacks.trackers.trackio import TrackioSink
from headwatch_callbacks.trackers.wandb import WandbSink

__all__ = ["GuardedSink", "TrackerOptions", "Trackers", "sinks_for"]

# By class name along the inheritance, so that pytorch_lightning's loggers and users' subclasses are known too.
_SINKS = {
    "WandbLogger": WandbSink,
    "TensorBoardLogger": TensorBoardSink,
    "MLFlowLogger": MLFlowSink,
    "TrackioLogger": TrackioSink,
}
_MADE: WeakKeyDictionary[pl.Trainer, dict[int, tuple[Logger, GuardedSink]]] = WeakKeyDictionary()


def sinks_for(trainer: pl.Trainer) -> list[GuardedSink]:
    """One guarded sink for each logger in `trainer.loggers`: the same objects whenever one trainer is asked for.

    Empty on all ranks but the first, and for the dummy logger of `fast_dev_run`. A logger of a kind that is not
    known gets numbers. What is sent beyond one map a pass is set by a `Trackers` callback.

    Raises:
        ValueError: an MLFlowLogger on MLflow's file store, or two `Trackers` callbacks.
    """
    if trainer.global_rank != 0:
        return []
    made = _MADE.setdefault(trainer, {})
    loggers = [logger for logger in trainer.loggers if type(logger).__name__ != "DummyLogger"]
    for logger in loggers:
        if id(logger) not in made:
            made[id(logger)] = (logger, _guarded(trainer, logger, options_of(trainer)))
    return [made[id(logger)][1] for logger in loggers]


def _guarded(trainer: pl.Trainer, logger: Logger, options: TrackerOptions) -> GuardedSink:
    names = [kind.__name__ for kind in type(logger).__mro__]
    make = next((_SINKS[name] for name in names if name in _SINKS), NumbersSink)
    sink: TrackerSink = make(logger, options)
    weak = ref(trainer)

    def lost(error: Exception) -> str:
        """Without its helper process a logger raises at every value, also at the Trainer's own."""
        trainer = weak()
        if not isinstance(error, ConnectionError) or trainer is None:
            return "The record on disk keeps every result."
        trainer.loggers = [each for each in trainer.loggers if each is not logger]
        return f"{type(logger).__name__} was taken out of trainer.loggers: it would have ended the training."

    return GuardedSink(sink, type(logger).__name__, lost)
