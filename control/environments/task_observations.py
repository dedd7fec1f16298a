"""An environment as a policy sees it that is told a task."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scorefield.control.data.tasks import task_numbers
from scorefield.control.environments.environment import Environment, Observations, Step


class TaskObservationWrapper:
    """An environment whose states end in a task (`with_tasks`); an `Environment`."""

    def __init__(self, environment: Environment, task: str, tasks: Sequence[str]) -> None:
        """Tells the task.

        Args:
            environment: where it is to be done.
            task: the text that is told.
            tasks: those that the policy knows, `policy.spaces.tasks`.

        Raises:
            ValueError: the policy knows no such task; the nearest are named.
        """
        self._environment, self._numbers = environment, task_numbers(task, tasks).numpy()
        self.name, self.max_steps = environment.name, environment.max_steps
        self.modes = environment.modes
        spaces = environment.spaces
        self.spaces = replace(spaces, state=spaces.state + len(tasks), tasks=tuple(tasks))

    def reset(self, seeds: Sequence[int]) -> Observations:
        """Begins one episode per seed."""
        return self._told(self._environment.reset(seeds))

    def step(self, actions: NDArray[Any]) -> Step:
        """One step of all."""
        step = self._environment.step(actions)
        return replace(step, observations=self._told(step.observations))

    def mode(self) -> NDArray[np.int64]:
        """(n,): the way each episode went."""
        return self._environment.mode()

    def frames(self) -> NDArray[np.uint8]:
        """(n, H, W, 3): what the environment draws."""
        return self._environment.frames()

    def _told(self, seen: Observations) -> Observations:
        # a state that policies do not look at may be there
        states = seen["state"][:, : self._environment.spaces.state]
        ends = np.broadcast_to(self._numbers, (len(states), len(self._numbers)))
        return {**seen, "state": np.concatenate([states, ends], axis=1)}
