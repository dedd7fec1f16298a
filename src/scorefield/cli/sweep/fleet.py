"""Runs as tasks of Ray, begun again where they stopped when their process dies."""

import os
import shlex
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scorefield.cli.sweep.plan import PlannedRun
from scorefield.locks import lock_folder
from scorefield.ray_cluster import ray_cluster, room_for

_LOOK_SECONDS = 0.5  # between two looks at what runs
_FREE_SECONDS = 60.0  # until the process that had a run before must have ended


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    code: exit code of the command; None if its process died too often.
    said: the last line that it printed.
    seconds: since it was begun first.
    """

    code: int | None
    said: str
    seconds: float


@dataclass(frozen=True)
class Crew:
    """Who does the runs.

    address: of a Ray cluster, as `ray_cluster` has it.
    workers: most runs at once; None is as many as there is room for.
    threads: of each run, and the cores it is counted with.
    gpus: of each run; shares are allowed.
    retries: how often a run whose process died is begun again.
    """

    address: str | None
    workers: int | None
    threads: int
    gpus: float
    retries: int

    def perform(
        self,
        runs: Sequence[PlannedRun],
        out: Path,
        look: Callable[[Sequence[PlannedRun]], None],
    ) -> Iterator[tuple[PlannedRun, Ended]]:
        """Does the runs in folders of `out`, and gives each when it has ended.

        look: is told now and then which runs are going on.

        Raises:
            ValueError: there is no Ray, no answer, or no room for a run.
        """
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        local = (self.workers or max(1, (cores or 1) // self.threads)) * self.threads
        with ray_cluster(self.address, local) as ray:
            most = min(room_for(ray, self.threads, self.gpus), self.workers or len(runs))
            # A process for each run: what one leaves behind, on a GPU above all, is not the next's.
            task = ray.remote(
                num_cpus=self.threads, num_gpus=self.gpus, max_retries=self.retries, max_calls=1
            )(_perform)
            waiting, going = deque(runs), dict[Any, tuple[PlannedRun, float]]()
            while waiting or going:
                while waiting and len(going) < most:
                    run = waiting.popleft()
                    words = run.words_for(out / "runs" / run.name, on_cpu=not self.gpus)
                    log = str(out / "logs" / f"{run.name}.log")
                    begun = task.remote(words, log, os.getcwd(), self.threads)
                    going[begun] = run, time.monotonic()
                ended, _ = ray.wait(list(going), timeout=_LOOK_SECONDS)
                for one in ended:
                    run, since = going.pop(one)
                    yield run, self._ended(ray, one, time.monotonic() - since)
                look([run for run, _ in going.values()])

    def _ended(self, ray: Any, task: Any, seconds: float) -> Ended:
        try:
            code, said = ray.get(task)
        except ray.exceptions.RayError as error:
            if isinstance(error, ray.exceptions.RayTaskError):  # of our own making
                return Ended(1, str(error).strip().splitlines()[-1], seconds)
            tries = f"{self.retries + 1} times" if self.retries else "once"
            return Ended(None, f"its process died {tries}, most likely for want of memory", seconds)
        return Ended(code, said, seconds)


def _perform(words: list[str], log: str, directory: str, threads: int) -> tuple[int, str]:
    """Runs a command in this process, a worker of Ray; its exit code, and its last line."""
    import torch

    from scorefield.cli.main import main

    os.chdir(directory)
    torch.set_num_threads(threads)
    _wait_for(Path(words[words.index("--out") + 1]))
    path = Path(log)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file, redirect_stdout(file), redirect_stderr(file):
        print(f"$ {shlex.join(['scorefield', *words])} # process {os.getpid()}", flush=True)
        code = main(words)
    return code, path.read_text("utf-8").splitlines()[-1]


def _wait_for(folder: Path) -> None:
    """Until the folder is free: workers of a sweep that was killed outlive it by a moment."""
    end = time.monotonic() + _FREE_SECONDS
    while True:
        try:
            lock_folder(folder)
            return
        except ValueError:
            if time.monotonic() > end:
                return  # the command says who has it
        time.sleep(0.2)
