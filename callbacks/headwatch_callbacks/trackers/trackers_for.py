"""One tracker for each logger of a Trainer, shared by all its probes, each behind a guard."""

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary, ref

import lightning.pytorch as pl
from lightning.pytorch.loggers import Logger

from headwatch_callbacks.trackers.guarded import GuardedTracker
from headwatch_callbacks.trackers.numbers_only import NumbersTracker
from headwatch_callbacks.trackers.settings import Trackers, settings_of
from headwatch_callbacks.trackers.tracker import TRACKERS, Tracker

_MADE: WeakKeyDictionary[pl.Trainer, dict[int, tuple[Logger, GuardedTracker]]] = WeakKeyDictionary()


def trackers_for(trainer: pl.Trainer) -> list[GuardedTracker]:
    """One guarded tracker for each logger in `trainer.loggers`: the same objects whenever one trainer is asked for.

    Empty on all ranks but the first, and for the dummy logger of `fast_dev_run`. A logger of a kind that is not
    in `TRACKERS` gets numbers. What is sent beyond one map a pass is set by a `Trackers` callback.

    Raises:
        ValueError: an MLFlowLogger on MLflow's file store, or two `Trackers` callbacks.
    """
    if trainer.global_rank != 0:
        return []
    made = _MADE.setdefault(trainer, {})
    loggers = [logger for logger in trainer.loggers if type(logger).__name__ != "DummyLogger"]
    for logger in loggers:
        if id(logger) not in made:
            made[id(logger)] = (logger, _guarded(trainer, logger, settings_of(trainer)))
    return [made[id(logger)][1] for logger in loggers]


def _guarded(trainer: pl.Trainer, logger: Logger, settings: Trackers) -> GuardedTracker:
    # By class name along the inheritance, so that pytorch_lightning's loggers and users' subclasses are known too.
    names = [kind.__name__ for kind in type(logger).__mro__]
    make: Callable[[Any, Trackers], Tracker] = next(
        (TRACKERS[name] for name in names if name in TRACKERS), NumbersTracker
    )
    weak = ref(trainer)

    def lost(error: Exception) -> str:
        """Without its helper process a logger raises at every value, also at the Trainer's own."""
        trainer = weak()
        if not isinstance(error, ConnectionError) or trainer is None:
            return (
                "The record on disk is written apart from it. What the Trainer itself logs still goes there: headwatch"
                " guards its own calls only, and an error in Lightning's ends the training."
            )
        trainer.loggers = [each for each in trainer.loggers if each is not logger]
        return f"{type(logger).__name__} was taken out of trainer.loggers: it would have ended the training."

    return GuardedTracker(make(logger, settings), type(logger).__name__, lost)
