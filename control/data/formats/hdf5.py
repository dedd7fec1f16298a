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
D4RL, and others whose episodes lie one after another: as `episodes_in` finds them
    actions                       (N, A)
    observations                  (N, d)
    terminals, timeouts           (N,), true at the last step of an episode
Of a folder without such files, those in the folders below it are read, as of Minari and DROID.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scorefield.control.data.episode import Episode
from scorefield.control.data.formats.demonstrations import Demonstrations
from scorefield.control.data.formats.features import natural
from scorefield.control.data.formats.hdf5_groups import (
    OBSERVED,
    actions_of,
    arrays_of,
    common_rows,
    features_of,
    length_of,
    lost_links,
    lost_sources,
    rate_of,
)
from scorefield.control.data.formats.reading import (
    DataError,
    damaged,
    decoded,
    episodes_in,
    files_below,
    library,
    told_apart,
)

SUFFIXES = (".hdf5", ".h5", ".hdf")
"""What HDF5 files are called."""


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
    start: int = 0
    rows: int | None = None  # of the arrays, where an episode is only a part of them


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
            files = sorted(files_below(path, SUFFIXES), key=lambda file: natural(str(file)))
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
        number = next((i for i, steps in enumerate(self.lengths) if steps), 0)
        first = self._places[number]
        with damaged(self.where(number)), self._opened(first.file) as opened:
            rows = self._rows(number)
            self.features = features_of(opened[first.group or "/"], rows)
            if lost := lost_links(opened[first.group or "/"]):
                self.notes.append(f"{lost} are links to other files or to nothing: not followed")

    def where(self, number: int) -> str:
        """The file and the demo."""
        place = self._places[number]
        parts = [str(place.file), place.group.rsplit("/", 1)[-1]]
        parts += [f"from step {place.start}"] if place.rows is not None else []
        return ", ".join(part for part in parts if part)

    def _rows(self, number: int) -> int:
        """Of the arrays that an episode lies in."""
        rows = self._places[number].rows
        return self.lengths[number] if rows is None else rows

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
                        f"{sorted(arrays_of(group))}"
                    )
            total = self._rows(number)
            extra = self._has_a_row_more(group, place, names, total)
            for name in names:
                with damaged(f"{where}: {name}"):
                    array = group[name]
                    if lost := lost_sources(array):
                        raise DataError(f"{where}: {name} takes rows from {lost}, which is missing")
                    cut = name.startswith(OBSERVED) and extra
                    if array.shape[0] != total + cut:
                        lengths = {n: group[n].shape[0] for n in names}
                        raise DataError(f"{where}: arrays differ in steps: {lengths}")
                    rows = array[place.start : place.start + steps]
                    images = self.features[name].kind == "images"
                    if images and (rows.dtype.kind in "OS" or rows.ndim == 2):
                        rows = decoded(f"{where}: {name}", [bytes(bytearray(row)) for row in rows])
                    found[name] = np.asarray(rows)
        return found

    def _has_a_row_more(self, group: Any, place: _Place, names: Sequence[str], steps: int) -> bool:
        """Whether what follows the last action was observed as well."""
        seen = [group[name].shape[0] for name in names if name.startswith(OBSERVED)]
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
        if actions_of(root):
            groups = [container]
        else:
            groups = [
                f"{container}/{name}".lstrip("/")
                for name in sorted(root, key=natural)
                if isinstance(root[name], h5py.Group)
                and (strict or (name[-1:].isdecimal() and not name.startswith(OBSERVED)))
            ]
            groups = groups or self._with_actions(root)
            if not (groups or strict) and common_rows(root):
                groups = [container]  # whose actions have another name
        numbers = {}
        for group in groups:
            if "/" in group and not container:
                self.parts.setdefault(group.split("/")[0], []).append(len(self._places))
            numbers[group.rsplit("/", 1)[-1]] = len(self._places)
            self._places.append(_Place(file, group, strict))
            where = self.where(len(self._places) - 1)
            steps = length_of(where, opened[group or "/"], strict)
            if group == container:
                self._take_apart(file, root, steps)
            else:
                self.lengths.append(steps)
        if strict:
            self.rate = rate_of(file, root.attrs.get("env_args"))
        if "mask" in opened:
            self._find_parts(file, opened["mask"], numbers)

    def _take_apart(self, file: Path, root: Any, steps: int) -> None:
        """Puts the episodes that lie one after another in place of the whole, which came last."""
        whole = self._places.pop()
        episodes = episodes_in(str(file), root, steps)
        if len(episodes) > 1:
            self.notes.append(told_apart(file.name, len(episodes), steps))
        for start, end in episodes:
            rows = steps if len(episodes) > 1 else None
            self._places.append(replace(whole, start=start, rows=rows))
            self.lengths.append(end - start)

    def _with_actions(self, root: Any) -> list[str]:
        """Groups of any name, if each of them, or each in each of them, holds actions."""
        children = {name: root[name] for name in sorted(root, key=natural)}
        inside = [f"{n}/{c}" for n, one in children.items() for c in sorted(one, key=natural)]
        for names in (list(children), inside):
            every = [root[name] for name in names]
            if len(names) > 1 and all(isinstance(one, self._h5py.Group) for one in every):
                if all(actions_of(one) for one in every):
                    return names
        return []

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
