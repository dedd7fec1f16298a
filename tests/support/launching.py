"""Commands in several processes, as torchrun and accelerate launch start them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
# --cpu would start a single process, whatever the number asked for.
ACCELERATE = ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2")


def launch(words: Sequence[str], by: Sequence[str] = TORCHRUN) -> "subprocess.Popen[str]":
    """A command of scorefield in two processes, one thread each."""
    return subprocess.Popen(
        [sys.executable, *by, "-m", "scorefield", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def completed(words: Sequence[str], by: Sequence[str] = TORCHRUN) -> str:
    """What it prints when it ends well."""
    process = launch(words, by)
    out, error = process.communicate(timeout=1000)
    assert process.returncode == 0, error
    return out


def killed_when(due: Callable[[], bool], words: Sequence[str]) -> list[str]:
    """Kills the second process once `due`; returns what scorefield says of it, when all ended."""
    process = launch(words)
    while not due():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text("ascii").split()
    for child in children:
        if b"\0RANK=1\0" in Path(f"/proc/{child}/environ").read_bytes():
            os.kill(int(child), signal.SIGKILL)
    out, error = process.communicate(timeout=1000)
    assert process.returncode == 1, out
    return [line for line in error.splitlines() if line.startswith("scorefield:")]
