"""Collecting: only successes are kept, and an interrupted collection equals one that was not."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from scorefield.control.data.episodes import Episodes
from scorefield.control.environments.collection import collect
from scorefield.control.environments.environment import Observations
from scorefield.control.environments.planar import AVOIDING, TWO_ROUTES, PlanarTask
from scorefield.control.environments.routes import DISTURBANCE, RouteExpert


class Careless(RouteExpert):
    """Goes straight, into the disc, for seeds that are multiples of 3."""

    def begin(self, seeds: Sequence[int]) -> None:
        super().begin(seeds)
        self.straight = np.array([seed % 3 == 0 for seed in seeds])

    def act(self, observations: Observations) -> NDArray[Any]:
        position = np.asarray(observations["state"], dtype=np.float64)
        return np.where(
            self.straight[:, None], position + np.array([0.0, 0.025]), super().act(observations)
        )


def test_failures_are_left_out_and_the_next_seeds_taken(tmp_path: Path) -> None:
    folder = collect(PlanarTask(TWO_ROUTES), Careless(TWO_ROUTES), tmp_path / "a", 5, batch=4)
    assert Episodes.open(folder).keys == [1, 2, 4, 5, 7]


def test_an_expert_that_fails_is_given_up(tmp_path: Path) -> None:
    class Hopeless(Careless):
        def begin(self, seeds: Sequence[int]) -> None:
            super().begin(seeds)
            self.straight[:] = True

    with pytest.raises(RuntimeError, match="two-routes succeeded in 0 of 40 episodes"):
        collect(PlanarTask(TWO_ROUTES), Hopeless(TWO_ROUTES), tmp_path / "a", 5, batch=4)


@pytest.mark.parametrize("batch", [3, 10])
def test_an_interrupted_collection_equals_one_that_was_not(batch: int, tmp_path: Path) -> None:
    def gather(name: str, episodes: int) -> Episodes:
        task, expert = PlanarTask(AVOIDING, noise=DISTURBANCE), RouteExpert(AVOIDING)
        return Episodes.open(collect(task, expert, tmp_path / name, episodes, batch=batch))

    whole = gather("whole", 7)
    gather("parts", 4)
    parts = gather("parts", 7)
    assert parts.keys == whole.keys == list(range(7))
    assert np.array_equal(parts.state, whole.state) and np.array_equal(parts.action, whole.action)
    assert len(gather("parts", 2)) == 7  # nothing to do


def test_what_was_done_is_recorded_within_the_bounds(tmp_path: Path) -> None:
    task = PlanarTask(AVOIDING, noise=0.0)
    episodes = Episodes.open(collect(task, RouteExpert(AVOIDING), tmp_path / "a", 2))
    assert (episodes.action <= np.float32(AVOIDING.high)).all()
    # The first step may be too far from the path to be reached at once; then all are.
    first = episodes[0]
    assert np.abs(first.state[2:] - first.action[1:-1]).max() < 1e-6


def test_numbers_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        collect(PlanarTask(AVOIDING), RouteExpert(AVOIDING), tmp_path / "a", 0)
    collect(PlanarTask(AVOIDING), RouteExpert(AVOIDING), tmp_path / "a", 1)
    with pytest.raises(ValueError, match="was collected with"):
        collect(PlanarTask(AVOIDING), RouteExpert(AVOIDING), tmp_path / "a", 2, seed=5)
