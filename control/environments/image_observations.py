"""An environment as a policy sees it that looks at images."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from scorefield.control.environments.environment import Environment, Observations, Step

VIEW = "view"
"""The camera whose images are those that an environment draws of itself."""


class ImageObservationWrapper:
    """An environment that also shows what it looks like; an `Environment`.

    The state stays in the observations, for experts and records. A policy looks at what its spaces
    list, and so at images alone where the state is left out of them.
    """

    def __init__(self, environment: Environment, size: int, *, state: bool = True) -> None:
        """Looks on.

        Args:
            environment: what is shown.
            size: edge of the images of the camera "view"; what is drawn is resized.
            state: whether policies see the state as well.

        Raises:
            ValueError: the size is below 8.
        """
        if size < 8:
            raise ValueError(f"images need an edge of 8 or more, got {size}")
        self._environment, self._size = environment, size
        self.name, self.max_steps = environment.name, environment.max_steps
        self.modes = environment.modes
        spaces = environment.spaces
        self.spaces = replace(
            spaces,
            state=spaces.state if state else 0,
            images={**spaces.images, VIEW: (size, size)},
        )

    def reset(self, seeds: Sequence[int]) -> Observations:
        """Begins one episode per seed."""
        return self._with_view(self._environment.reset(seeds))

    def step(self, actions: NDArray[Any]) -> Step:
        """One step of all."""
        step = self._environment.step(actions)
        return replace(step, observations=self._with_view(step.observations))

    def mode(self) -> NDArray[np.int64]:
        """(n,): the way each episode went."""
        return self._environment.mode()

    def frames(self) -> NDArray[np.uint8]:
        """(n, H, W, 3): what the environment draws."""
        return self._environment.frames()

    def _with_view(self, seen: Observations) -> Observations:
        frames = torch.from_numpy(self._environment.frames()).movedim(-1, 1)  # (n, 3, H, W)
        if frames.shape[2:] != (self._size, self._size):
            size = (self._size, self._size)
            drawn = interpolate(frames.float(), size, mode="bilinear", antialias=True)
            frames = drawn.round().clamp(0, 255).byte()
        return {**seen, VIEW: frames.movedim(1, -1).contiguous().numpy()}
