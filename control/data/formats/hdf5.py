"""HDF5 files: a group per episode, or a file per episode.

robomimic, LIBERO, Isaac Lab:
    data                          attribute env_args: JSON with env_kwargs.control_freq
    data/demo_0/actions           (T, A)
    data/demo_0/obs/KEY           (T, d) or images (T, H, W, 3)
    mask/NAME                     names of the demos of a part of the data
ALOHA: in each file of a folder
    action                        (T, A)
    observations/KEY, observations/images/KEY
ManiSkill, Minari:
    traj_0/actions                (T, A)
    traj_0/obs, or observations   with a row more, which is left out
others: in each file of a folder
    action                        (T, A), or what is named so
    any other array of T rows     an observation, if nothing is called observations
"""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scorefield.control.data.episode import Episode
from scorefield.control.data.formats.demonstrations import (
    ACTIONS,
    Demonstrations,
    Feature,
    kind_of,
    natural,
    role_of,
)
from scorefield.control.data.formats.reading import (
    DataError,
    check_one_episode,
    damaged,
    decoded,
    library,
)
from scorefield.files import parse_json

SUFFIXES = (".hdf5", ".h5", ".hdf")
"""What HDF5 files are called."""

_OBSERVED = ("obs", "observations", "observation")
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG")
"""How files of JPEG and PNG begin, which some data sets hold as rows of bytes."""


def read_robomimic(
    path: str | os.PathLike[str],
    *,
    state: Sequence[str] | None = None,
    action: Sequence[str] | None = None,
    cameras: Sequence[str] | None = None,
    part: str | None = None,
) -> Iterator[Episode]:
    """Yields the episodes, in the order of their numbers; only one is in memory at a time.

    Args:
        path: the file; or one of ALOHA, ManiSkill or Minari, or a folder of files.
        state: the keys under `obs` that make the state, side by side; None: all vectors, those of
            robots first.
        action: those of the actions; None: `actions`, or `action`.
        cameras: those of images; None takes all but depth, none is ().
        part: of the data, a name under `mask` such as "train"; None: all.

    Raises:
        ValueError: a key is missing, lengths disagree, or an episode is not sound.
    """
    data = Hdf5(Path(path))
    numbers = None if part is None else data.part(part)
    return data.read(data.choose(state=state, action=action, cameras=cameras), numbers)


@dataclass(frozen=True)
class _Place:
    """Where an episode is."""

    file: Path
    group: str
    strict: bool  # robomimic's, with no row more than actions


