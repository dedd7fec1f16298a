"""The files of a folder of episodes: the index and the arrays that grow at their ends."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scorefield.files import parse_json

INDEX = "episodes.json"
"""The file that makes a folder one of episodes."""


def read_index(folder: Path) -> dict[str, Any]:
    """What `episodes.json` says.

    Raises:
        ValueError: it is missing or damaged; the key is named.
    """
    file = folder / INDEX
    try:
        index: dict[str, Any] = parse_json(file.read_text(encoding="utf-8"))
        missing = {"about", "ends", "keys", "rate", "shapes"} - set(index)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{file} cannot be read ({error}); name a folder of episodes") from error
    if missing or not isinstance(index, dict):
        raise ValueError(f"{file} lacks {sorted(missing)}; collect the episodes again")
    ends, keys, rate, shapes = (index[name] for name in ("ends", "keys", "rate", "shapes"))
    if not _whole(ends) or any(b <= a for a, b in zip([0, *ends], ends, strict=False)):
        raise ValueError(f"{file}: ends {ends} do not increase from 1")
    if not (isinstance(keys, list) and _whole([key for key in keys if key is not None])):
        raise ValueError(f"{file}: keys must be seeds or null; got {keys}")
    if len(keys) != len(ends):
        raise ValueError(f"{file}: lists {len(ends)} ends and {len(keys)} keys; one per episode")
    known = isinstance(rate, int | float) and not isinstance(rate, bool)
    if rate is not None and not (known and 0 < rate < float("inf")):
        raise ValueError(f"{file}: rate is {rate!r}; steps per second are positive, or null")
    for name, shape in shapes.items() if isinstance(shapes, dict) else [("shapes", shapes)]:
        axes = 3 if name.startswith("camera.") else 1
        named = name in ("state", "action") or (axes == 3 and Path(name).name == name)
        if not (named and _whole(shape) and len(shape) == axes):
            raise ValueError(
                f"{file}: shapes of {name!r} say {shape}; there are state, action and camera.NAME, "
                "with one, one and three whole numbers"
            )
    return index


def _whole(numbers: Any) -> bool:
    """Whether it is a list of whole numbers."""
    return isinstance(numbers, list) and all(type(one) is int for one in numbers)


def mapped(folder: Path, name: str, shape: tuple[int, ...], steps: int) -> NDArray[Any]:
    """The first steps of a .npy file of the index."""
    file = folder / f"{name}.npy"
    try:
        array = np.lib.format.open_memmap(file, mode="r")
    except Exception as error:  # NumPy's parser of headers raises what Python's tokenizer does
        reason = " ".join(str(error).split())
        raise ValueError(f"{file} cannot be read ({reason}); collect it again") from error
    dtype = np.dtype(np.uint8 if name.startswith("camera.") else np.float32)
    if array.ndim == 0 or len(array) < steps or array.shape[1:] != shape or array.dtype != dtype:
        raise ValueError(
            f"{file} holds {array.dtype} of shape {array.shape}; {INDEX} says {dtype} of "
            f"shape {(steps, *shape)}"
        )
    return array[:steps]


def append(file: Path, rows: NDArray[Any]) -> None:
    """Appends to a .npy file; NumPy's header leaves room for the number of rows to grow."""
    if not file.exists():
        np.save(file, np.ascontiguousarray(rows), allow_pickle=False)
        return
    held = np.load(file, mmap_mode="r", allow_pickle=False).shape[0]
    with file.open("r+b") as stream:
        stream.seek(0, os.SEEK_END)
        stream.write(np.ascontiguousarray(rows).tobytes())
        _write_header(stream, rows, held + len(rows))


def cut(file: Path, steps: int) -> None:
    """Drops the rows that a killed writer left beyond the index."""
    array = np.load(file, mmap_mode="r", allow_pickle=False)
    row, offset = array[:1], int(array.offset)
    size = offset + steps * int(np.prod(array.shape[1:])) * array.itemsize
    if len(array) < steps:
        raise ValueError(f"{file} holds {len(array)} steps; {INDEX} lists {steps}")
    with file.open("r+b") as stream:
        stream.truncate(size)
        _write_header(stream, row, steps)


def _write_header(stream: Any, row: NDArray[Any], steps: int) -> None:
    stream.seek(0)
    header = {
        "shape": (steps, *row.shape[1:]),
        "fortran_order": False,
        "descr": np.lib.format.dtype_to_descr(row.dtype),
    }
    np.lib.format.write_array_header_1_0(stream, header)
