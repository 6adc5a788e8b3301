"""Starts a worker per tool and asks it: one process each, all with the same weights, prompts and threads."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Setting:
    """What all workers share: the folder with the weights, the threads and the device."""

    folder: Path
    threads: int
    device: str


class Worker:
    """A tool in a process of its own, for a with statement.

    Raises:
        RuntimeError: the process ended; its own message is on standard error.
    """

    def __init__(self, tool: str, setting: Setting) -> None:
        self.tool = tool
        command = [sys.executable, "-m", "benchmarks.worker", "--tool", tool, "--device", setting.device]
        command += ["--folder", str(setting.folder), "--threads", str(setting.threads)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(setting.threads), "HF_HUB_OFFLINE": "1"}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT, env=environment
        )

    def ask(self, job: str, sample: int) -> dict[str, Any]:
        """Run a job, or so many of its interventions, and wait for the answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"job": job, "sample": sample}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process of {self.tool} ended with status {self.process.wait()}")
        return json.loads(line)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
