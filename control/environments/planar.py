"""Planar tasks with several ways to the goal: a point is steered past discs, in NumPy alone.

The geometry, the noise and the number of steps are frozen here: they were chosen before any two
methods were compared on them, and published figures refer to them as they are.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scorefield.control.data.spaces import PolicySpaces
from scorefield.control.environments.environment import Observations, Step

_RATE = 10.0  # Hz: what a step stands for


@dataclass(frozen=True)
class Layout:
    """A planar world: discs in rows, to be passed from below on the way to a goal line.

    name: of the task.
    rows: for every row its height y and the x of its discs, from left to right.
    radius: of the discs.
    start: (x, y) about which episodes begin.
    spread: they begin up to so far from it, in x and in y, uniformly.
    goal: height y to be reached.
    low, high: corners (x, y) of the arena; also the bounds of the actions.
    gaps: for every row the x at which a demonstration passes, from left to right.
    max_steps: an episode ends after so many.
    """

    name: str
    rows: tuple[tuple[float, tuple[float, ...]], ...]
    radius: float
    start: tuple[float, float]
    spread: float
    goal: float
    low: tuple[float, float]
    high: tuple[float, float]
    gaps: tuple[tuple[float, ...], ...]
    max_steps: int
    max_step: float = 0.03
    """The point moves towards its target by at most this per step."""
    noise: float = 0.001
    """Standard deviation of what is added to the position in every step, per coordinate."""

    @property
    def discs(self) -> NDArray[np.float64]:
        """(discs, 2): the centres."""
        return np.array([(x, y) for y, row in self.rows for x in row])

    @property
    def routes(self) -> int:
        """The number of ways to choose a gap in every row."""
        return math.prod(len(gaps) for gaps in self.gaps)


TWO_ROUTES = Layout(
    name="two-routes",
    rows=((0.0, (0.0,)),),
    radius=0.1,
    start=(0.0, -0.25),
    spread=0.01,
    goal=0.25,
    low=(-0.3, -0.3),
    high=(0.3, 0.3),
    gaps=((-0.13, 0.13),),
    max_steps=60,
)
"""One disc on the way; a fair coin, independent of what is observed, sends a demonstration left or
right of it.

A unimodal policy fails, whatever its network. With Ta = 8 steps of 0.025 per chunk:

- Squared error. Its minimiser is the mean chunk given the observation, E[a | o]. The first
  observation does not tell left from right and the two routes are mirror images, so the mean of
  their x is that of the start, |x| <= 0.01 and the demonstrations' own jitter, while in y they have
  come from -0.25 to about -0.08: inside the disc, whose edge is at -0.1. The first chunk hits it.
- Gaussian. A Gaussian N(E[a|o], S) fitted by maximum likelihood has the same mean, and in x, at the
  height of the disc, the variance of the two routes, about d^2 with d = 0.13. A trajectory drawn
  from it is within the disc's radius r = 0.1 there with probability erf(r / (d sqrt 2)) = 0.56, so
  it succeeds in at most 0.44 of all episodes.

Both are tested on the demonstrations (`tests/control/test_planar.py`).
"""

AVOIDING = Layout(
    name="avoiding",
    rows=((-0.1, (0.5,)), (0.08, (0.425, 0.575)), (0.26, (0.35, 0.5, 0.65))),
    radius=0.02,
    start=(0.5, -0.28),
    spread=0.01,
    goal=0.35,
    low=(0.2, -0.32),
    high=(0.8, 0.4),
    gaps=((0.44, 0.56), (0.365, 0.5, 0.635), (0.29, 0.425, 0.575, 0.71)),
    max_steps=100,
)
"""Six discs in three rows, 2 x 3 x 4 = 24 routes.

