"""A policy acts in an environment: receding horizon, many episodes side by side."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from scorefield.control.data.spaces import Horizons
from scorefield.control.data.windows import frames_to_tensor
from scorefield.control.environments.environment import Environment, Observations
from scorefield.control.policies.denoising import Continuation
from scorefield.control.policies.policy import ChunkRequest, Policy


@dataclass(frozen=True, eq=False)
class Rollout:
    """One episode of T steps.

    seed: of the environment.
    success: whether it reached its goal.
    rewards: (T,).
    mode: the way it went, -1 for none (`Environment.mode`).
    states: (T + 1, D), the last one after the last action.
    actions: (T, A).
    frames: (T + 1, H, W, 3) uint8; None unless they were asked for.
    """

    seed: int
    success: bool
    rewards: NDArray[np.float64]
    mode: int
    states: NDArray[np.float32]
    actions: NDArray[np.float32]
    frames: NDArray[np.uint8] | None = None


def roll_out(
    policy: Policy,
    environment: Environment,
    seeds: Sequence[int],
    *,
    seed: int = 0,
    batch: int = 50,
    frames: int = 0,
    delay: int = 0,
    follow: Continuation | None = None,
    progress: bool = False,
) -> list[Rollout]:
    """One episode per seed.

    Every Ta steps the policy sees the last To observations, the first one repeated at the
    beginning, and plans the next Ta actions. Its noise is keyed by (seed, seed of the episode,
    chunk), so that results do not depend on how many episodes run side by side.

    With a delay, a chunk is there so many steps after the observation that it was planned from:
    until then the chunk before it goes on. The first chunk of an episode is waited for.

    Args:
        policy: what acts.
        environment: where.
        seeds: of the episodes; not those of the demonstrations.
        seed: of the policy's noise.
        batch: how many episodes run side by side.
        frames: of how many of the first episodes to keep images.
        delay: steps that planning takes, at most Ta.
        follow: how a chunk goes on from the one before it; None: it does not.
        progress: whether to show a progress bar.

    Raises:
        ValueError: the policy was made for other spaces (both are shown), its chunks do not reach
            past the delay, or nothing is to do.
    """
    policy.spaces.check(environment.spaces)
    check_delay(delay, policy.horizons)
    if not seeds or batch < 1:
        raise ValueError(f"seeds must not be empty and batch at least 1; got {len(seeds)}, {batch}")
    rollouts: list[Rollout] = []
    with tqdm(total=len(seeds), disable=not progress, unit="episode") as bar:
        for begin in range(0, len(seeds), batch):
            group = seeds[begin : begin + batch]
            kept = max(0, min(frames - begin, len(group)))
            rollouts += _together(policy, environment, group, seed, kept, delay, follow)
            bar.update(len(group))
            bar.set_postfix(success=f"{np.mean([one.success for one in rollouts]):.3f}")
    return rollouts


def latency(policy: Policy, environment: Environment, *, seed: int, calls: int = 20) -> list[float]:
    """Seconds of planning one chunk for one environment, call by call; a first call is not counted.

    Args:
        policy: what plans.
        environment: where; only its first observation is used.
        seed: of the episode.
        calls: how many.
    """
    history = [environment.reset([seed])] * policy.horizons.n_obs_steps
    seconds = []
    for call in range(calls + 1):
        started = time.perf_counter()
        policy.chunk(ChunkRequest(_stacked(history, [0]), seed, items=[0], draw=call))
        seconds.append(time.perf_counter() - started)
    return seconds[1:]


def check_delay(delay: int, horizons: Horizons) -> None:
    """Refuses a delay after which there is nothing left of the chunk before.

    Raises:
        ValueError: the most that there can be is told.
    """
    reach = horizons.horizon - horizons.n_action_steps - (horizons.n_obs_steps - 1)
    most = min(horizons.n_action_steps, reach)
    if not 0 <= delay <= most:
        raise ValueError(
            f"delay must lie in [0, {most}] with {horizons}, so that the "
            f"chunk before is not at its end when the next one is there; got {delay}: execute "
            "fewer actions of a chunk, or predict more"
        )


def _together(
    policy: Policy,
    environment: Environment,
    seeds: Sequence[int],
    seed: int,
    frames: int,
    delay: int,
    follow: Continuation | None,
) -> list[Rollout]:
    """The episodes of one batch; a policy is asked about those alone that go on."""
    horizons, n = policy.horizons, len(seeds)
    first = environment.reset(seeds)
    history: list[Observations] = [first] * horizons.n_obs_steps
    states = [first["state"]]
    actions: list[NDArray[np.float32]] = []
    rewards: list[NDArray[np.float64]] = []
    images = [environment.frames()[:frames]] if frames else []
    lengths = np.zeros(n, dtype=np.int64)
    ended = np.zeros(n, dtype=bool)
    success = ended
    # The present chunk of each, and the one before it.
    plan = torch.zeros(n, horizons.horizon, environment.spaces.action)
    before = plan
    while not ended.all():
        draw, place = divmod(len(actions), horizons.n_action_steps)
        if place == 0:
            going = np.flatnonzero(~ended)
            request = ChunkRequest(
                _stacked(history, going),
                seed,
                items=[seeds[int(i)] for i in going],
                draw=draw,
                previous=plan[going] if draw else None,
                follow=follow,
            )
            before, plan = plan, plan.clone()
            plan[going] = policy.chunk(request).cpu()
        late = draw > 0 and place < delay
        at = horizons.n_obs_steps - 1 + place
        action = before[:, at + horizons.n_action_steps] if late else plan[:, at]
        lengths += ~ended
        step = environment.step(action.numpy())
        actions.append(action.numpy())
        rewards.append(step.reward)
        states.append(step.observations["state"])
        if frames:
            images.append(environment.frames()[:frames])
        history = [*history[1:], step.observations]
        ended, success = step.ended, step.success
    modes = environment.mode()
    return [
        Rollout(
            seed=one,
            success=bool(success[i]),
            rewards=np.array([row[i] for row in rewards[: lengths[i]]]),
            mode=int(modes[i]),
            states=np.stack([row[i] for row in states[: lengths[i] + 1]]),
            actions=np.stack([row[i] for row in actions[: lengths[i]]]),
            frames=np.stack([row[i] for row in images[: lengths[i] + 1]]) if i < frames else None,
        )
        for i, one in enumerate(seeds)
    ]


def _stacked(history: Sequence[Observations], rows: Any) -> dict[str, Tensor]:
    """The last To observations of some environments, as a policy takes them."""
    stacked: dict[str, Tensor] = {}
    for name in history[0]:
        values = np.stack([one[name][rows] for one in history], axis=1)
        stacked[name] = torch.from_numpy(values) if name == "state" else frames_to_tensor(values)
    return stacked
