"""Matrices of MATLAB's files up to version 7, which SciPy's reader trusts too much.

A damaged file can end the process that SciPy's compiled reader works in, and with it a whole
evaluation; here every length is compared with what is there before it is used. After MathWorks,
"MAT-File Format" (level 5).
"""

import struct
import zlib
from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["read_mat_matrix"]

_HEADER = 128
_MATRIX, _COMPRESSED, _CHARACTERS, _INT32, _UINT32 = 14, 15, 1, 5, 6
_NUMBERS = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"
}  # fmt: skip
_NUMERIC_CLASSES = range(6, 16)  # double to uint64
_COMPLEX = 0x0800
_MOST = 2**28  # bytes of an array that is unpacked


def read_mat_matrix(path: Path, name: str) -> NDArray[np.float64]:
    """A matrix of real numbers, by its name, whatever else the file holds.

    Raises:
        ValueError: no such matrix, a file of another kind or version, or one that is damaged.
        OSError: it cannot be read.
    """
    data = path.read_bytes()
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None:
        raise ValueError("no MATLAB file of level 5 (versions 5 to 7; save with -v7)")
    names = []
    for kind, body in _elements(memoryview(data)[_HEADER:], order):
        if kind == _COMPRESSED:
            kind, body = next(_elements(memoryview(_unpacked(body)), order), (0, body))
        if kind != _MATRIX:
            continue
        parts = list(_elements(body, order))
        if len(parts) < 3 or [kind for kind, _ in parts[:3]] != [_UINT32, _INT32, _CHARACTERS]:
            raise ValueError("an array without flags, dimensions and name")
        (_, flags), (_, sides), (_, called) = parts[:3]
        names.append(bytes(called).decode("ascii", "replace"))
        if names[-1] == name:
            return _numbers(flags, sides, parts[3:], order)
    raise ValueError(f"no matrix {name!r}, but {', '.join(names) or 'nothing'}")


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Kind and content of each data element in a row."""
    at = 0
    while at < len(data):
        if at + 8 > len(data):
            raise ValueError("it ends within an element")
        kind, size = struct.unpack_from(f"{order}II", data, at)
        if kind >> 16:  # a small element: its content stands in the tag
            kind, size, first, end = kind & 0xFFFF, kind >> 16, at + 4, at + 8
        else:
            first = at + 8
            end = first + (size if kind == _COMPRESSED else -(-size // 8) * 8)
        if first + size > min(end, len(data)):
            raise ValueError("an element is longer than what holds it")
        yield kind, data[first : first + size]
        at = end


def _unpacked(body: memoryview) -> bytes:
    unpacking = zlib.decompressobj()
    try:
        data = unpacking.decompress(body, _MOST)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not unpacking.eof:
        raise ValueError(f"a compressed array is cut short, or larger than {_MOST} bytes")
    return data


def _numbers(
    flags: memoryview, sides: memoryview, parts: list[tuple[int, memoryview]], order: str
) -> NDArray[np.float64]:
    """The real numbers of an array of two dimensions."""
    if len(flags) != 8 or len(sides) != 8 or not parts:
        raise ValueError("the array is no matrix")
    about = struct.unpack_from(f"{order}I", flags)[0]
    rows, columns = struct.unpack(f"{order}ii", sides)
    kind, body = parts[0]
    if about & 0xFF not in _NUMERIC_CLASSES or about & _COMPLEX or kind not in _NUMBERS:
        raise ValueError("the array does not hold real numbers")
    dtype = np.dtype(f"{order}{_NUMBERS[kind]}")
    if min(rows, columns) < 0 or prod((rows, columns, dtype.itemsize)) != len(body):
        raise ValueError(f"{len(body)} bytes are no {rows} x {columns} numbers")
    values = np.frombuffer(body, dtype).reshape((rows, columns), order="F")
    return values.astype(np.float64)
