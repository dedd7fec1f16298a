"""An SVG file to a document.

Read are paths, basic shapes, groups, switches, symbols, links to elements (`use`), nested drawings,
transforms, presentation attributes, style sheets and style attributes, and gradients. What else a
file holds (text, images, filters, ...) is left out and named in one warning, by element and id. A
value that is not understood is dropped, as CSS has it, and named likewise.

The XML is not trusted: a file whose entities are more than plain text, that refers to other files,
is larger than `MOST_BYTES`, or is larger than that or has more than `MOST_ELEMENTS` elements once
its links are followed, is refused. Reading takes time in proportion to that size, whatever the
text.
"""

import os
import warnings
from pathlib import Path as FilePath

from scorefield.sds.vector.document import Document
from scorefield.sds.vector.reading.markup import parse_xml
from scorefield.sds.vector.reading.reader import Reader, ReadLimits
from scorefield.sds.vector.reading.values import Refused

__all__ = ["load_svg", "parse_svg"]

MOST_BYTES = 32 * 2**20
MOST_ELEMENTS = 100_000
MOST_DEPTH = 100


def load_svg(path: str | os.PathLike[str]) -> Document:
    """Read an SVG file.

    Raises:
        ValueError: if the file is missing or not SVG, or is refused as unsafe.
    """
    path = FilePath(path)
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise ValueError(f"{size} bytes, more than the {MOST_BYTES} that are read")
        document, left_out = _read(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if left_out:
        warnings.warn(f"{path}: left out {left_out}", UserWarning, stacklevel=2)
    return document


def parse_svg(text: str | bytes) -> Document:
    """The document that the text of an SVG file describes; errors as `load_svg`."""
    document, left_out = _read(text)
    if left_out:
        warnings.warn(f"SVG: left out {left_out}", UserWarning, stacklevel=2)
    return document


def _read(text: str | bytes) -> tuple[Document, str]:
    """The document, and what was left out."""
    if len(text) > MOST_BYTES:
        raise ValueError(f"{len(text)} bytes of SVG, more than the {MOST_BYTES} that are read")
    if isinstance(text, bytes) and text[:2] == b"\x1f\x8b":
        raise ValueError("the file is compressed; unpack it (gunzip) and read the .svg")
    limits = ReadLimits(MOST_ELEMENTS, MOST_BYTES, MOST_DEPTH)
    try:
        reader = Reader(parse_xml(text, MOST_BYTES), limits)
        return reader.document(), reader.source.left_out.text()
    except RecursionError as error:
        raise Refused(limits.too_deep) from error
