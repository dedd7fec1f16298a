"""The expert of Push-T: what it takes the T to do, what it does, and what that depends on."""

import math
import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gym_pusht")
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")

from scorefield.control.data.episodes import Episodes
from scorefield.control.environments.collection import collect, demonstrate
from scorefield.control.environments.environment import Expert
from scorefield.control.environments.push_t_expert import GOAL, PushTExpert, _Routes, _Table
from scorefield.control.environments.simulators import push_t

SEEDS = range(5_100_000, 5_100_003)


def test_the_pose_is_read_off_the_corners_that_are_seen() -> None:
    environment = push_t()
    corners = environment.reset([3])["state"][0, 2:].reshape(8, 2).astype(np.float64)
    block = environment._copies[0].unwrapped.block  # type: ignore[attr-defined]
    x, y, angle = _Table().pose(corners)
    # The corners are float32: 3e-5 of 512 pixels.
    assert (x, y) == pytest.approx(tuple(block.position), abs=1e-4)
    assert math.remainder(angle - block.angle, 2 * math.pi) == pytest.approx(0, abs=1e-5)
    goal = np.array(GOAL)
    assert _Table().distance(goal) == pytest.approx(0, abs=1e-9)
    assert _Table().distance(goal + np.array([3.0, 4.0, 0.0])) == pytest.approx(5)


def test_a_way_goes_around_the_t() -> None:
    import shapely

    block = shapely.box(200, 200, 300, 300)
    agent, start = np.array([150.0, 250.0]), np.array([[350.0, 250.0], [150.0, 100.0]])
    routes = _Routes(agent, start, block)
    around = routes.corners(0)
    # Along two corners of the box 27 wider: to (173, 173 or 327), over, and down.
    legs = 2 * math.hypot(23, 77) + 154
    assert routes.lengths == pytest.approx([legs, 150.0]) and len(around) == 4
    assert shapely.LineString(around).distance(block) == pytest.approx(27, abs=0.5)
    assert routes.corners(1).tolist() == [agent.tolist(), start[1].tolist()]


def test_it_pushes_the_t_onto_its_place_and_depends_on_the_seed_alone() -> None:
    environment, expert = push_t(), PushTExpert()
    assert isinstance(expert, Expert)
    together = demonstrate(environment, expert, SEEDS)
    assert len(together) == len(SEEDS)  # those that failed would be left out
    (alone,) = demonstrate(environment, expert, SEEDS[1:2])
    assert np.array_equal(alone.action, together[1].action)
    low, high = environment.spaces.low, environment.spaces.high
    assert ((alone.action >= low) & (alone.action <= high)).all()


def test_it_comes_from_either_side() -> None:
    """From one state the coin alone sends it left or right of the T."""
    environment = push_t()
    seen = environment.reset([5_000_011])
    state = seen["state"]
    agent, block = state[0, :2], state[0, 2:].reshape(8, 2).mean(axis=0)
    sides = set()
    for seed in range(6):
        expert = PushTExpert()
        expert.begin([seed])
        way = np.stack([expert.act(seen)[0] for _ in range(12)])
        across = [(block - agent)[0] * y - (block - agent)[1] * x for x, y in way - agent]
        sides.add(np.sign(across[int(np.abs(across).argmax())]))
    assert sides == {-1.0, 1.0}


def test_a_collection_that_was_stopped_goes_on_with_the_same_episodes(tmp_path: Path) -> None:
    environment, first = push_t(), SEEDS[0]
    collect(environment, PushTExpert(), tmp_path, 1, seed=first, batch=1)
    collect(environment, PushTExpert(), tmp_path, 2, seed=first, batch=1)
    again = demonstrate(environment, PushTExpert(), SEEDS[1:2])[0]
    assert np.array_equal(Episodes.open(tmp_path)[1].action, again.action.astype(np.float32))


@pytest.mark.slow
def test_it_succeeds_on_fresh_seeds() -> None:
    # 20 of 20, where 200 of 200 were found on the seeds from 0: a rate of 0.95 would fail this
    # in 2 of 3 runs.
    environment, seeds = push_t(), range(5_200_000, 5_200_020)
    assert len(demonstrate(environment, PushTExpert(), seeds)) == len(seeds)
