"""What the readers share: errors that name the place, numbers side by side, images as bytes."""

import importlib
import io
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scorefield.images import FORMATS

_LAST_STEP = (
    *("terminals", "timeouts", "terminations", "truncations", "dones"),
    *("terminated", "truncated", "is_last", "is_terminal"),
)
_FIRST_STEP = ("is_first", "episode_starts")
_NUMBERS = ("episode_index", "episode_id", "episode_ids")


class DataError(ValueError):
    """Data that are refused, in words that name the file and the key."""


def files_below(folder: Path, suffixes: Sequence[str], deep: int = 4) -> list[Path]:
    """The files of these suffixes in a folder or, where it has none, in those below it.

    Args:
        folder: where to look. What begins with a dot is no data, such as the ._ files of macOS.
        suffixes: in lower case.
        deep: how many folders below it are looked into.
    """
    found: list[Path] = []
    for place, folders, names in os.walk(folder):
        here, depth = Path(place), len(Path(place).relative_to(folder).parts)
        found += [
            here / name
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in suffixes
        ]
        if (found and depth == 0) or depth == deep:
            folders.clear()
        folders[:] = [name for name in folders if not name.startswith(".")]
    return found


@contextmanager
def damaged(where: str) -> Iterator[None]:
    """What a library raises inside, on data that it did not expect, becomes a `DataError`."""
    try:
        yield
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{where}: the file is missing; fetch it again") from error
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(
            f"{where}: cannot be read ({type(error).__name__}: {reason}); fetch or write it again"
        ) from error


def library(name: str, kind: str) -> Any:
    """An optional library.

    Raises:
        DataError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise DataError(
            f"{kind} needs {name}, which is not installed: pip install 'scorefield[control]'"
        ) from error


def joined(where: str, parts: Mapping[str, NDArray[Any]], steps: int) -> NDArray[Any]:
    """(T, D): arrays (T,) or (T, ...) side by side, in their order; of none, (T, 0).

    Raises:
        DataError: one has another number of steps, or holds no numbers.
    """
    lengths = {name: len(array) for name, array in parts.items()}
    if set(lengths.values()) - {steps}:
        raise DataError(f"{where}: arrays differ in steps: {lengths}, and there are {steps}")
    for name, array in parts.items():
        if array.dtype.kind not in "fiub":
            raise DataError(f"{where}: {name} is {array.dtype}; it must be numbers")
    columns = [np.zeros((steps, 0), dtype=np.float32)]
    columns += [array.reshape(steps, -1) for array in parts.values()]
    return np.concatenate(columns, axis=1)


def as_bytes(where: str, images: NDArray[Any], *, unit: bool) -> NDArray[np.uint8]:
    """(T, H, W, 3) uint8 of colours or greys, the channel first or last, or without one.

    Args:
        where: they are from.
        images: uint8, or numbers in [0, 255]; a fourth channel, the opacity, is left out.
        unit: floats lie in [0, 1].

    Raises:
        DataError: the shape is another, or values lie elsewhere.
    """
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim == 4 and images.shape[-1] not in (1, 3, 4) and images.shape[1] in (1, 3, 4):
        images = np.moveaxis(images, 1, -1)
    if images.ndim == 4 and images.shape[-1] == 4:
        images = images[..., :3]
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape:
        raise DataError(f"{where}: has shape {images.shape}; images are (steps, height, width, 3)")
    if images.dtype != np.uint8:
        low, high = float(images.min()), float(images.max())
        if not (low >= 0 and high <= (1 if unit else 255)):
            raise DataError(
                f"{where}: is {images.dtype} in [{low:g}, {high:g}]; images lie in [0, 255], "
                "or in [0, 1] in all episodes"
            )
        images = np.rint(images * 255 if unit else images).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(images, (*images.shape[:3], 3)))


def decoded(where: str, files: list[bytes]) -> NDArray[np.uint8]:
    """(T, H, W, 3) of the contents of image files, one per step.

    Raises:
        DataError: one is damaged, of another size than the first, or shows depth.
    """
    frames: list[NDArray[np.uint8]] = []
    for step, data in enumerate(files):
        here = f"{where}, step {step}"
        with damaged(here), Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.mode.startswith(("I", "F")):  # Pillow would cut off all beyond 255
                raise DataError(f"{here}: the image is of mode {image.mode}: depth, no colours")
            frames.append(np.asarray(image.convert("RGB")))
        if frames[-1].shape != frames[0].shape:
            raise DataError(
                f"{here}: the image has shape {frames[-1].shape}, the first {frames[0].shape}"
            )
    return np.stack(frames)


def episodes_in(where: str, arrays: Mapping[str, Any], steps: int) -> list[tuple[int, int]]:
    """First row of each episode and the row after its last, of arrays with a row per step.

    Several lie one after another where `terminals`, `timeouts` or the like mark their last steps,
    as in D4RL's files, `is_first` or the like their first ones, `episode_ids` or the like number
    the steps, or `episode_ends` lists where they end.

    Args:
        where: they are from.
        arrays: by their names.
        steps: their rows.

    Raises:
        DataError: marks have another number of rows, or mark steps that follow each other, as those
            do that say that a task stays solved.
    """
    after = np.zeros(steps, dtype=bool)  # rows after which another episode begins
    marks = []
    for name in (*_LAST_STEP, *_FIRST_STEP, *_NUMBERS):
        if name not in arrays:
            continue
        rows = np.asarray(arrays[name][()]).reshape(-1)
        if name in _NUMBERS:
            ends = rows[1:] != rows[:-1]
        else:
            ends = (rows[1:] if name in _FIRST_STEP else rows[:-1]).astype(bool)
        if not ends.any():
            continue
        if len(rows) != steps:
            raise DataError(f"{where}: {name} has {len(rows)} rows, and there are {steps} steps")
        marks.append(name)
        after[:-1] |= ends
    bounds = [0, *(np.flatnonzero(after) + 1).tolist(), steps]
    if not marks and "episode_ends" in arrays:
        marks = ["episode_ends"]
        bounds = [0, *np.asarray(arrays["episode_ends"][()]).reshape(-1).tolist()]
        if bounds[-1] != steps:
            raise DataError(f"{where}: episode_ends ends at {bounds[-1]} of {steps} steps")
    if len(bounds) > 2 and np.diff(bounds).min() < 2:
        raise DataError(
            f"{where}: {' and '.join(marks)} would make episodes of one step or none; write each "
            "episode to a group (episode_0/actions, episode_0/observations) or file of its own"
        )
    return [*itertools.pairwise(bounds)]


def told_apart(where: str, episodes: int, steps: int) -> str:
    """A note that a file of many episodes was read as such."""
    return f"{where}: {steps} steps, taken apart at their marks into {episodes} episodes"