The coordinates are those of D3IL's Avoiding task (Jia et al. 2024); its discs are larger (0.03 and
0.025, and the robot's rod), so figures are not comparable with that paper's.
"""


class PlanarTask:
    """n points, each on its way through a layout; an `Environment`.

    The state is the position (x, y); the action is the position to move to. An episode succeeds at
    the goal line and fails when the point touches a disc on its way. Its mode is its route: the gap
    taken in every row, as one number, the last row counting fastest.
    """

    def __init__(self, layout: Layout, noise: float | None = None) -> None:
        """Sets up the task.

        Args:
            layout: the world.
            noise: another standard deviation of the noise; demonstrations are collected with more.
        """
        self.layout = layout if noise is None else replace(layout, noise=noise)
        self.name = layout.name
        self.max_steps = layout.max_steps
        self.modes = layout.routes
        self.spaces = PolicySpaces(
            state=2,
            images={},
            action=2,
            low=layout.low,
            high=layout.high,
            rate=_RATE,
        )

    def reset(self, seeds: Sequence[int]) -> Observations:
        """Begins one episode per seed."""
        layout, n = self.layout, len(seeds)
        draws = [np.random.default_rng([seed, 0]) for seed in seeds]
        spread = [rng.uniform(-layout.spread, layout.spread, 2) for rng in draws]
        noise = [rng.normal(0, layout.noise, (layout.max_steps, 2)) for rng in draws]
        self.position = np.array(layout.start) + np.array(spread)  # (n, 2)
        self._noise = np.array(noise)  # (n, max_steps, 2), so that no episode depends on another
        self._done = 0
        self.success = np.zeros(n, dtype=bool)
        self.ended = np.zeros(n, dtype=bool)
        self._gaps = np.full((n, len(layout.rows)), -1)
        return self._observations()

    def step(self, actions: NDArray[Any]) -> Step:
        """One step of all points.

        Args:
            actions: (n, 2) positions to move to, brought into the arena.
        """
        layout, before = self.layout, self.position
        target = np.clip(np.asarray(actions, dtype=np.float64), layout.low, layout.high)
        way = target - before
        length = np.linalg.norm(way, axis=1, keepdims=True)
        way = way * np.minimum(1, layout.max_step / np.maximum(length, 1e-12))
        after = np.clip(before + way + self._noise[:, self._done], layout.low, layout.high)
        after = np.where(self.ended[:, None], before, after)
        for row, (height, discs) in enumerate(layout.rows):
            crossing = (before[:, 1] < height) & (after[:, 1] >= height)
            rise = np.where(crossing, after[:, 1] - before[:, 1], 1)
            x = before[:, 0] + (after - before)[:, 0] * (height - before[:, 1]) / rise
            gap = (x[:, None] > np.array(discs)).sum(axis=1)
            self._gaps[:, row] = np.where(crossing, gap, self._gaps[:, row])
        hit = _touches(before, after, layout.discs, layout.radius) & ~self.ended
        arrived = (after[:, 1] >= layout.goal) & ~hit & ~self.ended
        self.position = after
        self._done += 1
        self.success = self.success | arrived
        over = self.ended | arrived | hit
        self.timed_out = ~over & (self._done >= layout.max_steps)
        self.ended = over | self.timed_out
        return Step(
            self._observations(), arrived.astype(np.float64), self.success.copy(), self.ended.copy()
        )

    def mode(self) -> NDArray[np.int64]:
        """(n,): the route of each; -1 while a row is before it."""
        shape = [len(gaps) for gaps in self.layout.gaps]
        whole: NDArray[np.bool_] = np.all(self._gaps >= 0, axis=1)
        route = np.ravel_multi_index(np.where(whole[:, None], self._gaps, 0).T, shape)
        return np.where(whole, route, -1).astype(np.int64)

    def frames(self) -> NDArray[np.uint8]:
        """(n, 96, 96, 3): discs grey, the goal line green, the point blue.

        Edges are soft, so that a policy that looks can tell places within a pixel.
        """
        layout, size = self.layout, 96
        low, high = np.array(layout.low), np.array(layout.high)
        pixel = (high[1] - low[1]) / size
        x = low[0] + (np.arange(size) + 0.5) / size * (high[0] - low[0])
        y = high[1] - (np.arange(size) + 0.5) / size * (high[1] - low[1])
        grid = np.stack(np.meshgrid(x, y), axis=-1)  # (H, W, 2)

        def painted(frame: NDArray[Any], away: NDArray[Any], color: list[int]) -> NDArray[Any]:
            """The frame with a colour where `away`, a distance outside of a shape, is below 0."""
            cover = np.clip(0.5 - away / pixel, 0, 1)[..., None]
            return frame + cover * (np.array(color) - frame)

        ground = np.full((size, size, 3), 255.0)
        ground = painted(ground, np.abs(grid[..., 1] - layout.goal) - pixel, [60, 160, 60])
        for disc in layout.discs:
            away = np.linalg.norm(grid - disc, axis=-1) - layout.radius
            ground = painted(ground, away, [130, 130, 130])
        frames = [
            painted(ground, np.linalg.norm(grid - place, axis=-1) - 3 * pixel, [40, 80, 200])
            for place in self.position
        ]
        return np.stack(frames).round().astype(np.uint8)

    def _observations(self) -> Observations:
        return {"state": self.position.astype(np.float32)}


def _touches(
    before: NDArray[Any], after: NDArray[Any], discs: NDArray[Any], radius: float
) -> NDArray[np.bool_]:
    """(n,): whether the way from before to after comes within the radius of a disc."""
    way = (after - before)[:, None]  # (n, 1, 2)
    to_disc = discs[None] - before[:, None]  # (n, discs, 2)
    share = (to_disc * way).sum(-1) / np.maximum((way * way).sum(-1), 1e-12)
    nearest = to_disc - np.clip(share, 0, 1)[..., None] * way
    touched: NDArray[np.bool_] = (np.linalg.norm(nearest, axis=-1) < radius).any(axis=1)
    return touched
