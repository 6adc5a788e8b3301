"""The same comparison on a GPU: `.venv/bench/bin/python -m benchmarks.cuda`; writes results-cuda.json."""

import sys

import torch

from benchmarks.run import HERE, main

if __name__ == "__main__":
    if not torch.cuda.is_available():
        sys.exit("benchmarks/cuda.py needs a GPU and a torch built for CUDA: torch sees no GPU here")
    main("cuda", HERE / "results-cuda.json")
