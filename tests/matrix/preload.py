"""What every process of the matrix imports, once."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")

import lightning.pytorch
import peft
import pytorch_lightning
import torch._dynamo
import transformers

import headwatch_callbacks
import tests.matrix.hf_training
import tests.matrix.lightning_training

__all__ = ["headwatch_callbacks", "lightning", "peft", "pytorch_lightning", "tests", "torch", "transformers"]
