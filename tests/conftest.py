"""One thread a process: the models are tiny, and pytest-xdist runs a process a core."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

torch.set_num_threads(1)
