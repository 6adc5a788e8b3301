"""One thread a process: the models are tiny, and pytest-xdist runs a process a core."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)

# Nothing here may fail because the machine is busy.
settings.register_profile("headwatch", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# `make fuzz` draws more, the same cases each time.
settings.register_profile("fuzz", settings.get_profile("headwatch"), max_examples=4_000, database=None)
settings.load_profile("headwatch")
