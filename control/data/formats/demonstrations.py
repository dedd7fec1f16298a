"""Demonstrations in a file of any format: what is there, what of it is taken, and the episodes."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from scorefield.control.data.episode import Episode
from scorefield.control.data.formats.features import ACTIONS, Feature, Kind, camera_names
from scorefield.control.data.formats.reading import DataError, as_bytes, damaged, joined


@dataclass(frozen=True)
class Choice:
    """What of a data set is taken.

    state: the features that make the state, side by side.
    action: those that make the action.
    cameras: features of images, by the name that the camera has in observations.
    left: all other features, and why each is left out.
    """

    state: tuple[str, ...]
    action: tuple[str, ...]
    cameras: Mapping[str, str]
    left: Mapping[str, str]


class Demonstrations(ABC):
    """A data set before anything of it is read.

    Attributes:
        path: of the file or folder.
        format: what it is, for people.
        features: what each step holds, by name.
        lengths: steps of each episode.
        rate: steps per second; None if unknown.
        parts: numbers of episodes by the name of a part of the data, such as "train" or a task.
        notes: what a reader should know, such as that chunks of an array are absent.
    """

    path: Path
    format: str
    features: dict[str, Feature]
    lengths: list[int]
    rate: float | None
    parts: Mapping[str, Sequence[int]]
    notes: list[str]

    def choose(
        self,
        *,
        state: Sequence[str] | None = None,
        action: Sequence[str] | None = None,
        cameras: Sequence[str] | None = None,
    ) -> Choice:
        """What to take.

        Args:
            state: the features that make the state, side by side, by name or by the end of their
                name; None: all vectors that are observations.
            action: those that make the action, likewise; None: what the format calls so, or
                else its parts, such as `action.arm` and `action.gripper`, in the data's order.
            cameras: features of images; None: all that are observations, none is ().

        Raises:
            ValueError: a feature is missing, of another kind, or cannot be read; or nothing is
                seen or done.
        """
        takes = {
            "state": self._taken("state", state, "observation", "vector"),
            "action": self._taken("action", action, "action", "vector"),
            "cameras": self._taken("cameras", cameras, "observation", "images"),
        }
        vectors = [one.name for one in self.features.values() if one.kind == "vector"]
        if not takes["action"]:
            for one in self.features.values():
                if one.role == "action":
                    itself = ", or it, whose rows are then put in one" if one.shape else ""
                    raise DataError(
                        f"{self.path}: {one.name} is {_described(one)}, and no vector; name what "
                        f"makes the action{itself}; there are the vectors {vectors}"
                    )
            raise DataError(
                f"{self.path}: no feature is called {' or '.join(ACTIONS)}; name the ones that "
                f"make the action; there are {vectors}"
            )
        if not takes["state"] and not takes["cameras"]:
            lost = [f"{n} ({one.broken})" for n, one in self.features.items() if one.broken]
            raise DataError(
                f"{self.path}: state names no key, and cameras neither; there are "
                f"{sorted(self.features)}{', of which cannot be read: ' if lost else ''}"
                f"{', '.join(lost)}"
            )
        taken = {name for names in takes.values() for name in names}
        wanted = {"action": action, "vector": state, "images": cameras}
        left = {
            name: _why_left(one, wanted.get("action" if one.role == "action" else one.kind))
            for name, one in self.features.items()
            if name not in taken
        }
        return Choice(takes["state"], takes["action"], camera_names(takes["cameras"]), left)

    def read(self, choice: Choice, numbers: Sequence[int] | None = None) -> Iterator[Episode]:
        """Yields episodes, one at a time.

        Args:
            choice: what to take.
            numbers: of the episodes; None: all.

        Raises:
            ValueError: there is no such episode, or something of it is damaged or not sound; the
                file, the feature and the episode are named.
        """
        unit: dict[str, bool] = {}
        for number in numbers if numbers is not None else range(len(self.lengths)):
            if not 0 <= number < len(self.lengths):
                raise DataError(
                    f"{self.path}: there is no episode {number}; they are numbered from 0 to "
                    f"{len(self.lengths) - 1}"
                )
            where = self.where(number)
            if self.lengths[number] == 0:
                raise DataError(f"{where}: has no steps; leave the episode out")
            with damaged(where):
                episode = self._episode(where, number, choice, unit)
            yield episode.checked()

    def _episode(self, where: str, number: int, choice: Choice, unit: dict[str, bool]) -> Episode:
        names = dict.fromkeys([*choice.state, *choice.action, *choice.cameras.values()])
        arrays = self.arrays(number, list(names))
        for name in (*choice.state, *choice.action):
            if arrays[name].shape[1:] != self.features[name].shape:
                raise DataError(
                    f"{where}: {name} has rows of shape {arrays[name].shape[1:]}; those of the "
                    f"data set have {self.features[name].shape}"
                )
        steps = self.lengths[number]
        images = {}
        for camera, name in choice.cameras.items():
            frames = arrays[name]
            # Floats of the first episode say for all whether they end at 1 or at 255; booleans do.
            floats = frames.dtype.kind in "fb" and frames.size > 0
            ends_at_one = unit.setdefault(name, floats and bool(frames.max() <= 1))
            images[camera] = as_bytes(f"{where}: {name}", frames, unit=ends_at_one)
        return Episode(
            joined(where, {name: arrays[name] for name in choice.state}, steps),
            joined(where, {name: arrays[name] for name in choice.action}, steps),
            images,
            self.rate,
            where,
        )

    @abstractmethod
    def where(self, number: int) -> str:
        """The file and the episode, for errors."""

    @abstractmethod
    def arrays(self, number: int, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Features of an episode: numbers (T, ...), and images (T, H, W, 1 or 3)."""

    def _taken(
        self, option: str, wanted: Sequence[str] | None, role: str, kind: Kind
    ) -> tuple[str, ...]:
        if wanted is None:
            for one in self.features.values():
                if option == "state" and one.kind == "other" and _is_called_state(one):
                    raise DataError(
                        f"{self.path}: {one.name} is {_described(one)}, and no vector; name what "
                        "makes the state: rows of two axes are put in one"
                    )
            names = [
                name
                for name, one in self.features.items()
                if (one.role, one.kind) == (role, kind) and not one.aside
            ]
            names = [name for name in names if name in ACTIONS] or names  # parts lie beside it
        else:
            names = [self._named(option, word) for word in wanted]
        for name in names:
            one = self.features[name]
            if one.broken:
                raise DataError(f"{self.path}: {name} cannot be read: {one.broken}")
            # Rows of two axes, such as keypoints, make a vector when they are asked for.
            fits = one.kind == kind or (
                one.kind == "other" and one.shape and (kind == "vector" or _may_show(one))
            )
            if not fits:
                raise DataError(
                    f"{self.path}: {option} names {name}, which is {_described(one)}; there are "
                    f"{[n for n, other in self.features.items() if other.kind == kind]}"
                )
        return tuple(dict.fromkeys(names))

    def _named(self, option: str, word: str) -> str:
        """The feature of this name, or the only one whose name ends in it."""
        if word in self.features:
            return word
        ends = [name for name in self.features if name.endswith((f".{word}", f"/{word}"))]
        if len(ends) == 1:
            return ends[0]
        raise DataError(
            f"{self.path}: {option} lacks {[word]}; there are {ends or sorted(self.features)}"
        )

    def with_rate(self, rate: float | None) -> None:
        """Takes the rate that a user says, where the data say none.

        Raises:
            ValueError: they say another, or it is not positive.
        """
        if rate is None:
            return
        if not 0 < rate < float("inf"):
            raise DataError(f"the rate is {rate}; steps per second are positive")
        if self.rate is not None and abs(self.rate - rate) > 1e-6 * rate:
            raise DataError(
                f"{self.path} was recorded at {self.rate:g} steps per second, and not at {rate:g}; "
                "leave the rate out"
            )
        self.rate = rate


def _may_show(feature: Feature) -> bool:
    """Whether an array is a picture if somebody says so: greys without a channel, or a tiny one."""
    colours = len(feature.shape) == 2 or (len(feature.shape) == 3 and feature.shape[-1] in (1, 3))
    return feature.dtype == "uint8" and colours


def _is_called_state(feature: Feature) -> bool:
    name = re.split(r"[./]", feature.name)[-1]
    return name == "state" and feature.role == "observation" and not feature.aside


def _why_left(feature: Feature, named: Sequence[str] | None) -> str:
    if feature.broken or feature.aside:
        return feature.broken or feature.aside
    if feature.kind == "depth":
        return "depth, and a camera shows colours"
    if named is not None:
        return "not named" if named else "not asked for"
    if feature.role == "action" and feature.kind == "vector":
        return "beside the whole action"
    return f"{_described(feature)}, {feature.role or 'no observation'}"


def _described(feature: Feature) -> str:
    words = {"vector": "a vector", "images": "images", "depth": "depth", "other": "an array"}
    return f"{words[feature.kind]} ({feature.dtype}, rows of shape {feature.shape})"