class Hdf5(Demonstrations):
    """Episodes in one HDF5 file, or in all of a folder; `Demonstrations`."""

    format = "HDF5"

    def __init__(self, path: Path) -> None:
        """Looks for the episodes, and at the arrays of the first.

        Raises:
            ValueError: there is no episode, one lacks actions or observations, or a file is
                damaged.
        """
        self.path = path
        self._h5py = library("h5py", "an HDF5 file")
        self.rate, self.notes = None, []
        self.parts: dict[str, list[int]] = {}
        files = [path]
        if path.is_dir():
            found = [one for one in path.iterdir() if one.suffix.lower() in SUFFIXES]
            files = sorted(found, key=lambda file: natural(file.name))
        self._places: list[_Place] = []
        self.lengths: list[int] = []
        for file in files:
            with damaged(str(file)), self._opened(file) as opened:
                self._find(file, opened)
        if not self._places:
            raise DataError(
                f"{path}: holds no group 'data' with demos, and no other group with actions; it is "
                "not robomimic's, nor of a like layout"
            )
        first = self._places[0]
        with damaged(self.where(0)), self._opened(first.file) as opened:
            self.features = _features(opened[first.group or "/"], self.lengths[0])
            if lost := _lost(opened[first.group or "/"]):
                self.notes.append(f"{lost} are links to other files or to nothing: not followed")

    def where(self, number: int) -> str:
        """The file and the demo."""
        place = self._places[number]
        return f"{place.file}, {place.group.rsplit('/', 1)[-1]}" if place.group else str(place.file)

    def part(self, name: str) -> list[int]:
        """The episodes of a part.

        Raises:
            ValueError: there is none of this name.
        """
        if name not in self.parts:
            raise DataError(
                f"{self.path}, mask: part lacks {[name]}; there are {sorted(self.parts)}"
            )
        return list(self.parts[name])

    def arrays(self, number: int, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Features of an episode."""
        place, where, steps = self._places[number], self.where(number), self.lengths[number]
        found: dict[str, NDArray[Any]] = {}
        with damaged(where), self._opened(place.file) as file:
            group = file[place.group or "/"]
            for name in names:
                if name not in group:
                    raise DataError(
                        f"{where}: lacks {name!r}, which the first episode has; there are "
                        f"{sorted(_arrays(group))}"
                    )
            extra = self._has_a_row_more(group, place, names, steps)
            for name in names:
                with damaged(f"{where}: {name}"):
                    array = group[name]
                    cut = name.startswith(_OBSERVED) and extra
                    if array.shape[0] != steps + cut:
                        lengths = {n: group[n].shape[0] for n in names}
                        raise DataError(f"{where}: arrays differ in steps: {lengths}")
                    rows = array[:steps]
                    images = self.features[name].kind == "images"
                    if images and (rows.dtype.kind in "OS" or rows.ndim == 2):
                        rows = decoded(f"{where}: {name}", [bytes(bytearray(row)) for row in rows])
                    found[name] = np.asarray(rows)
        return found

    def _has_a_row_more(self, group: Any, place: _Place, names: Sequence[str], steps: int) -> bool:
        """Whether what follows the last action was observed as well."""
        seen = [group[name].shape[0] for name in names if name.startswith(_OBSERVED)]
        return not place.strict and bool(seen) and set(seen) == {steps + 1}

    def _opened(self, file: Path) -> Any:
        try:
            return self._h5py.File(file, "r")
        except Exception as error:
            raise DataError(f"{file} cannot be read as HDF5 ({error}); fetch it again") from error

    def _find(self, file: Path, opened: Any) -> None:
        """Adds the episodes of a file."""
        h5py = self._h5py
        strict = "data" in opened and isinstance(opened["data"], h5py.Group)
        container = "data" if strict else ""
        root = opened[container or "/"]
        if _actions(root):
            check_one_episode(str(file), root)
            groups = [container]
        else:
            groups = [
                f"{container}/{name}".lstrip("/")
                for name in sorted(root, key=natural)
                if isinstance(root[name], h5py.Group)
                and (strict or (name[-1:].isdecimal() and not name.startswith(_OBSERVED)))
            ]
            if not (groups or strict) and _common_rows(root):
                groups = [container]  # one episode, whose actions have another name
                check_one_episode(str(file), root)
        numbers = {}
        for group in groups:
            place = _Place(file, group, strict)
            numbers[group.rsplit("/", 1)[-1]] = len(self._places)
            self._places.append(place)
            where = self.where(len(self._places) - 1)
            self.lengths.append(_length(where, opened[group or "/"], strict))
        if strict:
            self.rate = _rate(file, root.attrs.get("env_args"))
        if "mask" in opened:
            self._find_parts(file, opened["mask"], numbers)

    def _find_parts(self, file: Path, masks: Any, numbers: dict[str, int]) -> None:
        parts = {}
        for name in masks:
            with damaged(f"{file}, mask/{name}"):
                demos = [one.decode() if isinstance(one, bytes) else one for one in masks[name][:]]
            if lost := [demo for demo in demos if demo not in numbers]:
                self.notes.append(f"mask/{name} names {lost[:3]}, which are not there: no part")
            else:
                parts[name] = sorted(numbers[demo] for demo in demos)
        self.parts |= parts


def _actions(group: Any) -> str | None:
    """What the actions of an episode are called."""
    for name in ACTIONS:
        found = group.get(name)
        if hasattr(found, "shape"):
            return name
        if hasattr(found, "keys") and (parts := _arrays(found, f"{name}/")):
            return next(iter(parts))
    return None


def _length(where: str, group: Any, strict: bool) -> int:
    """The steps of an episode; `strict` if it is one of robomimic's."""
    actions = _actions(group)
    observed = any(name in group for name in _OBSERVED)
    if strict and (actions is None or not observed):
        raise DataError(f"{where}: lacks 'obs' or 'actions'; there are {sorted(group)}")
    if actions is None:
        steps = _common_rows(group)
        if not steps:
            raise DataError(f"{where}: lacks 'actions'; there are {sorted(group)}")
        return steps
    if not group[actions].shape or group[actions].shape[0] == 0:
        raise DataError(f"{where}: {actions} has shape {group[actions].shape}, and no steps")
    steps, told = int(group[actions].shape[0]), group.attrs.get("num_samples")
    if told is not None:
        with damaged(f"{where}: the attribute num_samples"):
            told = int(told)
        if told != steps:
            raise DataError(f"{where}: num_samples is {told}, but there are {steps} actions")
    return steps


def _common_rows(group: Any) -> int:
    """How many rows most arrays of numbers have; 0 if there is no such number."""
    arrays = [array for array in _arrays(group).values() if array.dtype.kind in "fiub"]
    rows = [array.shape[0] for array in arrays if array.shape]
    most = max(rows, key=rows.count, default=0)
    return most if 2 * rows.count(most) > len(rows) else 0


def _arrays(group: Any, prefix: str = "") -> dict[str, Any]:
    """All arrays below a group, by their path; links to other files are not followed."""
    found: dict[str, Any] = {}
    for name in group:
        link = type(group.get(name, getlink=True)).__name__
        child = None if link == "ExternalLink" else group.get(name)  # a link may lead nowhere
        if hasattr(child, "shape"):
            found[f"{prefix}{name}"] = child
        elif hasattr(child, "keys") and prefix.count("/") < 6:
            found |= _arrays(child, f"{prefix}{name}/")
    return found


def _lost(group: Any) -> list[str]:
    """Links below a group that lead nowhere, or to other files."""
    found: list[str] = []

    def look(name: str, link: Any) -> None:
        if type(link).__name__ == "ExternalLink" or group.get(name) is None:
            found.append(name)

    group.visititems_links(look)
    return found


def _features(group: Any, steps: int) -> dict[str, Feature]:
    """Those of an episode: robots first, then objects, as in robomimic's configurations."""
    arrays = _arrays(group)
    observed = any(name in group for name in _OBSERVED)
    top = [
        n for n in arrays if n.count("/") == 1 and n.startswith(tuple(f"{o}/" for o in _OBSERVED))
    ]
    direct = any(_kind(name, arrays[name]) == "vector" for name in top)
    features = [_feature(name, array, direct, observed, steps) for name, array in arrays.items()]
    features.sort(key=lambda one: ("/robot" not in one.name, natural(one.name)))
    return {one.name: one for one in features}


def _feature(name: str, array: Any, direct: bool, observed: bool, steps: int) -> Feature:
    """An array of an episode.

    Args:
        name: its path.
        array: what is there.
        direct: vectors lie under obs itself, and not in its groups.
        observed: there is a group of observations; without one, all arrays may be some.
        steps: of the episode.
    """
    kind, (role, aside) = _kind(name, array), role_of(name)
    if role == "observation" and not name.startswith(_OBSERVED):
        if name.startswith("env_states/"):
            aside = "a state of the simulator"
        role = "" if observed or aside or array.shape[:1] != (steps,) else role
    if role == "" and array.shape[:1] != (steps,):
        kind, aside = "other", aside or f"of shape {array.shape}, and of {steps} steps"
    if name.startswith("next_"):
        role, aside = "", "observed after the action"
    if role == "observation" and kind == "vector" and direct and name.count("/") > 1:
        aside = "in a group of its own"
    return Feature(name, tuple(array.shape[1:]), str(array.dtype), kind, role, aside)


def _kind(name: str, array: Any) -> Any:
    if not array.shape or array.shape[0] == 0:
        return "other"
    bytes_of_a_file = array.ndim == 2 and array.dtype == np.uint8 and array.shape[1] > 256
    if array.dtype.kind in "OS" or bytes_of_a_file:
        row = array[0]
        encoded = not isinstance(row, str) and bytes(bytearray(row))[:4].startswith(_MAGIC)
        return "images" if encoded else "other"
    return kind_of(name, tuple(array.shape[1:]), str(array.dtype))


def _rate(file: Path, text: Any) -> float | None:
    """Steps per second, where the attribute env_args tells."""
    if text is None:
        return None
    where = f"{file}, data: the attribute env_args"
    try:
        told = parse_json(text)
    except (ValueError, TypeError) as error:
        raise DataError(f"{where} is not JSON ({error})") from error
    settings = told.get("env_kwargs") if isinstance(told, dict) else None
    frequency = settings.get("control_freq") if isinstance(settings, dict) else None
    if frequency is None:
        return None
    if isinstance(frequency, bool) or not isinstance(frequency, int | float):
        raise DataError(f"{where} says control_freq {frequency!r}; it must be a number")
    if not (math.isfinite(frequency) and frequency > 0):
        raise DataError(f"{where} says control_freq {frequency}; it must be positive")
    return float(frequency)
