"""Where results go besides the record: Weights & Biases, MLflow, TensorBoard, trackio, and any logger of numbers.

A tracker is chosen by the class name of the Trainer's logger; `TRACKERS` lists them and takes new ones, see
`headwatch_callbacks.trackers.tracker`.
"""

from headwatch_callbacks.trackers.guarded import GuardedTracker
from headwatch_callbacks.trackers.mlflow import MLFlowTracker
from headwatch_callbacks.trackers.settings import Trackers
from headwatch_callbacks.trackers.tensorboard import TensorBoardTracker
from headwatch_callbacks.trackers.tracker import TRACKERS, Tracker
from headwatch_callbacks.trackers.trackers_for import trackers_for
from headwatch_callbacks.trackers.trackio import TrackioTracker
from headwatch_callbacks.trackers.wandb import WandbTracker

__all__ = ["TRACKERS", "GuardedTracker", "Tracker", "Trackers", "trackers_for"]

TRACKERS.register("MLFlowLogger", MLFlowTracker)
TRACKERS.register("TensorBoardLogger", TensorBoardTracker)
TRACKERS.register("TrackioLogger", TrackioTracker)
TRACKERS.register("WandbLogger", WandbTracker)
