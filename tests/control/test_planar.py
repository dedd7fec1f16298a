"""The planar tasks: laws of motion, routes, and what a unimodal policy must do there."""

import math

import numpy as np
import pytest

from scorefield.control.environments.collection import demonstrate
from scorefield.control.environments.environment import Environment, Expert
from scorefield.control.environments.planar import AVOIDING, TWO_ROUTES, Layout, PlanarTask
from scorefield.control.environments.routes import DISTURBANCE, RouteExpert


def start(layout: Layout, seeds: int = 1) -> PlanarTask:
    task = PlanarTask(layout, noise=0.0)
    task.reset(range(seeds))
    return task


@pytest.mark.parametrize("layout", [TWO_ROUTES, AVOIDING])
def test_the_expert_takes_every_route_alike_and_succeeds(layout: Layout) -> None:
    task, expert = PlanarTask(layout, noise=DISTURBANCE), RouteExpert(layout)
    assert isinstance(task, Environment) and isinstance(expert, Expert)
    seeds = range(4 * layout.routes)
    episodes = demonstrate(task, expert, seeds)
    assert len(episodes) == len(seeds)
    assert task.mode().tolist() == [seed % layout.routes for seed in seeds]
    assert max(len(one) for one in episodes) < layout.max_steps


def test_a_step_is_as_long_as_asked_up_to_the_limit_and_ends_in_the_arena() -> None:
    task = start(TWO_ROUTES)
    task.position = np.array([[0.2, -0.2]])
    near = task.step(np.array([[0.21, -0.19]])).observations["state"]
    assert np.allclose(near, [[0.21, -0.19]])
    far = task.step(np.array([[9.0, -0.19]])).observations["state"]
    assert np.allclose(far, [[0.24, -0.19]])
    for _ in range(5):
        far = task.step(np.array([[9.0, -0.19]])).observations["state"]
    assert np.allclose(far, [[0.3, -0.19]])


def test_a_disc_that_a_step_jumps_over_is_hit() -> None:
    # Its width on the way, 2 sqrt(0.02^2 - 0.019^2) = 0.012, is less than the step of 0.03.
    task = start(AVOIDING)
    for offset, hit in ((0.019, True), (0.0205, False)):
        task.reset([0])
        task.position = np.array([[0.5 + offset, -0.115]])
        step = task.step(np.array([[0.5 + offset, -0.085]]))
        assert bool(step.ended[0]) is hit and not step.success[0]


def test_the_goal_is_reached_once_and_then_nothing_changes() -> None:
    task = start(TWO_ROUTES)
    task.position = np.array([[0.2, 0.24]])
    step = task.step(np.array([[0.2, 0.27]]))
    assert step.success[0] and step.ended[0] and step.reward[0] == 1
    after = task.step(np.array([[0.0, 0.0]]))
    assert after.success[0] and after.reward[0] == 0
    assert np.array_equal(after.observations["state"], step.observations["state"])


def test_time_runs_out() -> None:
    task = start(TWO_ROUTES)
    for _ in range(TWO_ROUTES.max_steps - 1):
        assert not task.step(task.position).ended[0]
    step = task.step(task.position)
    assert step.ended[0] and not step.success[0] and task.mode()[0] == -1


def test_routes_are_counted_from_the_left_the_last_row_fastest() -> None:
    task = start(AVOIDING)
    for gaps, route in (((0, 0, 0), 0), ((0, 0, 3), 3), ((0, 1, 0), 4), ((1, 2, 3), 23)):
        task.reset([0])
        for (height, _), xs, gap in zip(AVOIDING.rows, AVOIDING.gaps, gaps, strict=True):
            task.position = np.array([[xs[gap], height - 0.01]])
            task.step(np.array([[xs[gap], height + 0.01]]))
        assert task.mode().tolist() == [route]


def test_an_episode_does_not_depend_on_those_beside_it() -> None:
    together, alone = PlanarTask(AVOIDING), PlanarTask(AVOIDING)
    seen = together.reset([5, 7, 9])["state"]
    assert np.array_equal(alone.reset([7])["state"][0], seen[1])
    for _ in range(20):
        target = together.position + np.array([0.0, 0.02])
        one = alone.step(target[1:2]).observations["state"]
        assert np.array_equal(together.step(target).observations["state"][1], one[0])


def test_frames_show_the_point() -> None:
    task = start(AVOIDING, 2)
    frames = task.frames()
    assert frames.shape == (2, 96, 96, 3)
    # 0.32 - 0.28 above the lower edge, of 0.72: rows 88 to 93, and the middle of the columns.
    blue = np.argwhere((frames[0] == (40, 80, 200)).all(-1))
    assert 87 <= blue[:, 0].mean() <= 94 and 46 <= blue[:, 1].mean() <= 50


def demonstrations() -> tuple[PlanarTask, np.ndarray]:
    """The first 8 actions of 400 demonstrations, and a task without noise."""
    task = PlanarTask(TWO_ROUTES, noise=DISTURBANCE)
    episodes = demonstrate(task, RouteExpert(TWO_ROUTES), range(400))
    return PlanarTask(TWO_ROUTES, noise=0.0), np.stack([one.action[:8] for one in episodes])


def test_the_mean_of_the_demonstrations_goes_into_the_disc() -> None:
    task, chunks = demonstrations()
    mean = chunks.mean(axis=0)
    # The routes are 0.13 to either side where they pass; 400 of them tell the mean to 0.13 / 20.
    assert np.abs(mean[:, 0]).max() < 3 * 0.13 / 20
    assert mean[-1, 1] > -TWO_ROUTES.radius
    task.reset(range(50))
    for action in mean:
        step = task.step(np.broadcast_to(action, (50, 2)))
    assert step.ended.all() and not step.success.any()


def test_a_gaussian_over_the_trajectory_hits_as_often_as_computed() -> None:
    """Erf(r / (d sqrt 2)) = 0.56 at the least; the disc is met at other heights too."""
    task = PlanarTask(TWO_ROUTES, noise=DISTURBANCE)
    episodes = demonstrate(task, RouteExpert(TWO_ROUTES), range(400))
    # Paths at the same heights, so that the disc's own height is one of them.
    heights = np.linspace(-0.24, 0.24, 25)
    paths = np.stack([np.interp(heights, *one.state.T[::-1]) for one in episodes])
    mean, covariance = paths.mean(axis=0), np.cov(paths.T)
    d = float(np.sqrt(covariance[12, 12]))
    assert abs(d - 0.13) < 0.005
    least = math.erf(TWO_ROUTES.radius / (d * math.sqrt(2)))
    assert least == pytest.approx(0.56, abs=0.02)
    rng = np.random.default_rng(0)
    drawn = rng.multivariate_normal(mean, covariance, 4000, method="svd")
    inside = np.hypot(drawn, heights) < TWO_ROUTES.radius
    # Four standard errors of a share of 4,000.
    assert inside.any(axis=1).mean() > least - 4 * 0.5 / math.sqrt(4000)
    # The demonstrations themselves pass.
    assert not (np.hypot(paths, heights) < TWO_ROUTES.radius).any()
