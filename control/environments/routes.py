"""The expert of the planar tasks: it follows a route that it chose by the episode's seed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scorefield.control.environments.environment import Observations
from scorefield.control.environments.planar import Layout

SPEED = 0.025
"""Length of the demonstrated steps."""
DISTURBANCE = 0.004
"""Noise of the positions while demonstrations are collected, so that they also show ways back."""

_JITTER = 0.01  # each gap is passed up to so far from its middle
_HOLD = 0.03  # the middle of a gap is kept so far before and behind its row
_POINTS = 600  # of a path
_AHEAD = 40  # the path is searched for the nearest point so many points on


class RouteExpert:
    """Passes a gap of every row; an `Expert`.

    The episode with seed s takes route s mod the number of routes, so that as many consecutive
    seeds as there are routes, or a multiple, demonstrate all equally often. Where it passes within
    a gap is drawn anew in every row.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def begin(self, seeds: Sequence[int]) -> None:
        """Chooses a path per seed."""
        self._paths = np.stack([self._path(seed) for seed in seeds])  # (n, points, 2)
        self._at = np.zeros(len(seeds), dtype=np.int64)

    def act(self, observations: Observations) -> NDArray[Any]:
        """(n, 2): a point of the path, `SPEED` along it from the nearest one to the position."""
        position = np.asarray(observations["state"], dtype=np.float64)
        last = self._paths.shape[1] - 1
        window = np.minimum(self._at[:, None] + np.arange(_AHEAD), last)  # (n, ahead)
        each = np.arange(len(position))[:, None]
        near = np.linalg.norm(self._paths[each, window] - position[:, None], axis=-1)
        self._at = window[each[:, 0], near.argmin(axis=1)]
        length = np.linalg.norm(np.diff(self._paths, axis=1), axis=-1).mean(axis=1)
        ahead = np.minimum(self._at + np.rint(SPEED / length).astype(np.int64), last)
        target: NDArray[Any] = self._paths[each[:, 0], ahead]
        return target

    def _path(self, seed: int) -> NDArray[np.float64]:
        """(points, 2), evenly spaced and with rounded corners."""
        layout = self.layout
        rng = np.random.default_rng([seed, 1])
        gaps = np.unravel_index(seed % layout.routes, [len(gaps) for gaps in layout.gaps])
        corners = [np.array(layout.start)]
        for (height, _), xs, gap in zip(layout.rows, layout.gaps, gaps, strict=True):
            x = xs[int(gap)] + rng.uniform(-_JITTER, _JITTER)
            corners += [np.array([x, height - _HOLD]), np.array([x, height + _HOLD])]
        # Beyond the goal, so that the line is crossed at full speed.
        corners.append(np.array([corners[-1][0], layout.goal + 0.05]))
        rough = _evenly(np.stack(corners), _POINTS)
        width = round(0.05 / (np.linalg.norm(rough[1] - rough[0]) + 1e-12)) // 2
        padded = np.concatenate([rough[:1].repeat(width, 0), rough, rough[-1:].repeat(width, 0)])
        kernel = np.full(2 * width + 1, 1 / (2 * width + 1))
        smooth = np.stack([np.convolve(padded[:, i], kernel, "valid") for i in (0, 1)], axis=1)
        return _evenly(smooth, _POINTS)


def _evenly(corners: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """(count, 2) points at equal distances along a polyline."""
    along = np.concatenate([[0], np.linalg.norm(np.diff(corners, axis=0), axis=1).cumsum()])
    at = np.linspace(0, along[-1], count)
    return np.stack([np.interp(at, along, corners[:, i]) for i in (0, 1)], axis=1)
