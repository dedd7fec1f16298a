"""Small control tasks with experts, of numpy alone; no setting of a policy was chosen on them.

Each is an `Environment` and, for the same object, an `Expert`. An episode succeeds when its goal
is reached and fails when its steps are over.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scorefield.control.data.spaces import PolicySpaces
from scorefield.control.environments.environment import Observations, Step

Array = NDArray[np.float64]


class SmallTask(ABC):
    """n episodes of a system with states x (n, S) and actions (n, A)."""

    name: str
    spaces: PolicySpaces
    max_steps: int
    modes = 0

    @abstractmethod
    def start(self, rng: np.random.Generator) -> Array:
        """(S,): a first state."""

    @abstractmethod
    def after(self, x: Array, action: Array) -> Array:
        """(n, S): the states one step later."""

    @abstractmethod
    def seen(self, x: Array) -> Array:
        """(n, D): what of the states is observed."""

    @abstractmethod
    def arrived(self, x: Array) -> NDArray[np.bool_]:
        """(n,): whether the goal is reached."""

    @abstractmethod
    def expert(self, x: Array) -> Array:
        """(n, A): what the expert does."""

    def reset(self, seeds: Sequence[int]) -> Observations:
        """Begins one episode per seed."""
        self.x = np.stack([self.start(np.random.default_rng([seed, 0])) for seed in seeds])
        self._done = 0
        self.success = np.zeros(len(seeds), dtype=bool)
        self.ended = np.zeros(len(seeds), dtype=bool)
        return self._observations()

    def step(self, actions: NDArray[Any]) -> Step:
        """One step of all."""
        actions = np.clip(np.asarray(actions, np.float64), self.spaces.low, self.spaces.high)
        self.x = np.where(self.ended[:, None], self.x, self.after(self.x, actions))
        self._done += 1
        arrived = self.arrived(self.x) & ~self.ended
        self.success = self.success | arrived
        self.ended = self.ended | arrived | (self._done >= self.max_steps)
        return Step(
            self._observations(), arrived.astype(np.float64), self.success.copy(), self.ended.copy()
        )

    def mode(self) -> NDArray[np.int64]:
        """No ways are told apart."""
        return np.full(len(self.x), -1)

    def frames(self) -> NDArray[np.uint8]:
        """There are no images."""
        raise NotImplementedError

    def begin(self, seeds: Sequence[int]) -> None:
        """Nothing of the expert is random."""
        return None

    def act(self, observations: Observations) -> Array:
        """What the expert does now; it knows the whole state."""
        return self.expert(self.x)

    def _observations(self) -> Observations:
        return {"state": self.seen(self.x).astype(np.float32)}


def _tip(q: Array) -> Array:
    """(n, 2): the end of an arm of two links of length 1."""
    a, b = q[:, 0], q[:, 0] + q[:, 1]
    return np.stack([np.cos(a) + np.cos(b), np.sin(a) + np.sin(b)], axis=1)


def _jacobian(q: Array) -> Array:
    a, b = q[:, 0], q[:, 0] + q[:, 1]
    rows = [[-np.sin(a) - np.sin(b), -np.sin(b)], [np.cos(a) + np.cos(b), np.cos(b)]]
    return np.moveaxis(np.array(rows), 2, 0)  # (n, 2, 2)


def _towards(q: Array, target: Array) -> Array:
    """(n, 2): the joints' way to the target, by damped least squares."""
    j = _jacobian(q)
    gram = j @ j.transpose(0, 2, 1) + 0.05 * np.eye(2)
    solved = np.linalg.solve(gram, (target - _tip(q))[..., None])
    return np.asarray((j.transpose(0, 2, 1) @ solved)[..., 0])


def _arm_start(rng: np.random.Generator) -> Array:
    goal = rng.uniform([-1.2, 0.4], [1.2, 2.2])
    return np.concatenate([rng.uniform([-1.0, 0.5], [1.0, 2.0]), _tip(goal[None])[0]])


class Arm(SmallTask):
    """A planar arm of two joints goes to a point, by joint velocities; sees joints and point."""

    name, max_steps = "arm", 60
    spaces = PolicySpaces(4, 2, (-1.0, -1.0), (1.0, 1.0), rate=20.0)

    def start(self, rng: np.random.Generator) -> Array:
        return _arm_start(rng)

    def after(self, x: Array, action: Array) -> Array:
        return np.concatenate([x[:, :2] + 0.1 * action, x[:, 2:]], axis=1)

    def seen(self, x: Array) -> Array:
        return x

    def arrived(self, x: Array) -> NDArray[np.bool_]:
        return np.asarray(np.linalg.norm(_tip(x[:, :2]) - x[:, 2:], axis=1) < 0.05)

    def expert(self, x: Array) -> Array:
        return np.clip(3 * _towards(x[:, :2], x[:, 2:]), -1, 1)


