"""One demonstration, and what makes it sound."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

UNNAMED = "episode"
"""What an episode is called that nobody has named; `numbered` gives it its number."""


@dataclass(frozen=True, eq=False)
class Episode:
    """One demonstration of T steps; lists in place of arrays become arrays where it is checked.

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
    name: str = UNNAMED
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
        cameras = {
            camera: _checked_images(self.name, camera, images)
            for camera, images in self.cameras.items()
        }
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
            {observed_as(camera): images for camera, images in cameras.items()},
            None if self.rate is None else float(self.rate),
            self.name,
            self.key,
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays by their names in a folder: state, action and camera.NAME."""
        images = {f"camera.{name}": array for name, array in self.cameras.items()}
        return {"state": self.state, "action": self.action, **images}


def numbered(episode: object, number: int) -> Episode:
    """An episode of a data set, checked; one without a name is called by its number.

    Raises:
        ValueError: it is no `Episode`, or not sound (`Episode.checked`).
    """
    if not isinstance(episode, Episode):
        raise ValueError(
            f"episode {number} is {type(episode).__name__}; make an Episode(state, action) of each"
        )
    if episode.name == UNNAMED:
        episode = replace(episode, name=f"{UNNAMED} {number}")
    return episode.checked()


def observed_as(camera: str) -> str:
    """The name of a camera among observations and files.

    A camera called state or action, as other things are, is state_camera or action_camera, and
    what separates folders is a dot.
    """
    name = camera.replace("/", ".").replace("\\", ".")
    return f"{name}_camera" if name in ("state", "action") else name


def _array(where: str, name: str, given: ArrayLike) -> NDArray[Any]:
    try:
        return np.asarray(given)
    except ValueError as error:  # rows of several lengths
        raise ValueError(f"{where}: {name} makes no array; all its steps have one size") from error


def checked_numbers(where: str, name: str, given: ArrayLike) -> NDArray[np.float32]:
    """Finite numbers (T, size) as float32."""
    array = _array(where, name, given)
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


def _checked_images(where: str, camera: str, given: ArrayLike) -> NDArray[np.uint8]:
    images = _array(where, f"camera {camera}", given)
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
        raise ValueError(
            f"{where}: camera {camera} is {images.dtype} of shape {images.shape}; images are "
            "uint8 of shape (steps, height, width, 3)"
        )
    return images


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
