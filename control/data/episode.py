"""One demonstration, and what makes it sound."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Episode:
    """One demonstration of T steps.

    state: (T, D) of numbers; kept as float32.
    action: (T, A) of numbers, in the units of the environment; kept as float32.
    cameras: images (T, H, W, 3) uint8 by the name of the camera (`observed_as`).
    rate: steps per second; None if unknown.
    name: where it is from, for errors: a file and the episode in it.
    key: the seed of the environment it was collected from, if it was.
    """

    state: NDArray[Any]
    action: NDArray[Any]
    cameras: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    rate: float | None = None
    name: str = "episode"
    key: int | None = None

    def __len__(self) -> int:
        return len(self.action)

    def checked(self) -> "Episode":
        """The same, as float32 and uint8.

        Raises:
            ValueError: a shape, dtype or value is wrong; the episode, the array and the first bad
                step are named.
        """
        state = checked_numbers(self.name, "state", self.state)
        action = checked_numbers(self.name, "action", self.action)
        if action.shape[1] == 0:
            raise ValueError(f"{self.name}: an action has no numbers; a policy does something")
        for camera, images in self.cameras.items():
            _check_images(self.name, camera, images)
        if len({observed_as(camera) for camera in self.cameras}) < len(self.cameras):
            raise ValueError(f"{self.name}: cameras {sorted(self.cameras)} would share a name")
        lengths = {name: len(array) for name, array in self.arrays().items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(
                f"{self.name}: arrays differ in steps: {lengths}; every step needs an observation "
                "and an action"
            )
        if len(self) == 0:
            raise ValueError(f"{self.name}: holds no steps; leave it out")
        if self.rate is not None and not 0 < self.rate < float("inf"):
            raise ValueError(f"{self.name}: rate is {self.rate}; steps per second are positive")
        return Episode(
            state,
            action,
            {observed_as(camera): images for camera, images in self.cameras.items()},
            None if self.rate is None else float(self.rate),
            self.name,
            self.key,
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays by their names in a folder: state, action and camera.NAME."""
        images = {f"camera.{name}": array for name, array in self.cameras.items()}
        return {"state": self.state, "action": self.action, **images}


def observed_as(camera: str) -> str:
    """The name of a camera among observations and files.

    A camera called state or action, as other things are, is state_camera or action_camera, and
    what separates folders is a dot.
    """
    name = camera.replace("/", ".").replace("\\", ".")
    return f"{name}_camera" if name in ("state", "action") else name


def checked_numbers(where: str, name: str, array: NDArray[Any]) -> NDArray[np.float32]:
    """Finite numbers (T, size) as float32."""
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise ValueError(
            f"{where}: {name} is {array.dtype} of shape {array.shape}; it must be numbers of shape "
            "(steps, size)"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        kept = np.asarray(array, dtype=np.float32)  # what is too large becomes infinite
    bad = ~np.isfinite(kept).all(axis=1)
    if bad.any():
        step = int(bad.argmax())
        raise ValueError(
            f"{where}: {name} is not finite in {int(bad.sum())} of {len(array)} steps, "
            f"first in step {step}: {array[step].tolist()}, as float32 {kept[step].tolist()}"
        )
    return kept


def _check_images(where: str, camera: str, images: NDArray[Any]) -> None:
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
        raise ValueError(
            f"{where}: camera {camera} is {images.dtype} of shape {images.shape}; images are "
            "uint8 of shape (steps, height, width, 3)"
        )


def check_alike(first: Episode, other: Episode) -> None:
    """Refuses to put episodes of different kinds together."""
    shapes = [{n: a.shape[1:] for n, a in one.arrays().items()} for one in (first, other)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"{other.name}: has {shapes[1]} per step; {first.name} has {shapes[0]}; all episodes "
            "of a data set have the same"
        )
    if first.rate != other.rate:
        raise ValueError(
            f"{other.name}: was recorded at {other.rate} steps per second; {first.name} at "
            f"{first.rate}; resample one of them"
        )
