"""Figures of rollouts, each with its interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scorefield.control.data.spaces import PolicySpaces
from scorefield.control.evaluation.rollout import Rollout
from scorefield.intervals import bootstrap, wilson


@dataclass(frozen=True)
class Scores:
    """What some episodes came to.

    episodes: how many.
    success: share that reached the goal.
    success_interval: Wilson's, 95 %.
    reward: mean sum of an episode's rewards.
    best_reward: mean of the largest reward of an episode; on Push-T, maximum coverage / 0.95.
    best_reward_interval: bootstrap over the episodes, 95 %.
    steps: mean length of the successful episodes, nan without one.
    roughness: mean size of the second difference of the actions, each divided by its range.
    jump: how much larger it is where a chunk ends than within chunks; 1 for no seam; nan if it
        cannot be told.
    modes: how often each way was taken by the successful episodes; empty where none are told apart.
    """

    episodes: int
    success: float
    success_interval: tuple[float, float]
    reward: float
    best_reward: float
    best_reward_interval: tuple[float, float]
    steps: float
    roughness: float
    jump: float
    modes: tuple[int, ...]

    @property
    def coverage(self) -> int:
        """How many ways were taken."""
        return sum(count > 0 for count in self.modes)

    @property
    def entropy(self) -> float:
        """Of the ways taken, to the base of their number: 1 if equally often, 0 for one way.

        nan if there are none to tell apart, or none was taken (Jia et al. 2024).
        """
        total = sum(self.modes)
        if total == 0 or len(self.modes) < 2:
            return math.nan
        shares = np.array([count for count in self.modes if count]) / total
        return abs(float(-(shares * np.log(shares)).sum() / math.log(len(self.modes))))

    def as_json(self) -> dict[str, Any]:
        """All metrics; those that are nan become None."""
        metrics = {**vars(self), "coverage": self.coverage, "entropy": self.entropy}
        return {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in metrics.items()
        }


def score(
    rollouts: Sequence[Rollout],
    spaces: PolicySpaces,
    modes: int,
    chunk: int,
    seed: int = 0,
    delay: int = 0,
) -> Scores:
    """The metrics of some episodes.

    Args:
        rollouts: of one policy in one environment.
        spaces: of the environment, for the range of the actions.
        modes: how many ways the environment tells apart.
        chunk: Ta, how many actions were executed of a plan.
        seed: of the bootstrap.
        delay: steps after which a chunk was there, which is where the seams are.
    """
    successes = [one for one in rollouts if one.success]
    best = np.array([one.rewards.max() for one in rollouts])
    taken = np.bincount([one.mode for one in successes if one.mode >= 0], minlength=modes)
    roughness, jump = _roughness(rollouts, spaces, chunk, delay)
    return Scores(
        episodes=len(rollouts),
        success=len(successes) / len(rollouts),
        success_interval=wilson(len(successes), len(rollouts)),
        reward=float(np.mean([one.rewards.sum() for one in rollouts])),
        best_reward=float(best.mean()),
        best_reward_interval=bootstrap(best, seed),
        steps=float(np.mean([len(one.actions) for one in successes])) if successes else math.nan,
        roughness=roughness,
        jump=jump,
        modes=tuple(int(count) for count in taken) if modes else (),
    )


def _roughness(
    rollouts: Sequence[Rollout], spaces: PolicySpaces, chunk: int, delay: int
) -> tuple[float, float]:
    """Mean second difference of the actions, and its ratio of seams to the rest."""
    scale = np.asarray(spaces.high) - np.asarray(spaces.low)
    scale = np.where(np.isfinite(scale), scale, 1)
    seams: list[float] = []
    inside: list[float] = []
    for one in rollouts:
        bends = np.linalg.norm(np.diff(one.actions / scale, n=2, axis=0), axis=1)
        for first, bend in enumerate(bends):  # of the actions first, first + 1, first + 2
            # The first chunk is waited for, and so is executed for longer by the delay.
            pieces = [max(0, step - delay) // chunk for step in (first, first + 2)]
            crosses = pieces[0] != pieces[1]
            (seams if crosses else inside).append(float(bend))
    if not seams + inside:
        return math.nan, math.nan
    jump = np.mean(seams) / np.mean(inside) if seams and inside and np.mean(inside) else math.nan
    return float(np.mean(seams + inside)), float(jump)
