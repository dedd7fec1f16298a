"""The expert of Push-T: it plans one push at a time, by trying many of them in a simulator.

In gym-pusht nothing slides on, so what the T does depends on where it is pushed and along which
line, and not on how fast: a push is a start, a direction and a length. Pushes all around the T are
tried in a space of pymunk of the expert's own; the one after which the T lies best is done, and the
next one is planned from where the T then lies.

Needs `pip install 'scorefield[control]'`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pymunk
import shapely
from gym_pusht.envs.pusht import PushTEnv
from numpy.typing import NDArray
from scipy.sparse.csgraph import shortest_path

from scorefield.control.environments.environment import Observations

Points = NDArray[np.float64]
"""(..., 2), in pixels."""

GOAL = (256.0, 256.0, math.pi / 4)
"""Where the T belongs: x, y and angle."""

_AGENT = 15.0  # radius of the agent
_CLEAR = 12.0  # kept between agent and T on the way to a push
_BEFORE = 6.0  # kept between them where a push begins
_MARGIN, _SIZE = 25.0, 511.0  # the agent stays so far from the borders, 0 and 511
_SPACING = 10.0  # of the points of the outline that are tried
_TURNS = (-0.5, -0.25, 0.0, 0.25, 0.5)  # radians between a push and the normal, all tried
_FREE_SPEED = 18.0  # per step, on the way to a push
_SETTLE = 2  # steps that the target rests at the end of a push: the agent lags behind it
_LEAST_GAIN = 0.1  # a push that gains less is done only where none gains more
_PENALTY = 1000.0  # more than any distance
_TICK = 0.01  # seconds between two states of the simulator


@dataclass(frozen=True)
class _Manner:
    """How the T is pushed.

    beyond: mean distance of its corners from their places from which on it is pushed so.
    speed: of the target, per step.
    pace: of the trials, per tick.
    longest: how far it is pushed at most.
    step_cost: the distance that a step must gain.
    """

    beyond: float
    speed: float
    pace: float
    longest: float
    step_cost: float


_MANNERS = (
    _Manner(beyond=25.0, speed=10.0, pace=2.0, longest=120.0, step_cost=0.15),
    _Manner(beyond=6.0, speed=5.0, pace=1.0, longest=40.0, step_cost=0.1),
    _Manner(beyond=0.0, speed=2.5, pace=0.5, longest=25.0, step_cost=0.02),
)


class PushTExpert:
    """Pushes the T onto its place; an `Expert`.

    It sees what policies see, the agent and the corners of the T. A fair coin says whether the
    first push is to the left or to the right of the line from the agent to the T, where there is a
    push that helps; coin and points that are tried are drawn by the episode's seed.
    """

    def begin(self, seeds: Sequence[int]) -> None:
        """A planner of its own for every episode."""
        self._planners = [_Planner(seed) for seed in seeds]

    def act(self, observations: Observations) -> NDArray[Any]:
        """(n, 2): the positions to move to."""
        rows = observations["state"].astype(np.float64)
        return np.stack([one.act(row) for one, row in zip(self._planners, rows, strict=True)])


class _Planner:
    """Of one episode; what it simulates depends on nothing that another one did."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng([seed, 2])
        self._side = self._rng.choice([-1.0, 1.0])
        self._first = True
        self._table = _Table()
        self._targets: list[Points] = []

    def act(self, state: NDArray[np.float64]) -> Points:
        """The next target of the plan, or the first of a new plan."""
        if not self._targets:
            self._targets = list(self._plan(state[:2], state[2:].reshape(8, 2)))
        return self._targets.pop(0)

    def _plan(self, agent: Points, corners: Points) -> Points:
        """(steps, 2): the targets of a way to a push, and of the push."""
        pose = self._table.pose(corners)
        now = self._table.distance(pose)
        manner = next(one for one in _MANNERS if now >= one.beyond)
        outline = shapely.Polygon(corners[_AROUND])
        starts, ways = _pushes(outline, self._rng.uniform(0, _SPACING))
        cost, lengths = self._table.tried(pose, starts, ways, manner)
        cost = np.where(cost < now - _LEAST_GAIN, cost, cost + _PENALTY)
        routes = _Routes(agent, starts, outline)
        cost = cost + manner.step_cost * routes.lengths / _FREE_SPEED
        if self._first:
            self._first = False
            (x, y), (to_x, to_y) = (
                np.subtract(outline.centroid.coords[0], agent),
                (starts - agent).T,
            )
            sided = np.where(np.sign(x * to_y - y * to_x) == self._side, cost, np.inf)
            cost = sided if sided.min() < now else cost
        best = int(cost.argmin())
        if not math.isfinite(cost[best]):  # shut in between T and border: to the middle
            return _along(np.stack([agent, np.full(2, _SIZE / 2)]), _FREE_SPEED)[:3]
        end = starts[best] + lengths[best] * ways[best]
        push = _along(np.stack([starts[best], end]), manner.speed)
        return np.concatenate(
            [_along(routes.corners(best), _FREE_SPEED), push, push[-1:].repeat(_SETTLE, axis=0)]
        )


