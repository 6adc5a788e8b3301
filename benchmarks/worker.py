"""One tool in a process of its own: reads requests as JSON lines, answers each with a JSON line.

A request names a job and how many of its interventions to run; the answer has the seconds and the effects.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any, TextIO

import torch
from transformers import GPT2Config

from benchmarks import memory, model
from benchmarks.jobs import job_named, prompts, sample
from benchmarks.tools.registry import make


def own_stdout() -> TextIO:
    """The real standard output; whatever a library prints goes to standard error instead."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return answers


def answer(tool: Any, config: GPT2Config, device: str, request: dict[str, Any]) -> dict[str, Any]:
    """Run one request."""
    job = job_named(request["job"])
    chosen = sample(job, job.interventions(config.n_layer, config.n_head), request["sample"])
    outcome = tool.run(job, prompts(job, config).to(device), chosen)
    return {**outcome._asdict(), "effects": outcome.effects.double().tolist()}


def main() -> None:
    """Answer until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tool", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--device", required=True)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    answers = own_stdout()
    config = GPT2Config.from_pretrained(given.folder)
    gpt2 = model.load(given.folder / "weights.safetensors", config).to(given.device)
    before = memory.start(given.device)
    tool = make(given.tool, gpt2)
    for line in sys.stdin:
        reply = answer(tool, config, given.device, json.loads(line))
        above_model = memory.peak(given.device) - before
        print(json.dumps({**reply, "above_model": above_model}), file=answers)


if __name__ == "__main__":
    main()
