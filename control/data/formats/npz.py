"""Files of numpy: a .npz per episode, one or a folder of them, with an array per feature.

action, or actions     (T, A)
any other name         (T, d) or images (T, H, W, 3)
"""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from scorefield.control.data.formats.demonstrations import Demonstrations
from scorefield.control.data.formats.features import ACTIONS, Feature, kind_of, natural, role_of
from scorefield.control.data.formats.reading import (
    DataError,
    check_one_episode,
    damaged,
    files_below,
)

SUFFIX = ".npz"
"""What these files are called."""


class Npz(Demonstrations):
    """Episodes in files of numpy; `Demonstrations`. Nothing is unpickled."""

    format = "numpy files"

    def __init__(self, path: Path) -> None:
        """Reads the headers of the arrays.

        Raises:
            ValueError: a file is damaged, has no actions of T steps, or holds Python objects.
        """
        self.path, self.parts, self.rate, self.notes = path, {}, None, []
        self._files = [path]
        if path.is_dir():
            self._files = sorted(files_below(path, [SUFFIX]), key=lambda file: natural(str(file)))
        self.lengths: list[int] = []
        for number, file in enumerate(self._files):
            headers = _headers(file)
            steps = _steps(file, headers)
            self.lengths.append(steps)
            with damaged(str(file)), np.load(file, allow_pickle=False) as arrays:
                check_one_episode(str(file), arrays)
            if number == 0:
                self.features = {n: _feature(n, *one, steps) for n, one in headers.items()}

    def where(self, number: int) -> str:
        """The file."""
        return str(self._files[number])

    def arrays(self, number: int, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Features of an episode."""
        where = self.where(number)
        found: dict[str, NDArray[Any]] = {}
        with damaged(where), np.load(self._files[number], allow_pickle=False) as arrays:
            for name in names:
                if name not in arrays:
                    raise DataError(
                        f"{where}: lacks {name!r}, which the first episode has; there are "
                        f"{sorted(arrays)}"
                    )
                with damaged(f"{where}: {name}"):
                    found[name] = np.asarray(arrays[name])
                if found[name].shape[:1] != (self.lengths[number],):
                    raise DataError(
                        f"{where}: {name} is of shape {found[name].shape}, and there are "
                        f"{self.lengths[number]} actions"
                    )
        return found


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
    rows = {name: shape[0] for name, (shape, _) in headers.items() if shape and shape[0]}
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