class _Table:
    """A space of pymunk with the T, the agent and the walls of gym-pusht."""

    def __init__(self) -> None:
        self._space = pymunk.Space()
        self._space.damping = 0.0
        walls = [(5, 5), (506, 5), (506, 506), (5, 506)]
        for one, other in zip(walls, walls[1:] + walls[:1], strict=True):
            self._space.add(PushTEnv.add_segment(self._space, one, other, 2))
        self._agent = PushTEnv.add_circle(self._space, (0, 0), _AGENT)
        self._block, shapes = PushTEnv.add_tee(self._space, (256, 256), 0)
        self._local = np.array([corner for shape in shapes for corner in shape.get_vertices()])
        self._goal = self._corners(np.array(GOAL))

    def pose(self, corners: Points) -> NDArray[np.float64]:
        """x, y and angle of the T with these 8 corners, by least squares."""
        local, seen = self._local - self._local.mean(0), corners - corners.mean(0)
        sine = (local[:, 0] * seen[:, 1] - local[:, 1] * seen[:, 0]).sum()
        turned = np.array([0.0, 0.0, math.atan2(float(sine), float((local * seen).sum()))])
        x, y = corners.mean(0) - self._corners(turned).mean(0)
        return turned + np.array([x, y, 0.0])

    def distance(self, poses: NDArray[np.float64]) -> NDArray[np.float64]:
        """(...): mean distance of the corners from their places, of poses (..., 3)."""
        away = self._corners(poses) - self._goal
        return np.asarray(np.hypot(away[..., 0], away[..., 1]).mean(axis=-1))

    def tried(
        self, pose: NDArray[np.float64], starts: Points, ways: Points, manner: _Manner
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The cost of each push, (K,), and at which length it has that cost.

        The cost is the distance that is left, and what the steps of the push cost.
        """
        ticks = round(manner.longest / manner.pace)
        poses = np.empty((len(starts), ticks, 3))
        for start, way, row in zip(starts, ways, poses, strict=True):
            self._set(pose, start, way * manner.pace / _TICK)
            for tick in range(ticks):
                self._space.step(_TICK)
                row[tick] = (*self._block.position, self._block.angle)
        taken = np.arange(ticks) * manner.pace / manner.speed  # steps
        cost = self.distance(poses) + taken * manner.step_cost
        best = cost.argmin(axis=1)
        return cost[np.arange(len(best)), best], (best + 1) * manner.pace

    def _set(self, pose: NDArray[np.float64], agent: Points, velocity: Points) -> None:
        block = self._block
        block.angle = float(pose[2])  # first: it turns the T about its centre of gravity
        block.position = (float(pose[0]), float(pose[1]))
        block.velocity, block.angular_velocity = (0, 0), 0
        self._agent.position, self._agent.velocity = tuple(agent), tuple(velocity)
        for body in (block, self._agent):
            self._space.reindex_shapes_for_body(body)

    def _corners(self, poses: NDArray[np.float64]) -> Points:
        """(..., 8, 2)."""
        cosine, sine = np.cos(poses[..., 2, None]), np.sin(poses[..., 2, None])
        x, y = self._local.T
        turned = np.stack([cosine * x - sine * y, sine * x + cosine * y], axis=-1)
        return turned + poses[..., None, :2]


class _Routes:
    """The shortest ways of the agent around the T to where pushes start.

    They go over the corners of the T's outline, moved outwards: a visibility graph.

    lengths: (K,); infinite where there is no way.
    """

    def __init__(self, agent: Points, starts: Points, outline: shapely.Polygon) -> None:
        clear = _AGENT + _CLEAR
        around = shapely.get_coordinates(outline.buffer(clear, join_style="mitre").exterior)[:-1]
        self._points = np.concatenate([agent[None], around[_inside(around)], starts])
        hubs = len(self._points) - len(starts)  # a start is no place to pass
        legs = np.stack(
            np.broadcast_arrays(self._points[:hubs, None], self._points[None]), axis=2
        )  # (hubs, points, 2, 2)
        # A leg may be as near to the T as its ends are, which is nearer than clear after a push.
        gap = np.minimum(shapely.distance(shapely.points(self._points), outline), clear)
        room = shapely.distance(shapely.linestrings(legs), outline)
        free = room >= np.minimum(gap[:hubs, None], gap) - 0.5
        length = np.linalg.norm(legs[:, :, 0] - legs[:, :, 1], axis=-1)
        graph = np.full((len(self._points), len(self._points)), np.inf)
        graph[:hubs] = np.where(free, length, np.inf)
        total, self._before = shortest_path(graph, indices=0, return_predecessors=True)
        self.lengths = total[hubs:]
        self._hubs = hubs

    def corners(self, start: int) -> Points:
        """(corners, 2): the way to a start, from the agent on."""
        at, passed = self._hubs + start, []
        while at >= 0:
            passed.append(self._points[at])
            at = int(self._before[at])
        return np.stack(passed[::-1])


_AROUND = [0, 1, 2, 5, 6, 7, 4, 3]  # gym-pusht's corners of both bars, in the outline's order


def _pushes(outline: shapely.Polygon, offset: float) -> tuple[Points, Points]:
    """Where the agent may begin to push, (K, 2), and in which direction, unit vectors (K, 2)."""
    ring = outline.exterior
    at = np.arange(offset, ring.length, _SPACING)
    here, ahead = (
        shapely.get_coordinates(shapely.line_interpolate_point(ring, one % ring.length))
        for one in (at, at + 0.1)
    )
    along = ahead - here
    outwards = np.stack([along[:, 1], -along[:, 0]], axis=1)
    outwards *= (1 if ring.is_ccw else -1) / np.linalg.norm(outwards, axis=1, keepdims=True)
    turn = np.repeat(_TURNS, len(at))
    here, outwards = np.tile(here, (len(_TURNS), 1)), np.tile(outwards, (len(_TURNS), 1))
    x, y = -outwards.T
    ways = np.stack(
        [np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y], axis=1
    )
    starts = here + outwards * _AGENT - ways * _BEFORE
    free = shapely.distance(shapely.points(starts), outline) > _AGENT + 1
    usable = free & _inside(starts)
    return starts[usable], ways[usable]


def _inside(points: Points) -> NDArray[np.bool_]:
    return np.asarray(((points > _MARGIN) & (points < _SIZE - _MARGIN)).all(axis=1))


def _along(corners: Points, speed: float) -> Points:
    """Points at equal distances, the speed at most, along a polyline; its first is left out."""
    lengths = np.linalg.norm(np.diff(corners, axis=0), axis=1)
    at = np.concatenate([[0.0], lengths.cumsum()])
    along = np.linspace(0, at[-1], max(1, math.ceil(at[-1] / speed)) + 1)[1:]
    return np.stack([np.interp(along, at, corners[:, i]) for i in range(2)], axis=1)
