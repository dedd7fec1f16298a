"""Who goes through the parts of a data set: this process, or workers of Ray that hold a prior each.

What is done to a part does not depend on who does it, so that its file has the same bits. Ray is
given one part per worker at a time: a worker that dies costs the part it was at, which another one
begins anew, and the driver holds neither images nor results.
"""

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from scorefield.perception.benchmarks.labelled_images import LabelledImage
from scorefield.perception.fleet.part_files import Report, write_part
from scorefield.perception.fleet.parts import Part
from scorefield.perception.fleet.work import ImageWork
from scorefield.ray_cluster import ray_cluster, room_for
from scorefield.rows import Row

_TRIES = 3
"""Workers that one part may cost."""
_LOST = 3
"""Parts lost in a row after which it is not the parts' fault."""


@dataclass(frozen=True)
class Task:
    """A part, the file its results go to, and what `Report.key` is to be."""

    part: Part
    path: Path
    key: str


Written = tuple[Task, Report | None]
"""A part that is done; None where every worker that tried it died."""


@dataclass(frozen=True)
class Engine:
    """What goes through parts.

    prepare: gives the settings of the work; the prior is loaded then.
    write: writes the files of parts, and yields each as it is done, in any order.
    """

    prepare: Callable[[], dict[str, Any]]
    write: Callable[[Sequence[Task]], Iterator[Written]]


class Worker:
    """A process that holds a frozen prior and writes the files of parts.

    Args:
        make: Loads the prior.
        threads: Of the process; bits may differ with another number.
        folder: To which relative paths refer.
    """

    def __init__(self, make: Callable[[], ImageWork], threads: int, folder: str) -> None:
        self._make, self._threads, self._folder = make, threads, folder
        self._work: ImageWork | None = None

    def prepare(self) -> dict[str, Any]:
        """Loads the prior, once, and gives the settings of the work."""
        return dict(self._ready().settings)

    def write(self, task: Task) -> Report:
        """Writes the file of a part."""
        work = self._ready()
        return write_part(task.path, task.key, work.columns, _rows(task.part, work))

    def _ready(self) -> ImageWork:
        # Not as the worker is made: of an error there Ray tells the driver no more than a text.
        if self._work is None:
            os.chdir(self._folder)
            torch.set_num_threads(self._threads)
            self._work = self._make()
        return self._work


def _rows(part: Part, work: ImageWork) -> Iterator[list[Row]]:
    """The results of a part's images, in groups that share passes of the network."""
    images = part.labelled()
    while True:
        group, damage = list[LabelledImage](), None
        try:
            group += islice(images, work.at_once)
        except ValueError as error:
            damage = " ".join(str(error).split())
        if group:
            yield work.rows(group)
        if damage is not None:
            yield [{"image": part.file.name, "digest": "", "error": damage}]
        if damage is not None or not group:
            return


@contextmanager
def local_engine(make: Callable[[], ImageWork], threads: int) -> Iterator[Engine]:
    """This process; its number of threads is as it was, afterwards."""
    before = torch.get_num_threads()
    worker = Worker(make, threads, os.getcwd())
    try:
        yield Engine(worker.prepare, lambda tasks: ((task, worker.write(task)) for task in tasks))
    finally:
        torch.set_num_threads(before)


@contextmanager
def ray_engine(
    make: Callable[[], ImageWork],
    threads: int,
    *,
    address: str | None = None,
    workers: int | None = None,
    gpus: float = 0.0,
) -> Iterator[Engine]:
    """Workers of Ray.

    Args:
        make: Loads the prior, in each worker. It and what it reads must be found on all machines.
        threads: Of a worker, and the cores that it is counted with.
        address: As `ray_cluster` has it.
        workers: None are as many as there is room for.
        gpus: Of a worker; shares are allowed.

    Raises:
        ValueError: no Ray, no answer, or no room for so many workers.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    local = (workers or max(1, (cores or 1) // threads)) * threads
    with ray_cluster(address, local) as ray:
        room = room_for(ray, threads, gpus, workers)
        hire = ray.remote(num_cpus=threads, num_gpus=gpus, max_restarts=0)(Worker).remote
        crew = _Crew(ray, lambda: hire(make, threads, os.getcwd()), workers or room)
        yield Engine(crew.prepare, crew.write)


class _Crew:
    """Workers that are replaced when they die.

    A part is retried here and not by Ray, which retries on the same actor alone and stops where
    that was ended for good, be it by hand or with its machine.
    """

    def __init__(self, ray: Any, hire: Callable[[], Any], size: int) -> None:
        self._ray, self._hire, self._size = ray, hire, size
        self._first: Any = None

    def prepare(self) -> dict[str, Any]:
        """The settings of the work, as the first worker tells them."""
        for _ in range(_TRIES):
            self._first = self._hire()
            alive, settings = self._answer(self._first.prepare.remote())
            if alive:
                return dict(settings)
        raise RuntimeError(_DYING)

    def write(self, tasks: Iterable[Task]) -> Iterator[Written]:
        """Hands the parts out; a worker that is not there yet holds up none."""
        left, tries, lost = deque(tasks), Counter[Any](), 0
        busy = dict[Any, tuple[Any, Task | None]]()  # by what is awaited

        def begin(worker: Any) -> None:
            busy[worker.prepare.remote()] = worker, None

        for number in range(min(self._size, len(left))):
            begin(self._hire() if number else self._first)
        self._first = None
        while left or any(task is not None for _, task in busy.values()):
            (awaited,), _ = self._ray.wait(list(busy))
            worker, task = busy.pop(awaited)
            alive, report = self._answer(awaited)
            if alive:
                if task is None:
                    tries[None] = 0
                else:
                    lost = 0
                    yield task, report
                if left:
                    task = left.popleft()
                    busy[worker.write.remote(task)] = worker, task
                continue
            tries[task] += 1
            if tries[task] < _TRIES:
                left.extendleft([task] if task is not None else [])
            elif task is not None and (lost := lost + 1) < _LOST:
                yield task, None
            else:
                raise RuntimeError(_DYING)
            if left:
                begin(self._hire())

    def _answer(self, awaited: Any) -> tuple[bool, Any]:
        """Whether a worker lives, and what it says.

        Raises:
            Exception: what it has raised.
        """
        errors = self._ray.exceptions
        try:
            return True, self._ray.get(awaited)
        except errors.RayTaskError as error:
            raise (error.cause or error) from error
        except errors.RayError:
            return False, None


_DYING = (
    "the workers of Ray die, one after the other, most likely for want of memory; give fewer "
    "--workers or a smaller --batch-size, and see the logs below /tmp/ray/session_latest"
)
