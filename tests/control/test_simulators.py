"""Environments of gymnasium: seeds, bounds, experts, and one of our own checked by gymnasium."""

import os
from typing import Any

import gymnasium
import numpy as np
import pytest

from scorefield.control.environments.collection import demonstrate
from scorefield.control.environments.environment import Environment, Expert
from scorefield.control.environments.planar import AVOIDING, PlanarTask
from scorefield.control.environments.simulators import (
    GymnasiumEnvironment,
    MetaWorldExpert,
    PlanarEnv,
    meta_world,
    push_t,
)

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")


class Counter(gymnasium.Env[Any, Any]):
    """Observes its seed and how often it was stepped; succeeds after as many steps as its seed."""

    metadata = {"render_fps": 5}  # noqa: RUF012

    def __init__(self, box: Any = None, axes: int = 1) -> None:
        self.action_space = box or gymnasium.spaces.Box(-1, 1, (2,), np.float32)
        self.observation_space = gymnasium.spaces.Box(-1e3, 1e3, (2,) * axes)
        self.axes = axes

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.seed, self.steps = seed or 0, 0
        return self.seen(), {}

    def seen(self) -> np.ndarray:
        both = np.array([self.seed, self.steps], dtype=np.float64)
        return both if self.axes == 1 else np.stack([both, both])

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action)
        self.steps += 1
        assert self.steps <= max(self.seed, 1), "stepped after its end"
        return self.seen(), float(action.sum()), False, False, {"success": self.steps == self.seed}


def test_any_environment_is_adapted() -> None:
    environment = GymnasiumEnvironment(Counter, name="counter", max_steps=4)
    assert isinstance(environment, Environment)
    spaces = environment.spaces
    assert (spaces.state, spaces.action, spaces.rate) == (2, 2, 5.0)
    assert tuple(spaces.low) == (-1.0, -1.0) and tuple(spaces.high) == (1.0, 1.0)
    assert environment.reset([2, 3, 9])["state"].tolist() == [[2, 0], [3, 0], [9, 0]]
    actions = np.array([[0.5, 0.25], [9.0, 0.0], [0.0, -9.0]])  # the last two beyond the bounds
    rewards = np.stack([environment.step(actions).reward for _ in range(2)])
    assert rewards[0].tolist() == [0.75, 1.0, -1.0]
    step = environment.step(actions)
    assert step.reward.tolist() == [0.0, 1.0, -1.0]  # the first has ended
    step = environment.step(actions)
    assert step.success.tolist() == [True, True, False] and step.ended.all()
    assert step.observations["state"].tolist() == [[2, 2], [3, 3], [9, 4]]
    assert environment.mode().tolist() == [-1, -1, -1]


def test_images_of_floats_and_whole_actions() -> None:
    whole = gymnasium.spaces.Box(0, 10, (2,), np.int64)

    def looking(level: Any) -> GymnasiumEnvironment:
        return GymnasiumEnvironment(
            lambda: Counter(whole),
            name="counter",
            max_steps=4,
            observe=lambda seen: {"state": seen, "top": np.full((8, 8, 3), level)},
        )

    environment = looking(np.float32(0.5))
    assert environment.reset([9])["top"].dtype == np.uint8
    assert (environment.reset([9])["top"] == 128).all()
    assert environment.step(np.array([[9.9, 0.4]])).reward == 10.0
    assert (looking(np.uint8(7)).reset([9])["top"] == 7).all()
    for level in (200.0, np.int64(3), -0.1, float("nan")):
        with pytest.raises(ValueError, match=r"counter: images of top are .*floats in"):
            looking(level).reset([9])


def test_an_environment_need_not_say_its_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counter, "metadata", {"render_modes": []})
    assert GymnasiumEnvironment(Counter, name="counter", max_steps=4).spaces.rate is None
    assert GymnasiumEnvironment(Counter, name="c", max_steps=4, rate=20.0).spaces.rate == 20.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Counter(gymnasium.spaces.Discrete(3)), r"actions are Discrete\(3\)"),
        (lambda: Counter(gymnasium.spaces.Box(-np.inf, np.inf, (2,))), "needs a bounded Box"),
        (lambda: Counter(axes=2), r"observations are of shape \(2, 2\)"),
    ],
)
def test_other_spaces_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GymnasiumEnvironment(make, name="odd", max_steps=4)


# Bounds that are positions are not symmetric; a copy made by hand has no spec.
@pytest.mark.filterwarnings("ignore:.*(Box action spaces|spec):UserWarning")
def test_our_own_passes_the_checker_of_gymnasium() -> None:
    from gymnasium.utils.env_checker import check_env

    check_env(PlanarEnv(PlanarTask(AVOIDING)), skip_render_check=True)
    env = PlanarEnv(PlanarTask(AVOIDING))
    seen, _ = env.reset(seed=3)
    assert np.array_equal(seen, PlanarTask(AVOIDING).reset([3])["state"][0])
    for _ in range(AVOIDING.max_steps):
        _, _, terminated, truncated, info = env.step(seen)
    assert truncated and not terminated and not info["is_success"]
    env.reset(seed=3)
    for _ in range(20):
        _, _, terminated, truncated, _ = env.step(np.array([0.5, 0.4], dtype=np.float32))
        if terminated:
            break
    assert terminated and not truncated  # into the first disc


def test_meta_world_depends_on_the_seed_alone() -> None:
    pytest.importorskip("metaworld")
    environment, expert = meta_world("reach-v3"), MetaWorldExpert("reach-v3")
    assert isinstance(expert, Expert)
    first = environment.reset([5, 6])["state"]
    environment.step(np.ones((2, 4)))
    assert np.array_equal(environment.reset([6, 5])["state"], first[::-1])
    assert not np.array_equal(first[0, 36:], first[1, 36:])  # the goals
    assert len(demonstrate(environment, expert, [5, 6])) == 2
    with pytest.raises(ValueError, match=r"no task 'fly-v3'; it has .*push-v3"):
        meta_world("fly-v3")


def test_push_t_says_coverage_and_success_apart() -> None:
    pytest.importorskip("gym_pusht")
    environment = push_t()
    assert (environment.spaces.state, environment.spaces.action) == (18, 2)
    seen = environment.reset([1, 2, 1])["state"]
    assert np.array_equal(seen[0], seen[2]) and not np.array_equal(seen[0], seen[1])
    step = environment.step(seen[:, :2])  # stay
    assert not step.success.any() and (step.reward < 1).all()