class Reacher(SmallTask):
    """The same arm by joint accelerations; sees what gymnasium's Reacher shows, ten numbers."""

    name, max_steps = "reacher", 80
    spaces = PolicySpaces(10, 2, (-1.0, -1.0), (1.0, 1.0), rate=20.0)

    def start(self, rng: np.random.Generator) -> Array:
        return np.concatenate([_arm_start(rng), rng.uniform(-0.1, 0.1, 2)])

    def after(self, x: Array, action: Array) -> Array:
        speed = 0.98 * x[:, 4:] + 0.15 * action
        return np.concatenate([x[:, :2] + 0.1 * speed, x[:, 2:4], speed], axis=1)

    def seen(self, x: Array) -> Array:
        q, target = x[:, :2], x[:, 2:4]
        return np.concatenate([np.cos(q), np.sin(q), target, x[:, 4:], _tip(q) - target], axis=1)

    def arrived(self, x: Array) -> NDArray[np.bool_]:
        near = np.linalg.norm(_tip(x[:, :2]) - x[:, 2:4], axis=1) < 0.05
        return near & (np.linalg.norm(x[:, 4:], axis=1) < 0.2)

    def expert(self, x: Array) -> Array:
        wanted = np.clip(2 * _towards(x[:, :2], x[:, 2:4]), -1, 1)
        return np.clip((wanted - x[:, 4:]) / 0.3, -1, 1)


class Pendulum(SmallTask):
    """A pendulum is swung up and caught: the expert pumps energy, then holds; it switches."""

    name, max_steps = "pendulum", 200
    spaces = PolicySpaces(3, 1, (-2.0,), (2.0,), rate=20.0)

    def start(self, rng: np.random.Generator) -> Array:
        return np.array([np.pi + rng.uniform(-1, 1), rng.uniform(-1, 1), 0.0])

    def after(self, x: Array, action: Array) -> Array:
        speed = np.clip(x[:, 1] + 0.05 * (15 * np.sin(x[:, 0]) + 3 * action[:, 0]), -8, 8)
        angle = x[:, 0] + 0.05 * speed
        up = (np.cos(angle) > 0.99) & (np.abs(speed) < 0.5)
        return np.stack([angle, speed, np.where(up, x[:, 2] + 1, 0)], axis=1)

    def seen(self, x: Array) -> Array:
        return np.stack([np.cos(x[:, 0]), np.sin(x[:, 0]), x[:, 1]], axis=1)

    def arrived(self, x: Array) -> NDArray[np.bool_]:
        return x[:, 2] >= 10

    def expert(self, x: Array) -> Array:
        angle = (x[:, 0] + np.pi) % (2 * np.pi) - np.pi
        energy = x[:, 1] ** 2 / 2 + 15 * (np.cos(angle) - 1)
        pump = np.where(energy < 0, 2.0, -2.0) * np.where(x[:, 1] >= 0, 1, -1)
        hold = -(12 * angle + 3 * x[:, 1])
        return np.clip(np.where(np.abs(angle) < 0.35, hold, pump), -2, 2)[:, None]


class Docking(SmallTask):
    """A body in space comes to rest at a point, by accelerations; nine numbers, all smooth."""

    name, max_steps = "docking", 80
    spaces = PolicySpaces(9, 3, (-1.0,) * 3, (1.0,) * 3, rate=10.0)

    def start(self, rng: np.random.Generator) -> Array:
        place, speed, goal = rng.uniform(-1, 1, 3), rng.uniform(-0.3, 0.3, 3), rng.uniform(-1, 1, 3)
        return np.concatenate([place, speed, goal])

    def after(self, x: Array, action: Array) -> Array:
        speed = x[:, 3:6] + 0.1 * action
        return np.concatenate([x[:, :3] + 0.1 * speed, speed, x[:, 6:]], axis=1)

    def seen(self, x: Array) -> Array:
        return x

    def arrived(self, x: Array) -> NDArray[np.bool_]:
        near = np.linalg.norm(x[:, :3] - x[:, 6:], axis=1) < 0.1
        return near & (np.linalg.norm(x[:, 3:6], axis=1) < 0.15)

    def expert(self, x: Array) -> Array:
        return np.clip(1.5 * (x[:, 6:] - x[:, :3]) - 2 * x[:, 3:6], -1, 1)


SMALL_TASKS: dict[str, type[SmallTask]] = {
    kind.name: kind for kind in (Arm, Reacher, Pendulum, Docking)
}
"""By their names."""
