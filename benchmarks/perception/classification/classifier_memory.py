"""Memory of `classify` when two labels tie.

    python benchmarks/perception/classification/classifier_memory.py 100 200 400 1000

One image, errors drawn at random, so that only the bookkeeping is measured: the peak of what
Python and NumPy allocate, and the time of the process without that measurement.
"""

import sys
import time
import tracemalloc
from collections.abc import Sequence

import numpy as np

from scorefield.perception.classification.classify import run_races
from scorefield.perception.classification.error_measure import PARTS
from scorefield.perception.classification.paired_errors import Request
from scorefield.perception.classification.stopping import Race


class RandomErrors:
    """Labels 0 and 1 tie; the others are far behind."""

    def evaluate(self, requests: Sequence[Request]) -> list[np.ndarray]:
        """The errors of each request."""
        return [self._errors(request) for request in requests]

    def _errors(self, request: Request) -> np.ndarray:
        shape = (len(request.prompts), request.stop - request.start, PARTS)
        noise = np.random.default_rng(request.start).normal(size=shape)
        return noise + 5 * (np.array(request.prompts) > 1)[:, None, None]


def race(labels: int) -> None:
    """One image of that many labels."""
    names, groups = [str(label) for label in range(labels)], [[label] for label in range(labels)]
    run_races(RandomErrors(), 1, names, groups, policy=Race(), budget=32 * labels)


def main() -> None:
    """A line for each number of labels."""
    for labels in map(int, sys.argv[1:]):
        start = time.process_time()
        race(labels)
        seconds = time.process_time() - start
        tracemalloc.start()
        race(labels)
        peak = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        print(f"{labels} labels: {peak:.0f} MiB, {1e6 * seconds / (32 * labels):.0f} us/evaluation")


if __name__ == "__main__":
    main()
