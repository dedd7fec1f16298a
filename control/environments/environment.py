"""What is acted in: a batch of environments that begin and step together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from scorefield.control.data.spaces import PolicySpaces

Observations = Mapping[str, NDArray[Any]]
""""state": (n, D) float32, and per camera (n, H, W, 3) uint8, a row per environment."""


@dataclass(frozen=True, eq=False)
class Step:
    """What a step of n environments led to.

    observations: after the step.
    reward: (n,), of this step.
    success: (n,): whether the episode has reached its goal, now or before.
    ended: (n,): whether it is over; nothing changes any more.
    """

    observations: Observations
    reward: NDArray[np.float64]
    success: NDArray[np.bool_]
    ended: NDArray[np.bool_]


@runtime_checkable
class Environment(Protocol):
    """n environments, one per seed of the last `reset`.

    What happens in one depends on its seed and its actions alone, never on the others. The rows of
    actions of episodes that have ended are ignored.

    name: of the environment, for tables.
    spaces: what is observed and done.
    max_steps: an episode ends after so many.
    modes: how many ways there are to succeed that are told apart; 0 if none are.
    """

    name: str
    spaces: PolicySpaces
    max_steps: int
    modes: int

    def reset(self, seeds: Sequence[int]) -> Observations:
        """Begins one episode per seed."""

    def step(self, actions: NDArray[Any]) -> Step:
        """One step of all: actions (n, A) in the environment's units."""

    def mode(self) -> NDArray[np.int64]:
        """(n,): in which of its ways each episode went; -1 for none of them."""

    def frames(self) -> NDArray[np.uint8]:
        """(n, H, W, 3): an image of each."""


@runtime_checkable
class Expert(Protocol):
    """What demonstrates: acts on the observations of n environments, one step at a time."""

    def begin(self, seeds: Sequence[int]) -> None:
        """One episode per seed begins; all that is random depends on its seed alone."""

    def act(self, observations: Observations) -> NDArray[Any]:
        """(n, A): the actions of this step."""
