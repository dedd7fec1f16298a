"""A fleet that takes its time over the mean of each image: to be killed in the middle.

    python tests/support/slow_fleet.py IMAGES OUT local|ray [PARTS]

With PARTS, such as 0,2, the actor that was begun last is killed after so many parts.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from scorefield.perception.fleet import engines
from scorefield.perception.fleet.engines import Task, Written
from scorefield.perception.fleet.job import go_through
from scorefield.perception.fleet.parts import parts_of
from scorefield.perception.fleet.work import ImageWork

SECONDS = 0.2
"""For each image."""


def work() -> ImageWork:
    def judge(images: torch.Tensor, items: list[int]) -> list[dict[str, Any]]:
        time.sleep(SECONDS * len(items))
        return [{"mean": float(image.mean())} for image in images]

    return ImageWork(judge, {"mean": float}, {}, torch.device("cpu"), size=8)


def fleet(images: Path, out: Path, engine: str) -> None:
    """Go through the images, three in a file, and say what is missing."""
    made = (
        engines.ray_engine(work, 1, workers=2) if engine == "ray" else engines.local_engine(work, 1)
    )
    with made as begun:
        begun.prepare()
        print(go_through(begun, parts_of("imagefolder", images, "", 3), out, {}).problem())


class Murdered(engines._Crew):
    """A crew whose youngest actor is ended for good, after some parts."""

    after: tuple[int, ...] = ()

    def __init__(self, ray: Any, hire: Callable[[], Any], size: int) -> None:
        self.kill, self.hired = ray.kill, list[Any]()
        super().__init__(ray, lambda: self.hired.append(hire()) or self.hired[-1], size)

    def write(self, tasks: Sequence[Task]) -> Iterator[Written]:
        for number, written in enumerate(super().write(tasks)):
            if number in self.after:
                self.kill(self.hired[-1])
            yield written
        print(len(self.hired), "actors")


if __name__ == "__main__":
    if len(sys.argv) > 4:
        Murdered.after = tuple(map(int, sys.argv[4].split(",")))
        engines._Crew = Murdered  # type: ignore[misc]
    fleet(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
