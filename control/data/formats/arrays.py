"""What the readers share: pictures as bytes, state vectors from several keys, missing libraries."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def library(name: str, kind: str) -> Any:
    """An optional library.

    Raises:
        ValueError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(
            f"{kind} needs {name}, which is not installed: pip install 'scorefield[control]'"
        ) from error


def joined(where: str, parts: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """(T, D): arrays (T,) or (T, d) side by side, in their order.

    Raises:
        ValueError: one has another shape or number of steps.
    """
    columns = []
    for name, array in parts.items():
        if array.ndim not in (1, 2):
            raise ValueError(
                f"{where}: {name} has shape {array.shape}; a part of the state has (steps,) or "
                "(steps, size)"
            )
        columns.append(array.reshape(len(array), -1))
    lengths = {name: len(array) for name, array in parts.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{where}: parts of the state differ in steps: {lengths}")
    return np.concatenate(columns, axis=1)


def as_bytes(where: str, name: str, pictures: NDArray[Any]) -> NDArray[np.uint8]:
    """(T, H, W, 3) uint8 from uint8 or from floats in [0, 255]; (T, 3, H, W) is turned.

    Raises:
        ValueError: it is neither, or its values lie elsewhere.
    """
    if pictures.ndim == 4 and pictures.shape[-1] != 3 and pictures.shape[1] == 3:
        pictures = np.moveaxis(pictures, 1, -1)
    if pictures.dtype != np.uint8 and pictures.dtype.kind == "f":
        low, high = float(pictures.min()), float(pictures.max())
        if not (low >= 0 and 1 < high <= 255):
            raise ValueError(
                f"{where}: {name} is {pictures.dtype} in [{low:g}, {high:g}]; pictures of floats "
                "lie in [0, 255]"
            )
        pictures = np.rint(pictures).astype(np.uint8)
    return np.asarray(pictures)


def chosen(where: str, kind: str, wanted: Sequence[str], there: Sequence[str]) -> list[str]:
    """The wanted keys.

    Raises:
        ValueError: one is missing, or none is wanted.
    """
    missing = [key for key in wanted if key not in there]
    if missing or not wanted:
        lacks = f"lacks {missing}" if missing else "names no key"
        raise ValueError(f"{where}: {kind} {lacks}; there are {sorted(there)}")
    return list(wanted)
