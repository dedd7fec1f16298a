"""Files of numpy: a .npz per episode, one or a folder of them, with an array per feature.

action, or actions     (T, A)
any other name         (T, d) or images (T, H, W, 3)
A file may hold several episodes one after another: `episodes_in` says how they are told apart.
"""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from scorefield.control.data.formats.demonstrations import Demonstrations
from scorefield.control.data.formats.features import ACTIONS, Feature, kind_of, natural, role_of
from scorefield.control.data.formats.reading import (
    DataError,
    damaged,
    episodes_in,
    files_below,
    told_apart,
)

SUFFIX = ".npz"
"""What these files are called."""


@dataclass(frozen=True)
class _Place:
    """Where an episode is: its first row in a file of `rows` steps."""

    file: Path
    start: int
    rows: int


class Npz(Demonstrations):
    """Episodes in files of numpy; `Demonstrations`. Nothing is unpickled."""

    format = "numpy files"

    def __init__(self, path: Path) -> None:
        """Reads the headers of the arrays.

        Raises:
            ValueError: a file is damaged, has no actions of T steps, or holds Python objects.
        """
        self.path, self.parts, self.rate, self.notes = path, {}, None, []
        files = [path]
        if path.is_dir():
            files = sorted(files_below(path, [SUFFIX]), key=lambda file: natural(str(file)))
        self._places: list[_Place] = []
        self.features: dict[str, Feature] = {}
        self._held: tuple[Path, dict[str, NDArray[Any]]] | None = None
        self.lengths: list[int] = []
        for file in files:
            headers = _headers(file)
            steps = _steps(file, headers)
            episodes = [(0, 0)]
            if steps:
                with damaged(str(file)), np.load(file, allow_pickle=False) as arrays:
                    episodes = episodes_in(str(file), arrays, steps)
            if len(episodes) > 1:
                self.notes.append(told_apart(file.name, len(episodes), steps))
            self._places += [_Place(file, start, steps) for start, _ in episodes]
            self.lengths += [end - start for start, end in episodes]
            if steps and not any(self.lengths[: -len(episodes)]):  # of the first with steps
                self.features = {n: _feature(n, *one, steps) for n, one in headers.items()}

        if not self.features:
            raise DataError(f"{path}: no array of any episode has a row; there is nothing to learn")

    def where(self, number: int) -> str:
        """The file, and the first step where it holds several episodes."""
        place = self._places[number]
        whole = self.lengths[number] == place.rows
        return str(place.file) if whole else f"{place.file}, from step {place.start}"

    def arrays(self, number: int, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Features of an episode."""
        place = self._places[number]
        found = self._whole(place, names)
        # A copy, so that a part of a large file does not hold all of it.
        part = slice(place.start, place.start + self.lengths[number])
        return {name: found[name][part].copy() for name in names}

    def _whole(self, place: _Place, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Arrays of a file; those last asked for are kept, since episodes share them."""
        file = place.file
        held = self._held[1] if self._held is not None and self._held[0] == file else {}
        if not set(names) <= set(held):
            held = {}
            with damaged(str(file)), np.load(file, allow_pickle=False) as arrays:
                for name in names:
                    if name not in arrays:
                        raise DataError(
                            f"{file}: lacks {name!r}, which the first episode has; there are "
                            f"{sorted(arrays)}"
                        )
                    with damaged(f"{file}: {name}"):
                        held[name] = np.asarray(arrays[name])
                    if held[name].shape[:1] != (place.rows,):
                        raise DataError(
                            f"{file}: {name} is of shape {held[name].shape}, and there are "
                            f"{place.rows} actions"
                        )
            self._held = (file, held)
        return held


def _headers(file: Path) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Shape and dtype of every array."""
    found = {}
    with damaged(str(file)), zipfile.ZipFile(file) as archive:
        for member in archive.namelist():
            name = member.removesuffix(".npy")
            with damaged(f"{file}: {name}"), archive.open(member) as stream:
                version = npy.read_magic(stream)
                reader = npy.read_array_header_1_0
                if version != (1, 0):
                    reader = npy.read_array_header_2_0
                shape, _, dtype = reader(stream)
            found[name] = (shape, dtype)
    return found


def _steps(file: Path, headers: dict[str, tuple[tuple[int, ...], np.dtype[Any]]]) -> int:
    """How many there are: rows of the actions, or without any, of most arrays."""
    held = {name: shape[0] for name, (shape, _) in headers.items() if shape}
    if held and not any(held.values()):
        return 0  # an episode that never began; it is refused where it is asked for
    rows = {name: count for name, count in held.items() if count}
    named = [rows[name] for name in ACTIONS if name in rows]
    if not rows or (not named and set(ACTIONS) & set(headers)):
        raise DataError(f"{file}: holds no arrays with a row per step; there are {sorted(headers)}")
    pictures = [n for n, (shape, _) in headers.items() if len(shape) == 3 and shape[-1] == 3]
    if pictures and any(len(headers[name][0]) == 1 for name in ACTIONS if name in headers):
        raise DataError(
            f"{file}: {pictures[0]} is one image, so this is one step, as in CALVIN's files; write "
            "a .npz per episode, whose arrays have a row per step"
        )
    counts = list(rows.values())
    return named[0] if named else max(counts, key=counts.count)


def _feature(name: str, shape: tuple[int, ...], dtype: np.dtype[Any], steps: int) -> Feature:
    kind = kind_of(name, tuple(shape[1:]), str(dtype))
    role, aside = role_of(name, kind)
    if not shape or (shape[0] != steps and role != "observation"):
        kind, aside = "other", f"of shape {shape}, and not a row for each of {steps} steps"
    broken = "it holds Python objects; write numbers" if dtype.hasobject else ""
    return Feature(name, tuple(shape[1:]), str(dtype), kind, role, aside, broken)
