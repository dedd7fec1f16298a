"""Rollouts: what a policy is shown and what is executed, whatever runs beside it; their figures."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from scorefield.control.data.spaces import Horizons, PolicySpaces
from scorefield.control.environments.planar import AVOIDING, TWO_ROUTES, PlanarTask
from scorefield.control.evaluation.drawing import draw_paths, write_video
from scorefield.control.evaluation.rollout import Rollout, latency, roll_out
from scorefield.control.evaluation.scores import score
from scorefield.control.policies.denoising import WarmStart
from scorefield.control.policies.policy import ChunkRequest, Policy
from scorefield.priors.noise import keyed_noise


class Wanderer:
    """Goes up and to one side, with noise; keeps what it was asked."""

    def __init__(self, task: PlanarTask, side: float = 0.012) -> None:
        self.spaces, self.horizons = task.spaces, Horizons(3, 4, 6)
        self.side = side
        self.asked: list[ChunkRequest] = []

    def chunk(self, request: ChunkRequest) -> Tensor:
        self.asked.append(request)
        noise = keyed_noise(request.seed, request.items, request.draw, (6, 2)) * 0.001
        ahead = torch.arange(-1, 5)[:, None] * torch.tensor([self.side, 0.022])
        return request.observations["state"][:, -1:] + ahead + noise


def test_a_policy_sees_the_last_observations_and_its_chunk_is_executed() -> None:
    task = PlanarTask(TWO_ROUTES, noise=0.0)
    policy = Wanderer(task)
    assert isinstance(policy, Policy)
    (one,) = roll_out(policy, task, [7], seed=1)
    shown = torch.cat([asked.observations["state"] for asked in policy.asked])  # (chunks, 3, 2)
    states = torch.from_numpy(one.states)
    assert torch.equal(shown[0], states[:1].expand(3, 2))  # the first one, repeated
    assert torch.equal(shown[1], states[2:5]) and torch.equal(shown[2], states[6:9])
    asked = [(list(one.items), one.draw) for one in policy.asked[:3]]
    assert asked == [([7], 0), ([7], 1), ([7], 2)]
    # Steps are short enough to be done in full, so that each state is the action before it.
    assert np.allclose(one.states[1:], one.actions, atol=1e-6)
    assert len(one.rewards) == len(one.actions) == len(one.states) - 1


def test_results_do_not_depend_on_how_many_run_side_by_side() -> None:
    seeds = [5, 3, 11, 8, 2, 9, 4]
    task = PlanarTask(AVOIDING)
    whole = roll_out(Wanderer(task, 0.003), task, seeds, seed=1, batch=7)
    for batch, order in ((1, seeds), (3, seeds), (4, seeds[::-1])):
        parts = roll_out(Wanderer(task, 0.003), task, order, seed=1, batch=batch)
        by_seed = {one.seed: one for one in parts}
        for one in whole:
            other = by_seed[one.seed]
            assert np.array_equal(one.states, other.states) and one.mode == other.mode
            assert np.array_equal(one.actions, other.actions) and one.success == other.success
    assert len({one.success for one in whole} | {one.mode for one in whole}) > 1
    other = roll_out(Wanderer(task, 0.003), task, seeds, seed=2)
    assert not np.array_equal(other[0].states, whole[0].states)


class Clock:
    """Plans (when, which): how often it was asked before, and the place in the plan."""

    def __init__(self, task: PlanarTask) -> None:
        self.spaces, self.horizons = task.spaces, Horizons(2, 4, 9)
        self.previous: list[Tensor | None] = []

    def chunk(self, request: ChunkRequest) -> Tensor:
        self.previous.append(request.previous)
        places = torch.arange(9.0) / 100 - 0.3  # below the disc
        return torch.stack([torch.full((9,), request.draw / 100), places], dim=1)[None]


@pytest.mark.parametrize("delay", [0, 2, 4])
def test_a_chunk_that_is_late_lets_the_one_before_go_on(delay: int) -> None:
    task = PlanarTask(TWO_ROUTES, noise=0.0)
    clock = Clock(task)
    (one,) = roll_out(clock, task, [3], delay=delay, follow=WarmStart())
    done = [
        (round(100 * when), round(100 * place) + 30) for when, place in one.actions[:13].tolist()
    ]
    # The chunk of step 4 k has its action of step t at place t - 4 k + To - 1.
    chunks = [max(0, (t - delay) // 4) for t in range(13)]
    assert done == [(k, t - 4 * k + 1) for t, k in enumerate(chunks)]
    assert clock.previous[0] is None
    first, second = clock.previous[1], clock.previous[2]
    assert first is not None and second is not None
    assert first.shape == (1, 9, 2) and float(second[0, 0, 0]) == pytest.approx(0.01)


def test_a_delay_beyond_the_chunk_is_refused() -> None:
    task = PlanarTask(TWO_ROUTES)
    for horizons, most in ((Horizons(2, 4, 8), 3), (Horizons(2, 4, 16), 4), (Horizons(2, 8, 9), 0)):
        clock = Clock(task)
        clock.horizons = horizons
        with pytest.raises(ValueError, match=rf"delay must lie in \[0, {most}\].*execute fewer"):
            roll_out(clock, task, [1], delay=most + 1)


def test_other_spaces_are_refused_and_both_are_shown() -> None:
    policy = Wanderer(PlanarTask(TWO_ROUTES))
    with pytest.raises(ValueError, match=r"differ in low, high: .*\[-0.3, -0.3\].*\[0.2, -0.32\]"):
        roll_out(policy, PlanarTask(AVOIDING), [1])
    with pytest.raises(ValueError, match="seeds must not be empty"):
        roll_out(policy, PlanarTask(TWO_ROUTES), [])


def test_latency_is_that_of_one_environment() -> None:
    task = PlanarTask(TWO_ROUTES)
    policy = Wanderer(task)
    seconds = latency(policy, task, seed=1, calls=3)
    assert len(seconds) == 3 and all(one > 0 for one in seconds)
    assert {one.observations["state"].shape for one in policy.asked} == {(1, 3, 2)}


def made(
    actions: list[float], *, success: bool = True, mode: int = 0, reward: float = 1
) -> Rollout:
    values = np.array(actions, dtype=np.float32)[:, None]
    rewards = np.zeros(len(values))
    rewards[-1] = reward
    return Rollout(0, success, rewards, mode, np.zeros((len(values) + 1, 1), np.float32), values)


def test_figures_written_out() -> None:
    spaces = PolicySpaces(state=1, action=1, low=(0.0,), high=(2.0,))
    # Second differences over the range of 2, chunks of 3: 0 within the first, then two across the
    # seam of 0.5 each, then 0.
    rough = made([0, 0, 0, 1, 2, 3], mode=1)
    scores = score(
        [rough, made([0, 0, 0]), made([0, 0, 0], success=False, reward=0.25)], spaces, 3, 3
    )
    assert scores.episodes == 3 and scores.success == pytest.approx(2 / 3)
    assert scores.modes == (1, 1, 0) and scores.coverage == 2
    assert scores.entropy == pytest.approx(math.log(2) / math.log(3))
    assert scores.reward == scores.best_reward == pytest.approx(0.75)
    assert scores.steps == pytest.approx(4.5)
    assert scores.roughness == pytest.approx(0.5 / 6)  # one bend of six
    assert scores.as_json()["jump"] is None  # nothing within chunks to compare with


def test_roughness_tells_seams_from_the_rest() -> None:
    spaces = PolicySpaces(state=1, action=1, low=(0.0,), high=(1.0,))
    # Bends 0.1, then 0.3 twice across the seam, then 0.1.
    positions = np.cumsum(np.cumsum([0, 0, 0.1, 0.3, 0.3, 0.1]))
    scores = score([made(positions.tolist())], spaces, 0, 3)
    assert scores.jump == pytest.approx(3.0, rel=1e-4)
    assert math.isnan(scores.entropy) and scores.modes == ()
    # With a delay of 1 the first chunk is executed for 4 steps: of the bends 0.1, 0.3, 0.3 and 0.1
    # the last two lie across the seam.
    late = score([made(positions.tolist())], spaces, 0, 3, delay=1)
    assert late.jump == pytest.approx((0.3 + 0.1) / (0.1 + 0.3), rel=1e-3)


def test_success_alone_is_told_from_coverage() -> None:
    spaces = PolicySpaces(state=1, action=1, low=(0.0,), high=(1.0,))
    one_way = score([made([0.0, 0.1])] * 8, spaces, 24, 4)
    assert (one_way.success, one_way.coverage, one_way.entropy) == (1.0, 1, 0.0)


def test_images_and_videos(tmp_path: Path) -> None:
    task = PlanarTask(TWO_ROUTES)
    rollouts = roll_out(Wanderer(task), task, [1, 2, 3], frames=2)
    assert [one.frames is None for one in rollouts] == [False, False, True]
    assert rollouts[0].frames is not None
    assert rollouts[0].frames.shape == (len(rollouts[0].states), 96, 96, 3)
    assert draw_paths(TWO_ROUTES, {"a": rollouts, "b": rollouts}, tmp_path / "p.png").exists()
    assert write_video(rollouts[:2], tmp_path / "v.gif", 10.0).exists()
    with pytest.raises(ValueError, match="has no frames"):
        write_video(rollouts, tmp_path / "v.gif", 10.0)
