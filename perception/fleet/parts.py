"""The parts of a data set: some images each, in an order that does not change."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from scorefield.perception.benchmarks import labelled_images as data
from scorefield.perception.benchmarks.labelled_images import LabelledImage
from scorefield.perception.benchmarks.layouts import IMAGES, check_layout, some

Kind = Literal["imagefolder", "webdataset", "parquet"]


@dataclass(frozen=True)
class Part:
    """Images of a data set that are done together.

    name: "00002-00013" is the 13th part of the 2nd file, both counted from 0.
    file: the shard or table; of a folder of images the folder.
    start: of a shard the byte, of a table the row at which the part begins.
    count: of samples.
    images: of a folder of images, where they are in it.
    version: a digest of what is read: names, sizes, times of change, place.
    damage: why the rest of the file is not read; then the part has no images.
    """

    name: str
    kind: Kind
    file: Path
    start: int
    count: int
    images: tuple[str, ...]
    version: str
    damage: str | None = None

    def labelled(self) -> Iterator[LabelledImage]:
        """Its images, one after the other.

        Raises:
            ValueError: the file is damaged; the images before have been given.
        """
        if self.damage is not None:
            raise ValueError(self.damage)
        if self.kind == "imagefolder":
            for name in self.images:
                yield LabelledImage(name, "", lambda path=self.file / name: path)  # type: ignore[misc]
        elif self.kind == "webdataset":
            samples = data.shard_samples(self.file, self.start)
            yield from (image for _, image in islice(samples, self.count))
        else:
            yield from islice(data.table_rows(self.file, self.start), self.count)


def parts_of(kind: Kind, folder: Path, split: str, size: int) -> list[Part]:
    """The parts of a data set, `size` images each, and fewer at the end of a file.

    Contents are not read: of a folder the names, of shards the headers, of tables the footers. A
    damaged shard ends in a part without images that says so, and the others are not affected.

    Args:
        kind: "imagefolder", all images in a folder and below; "webdataset", SPLIT*.tar;
            "parquet", SPLIT*.parquet with a column "image".
        folder: Of the data set.
        split: A folder in it, or what the names of files begin with.
        size: Images of a part.

    Raises:
        ValueError: there is nothing of that kind.
    """
    if kind == "imagefolder":
        check_layout(folder, "imagefolder", *([split] if split else []))
        return _of_folder(folder / split, size)
    if kind == "webdataset":
        return _of_files(kind, data.shard_files(folder, split), size)
    return _of_files(kind, data.parquet_files(folder, split), size)


def _of_folder(folder: Path, size: int) -> list[Part]:
    found = _images_below(folder)
    some(found, folder, f"images ({', '.join(IMAGES)})")
    parts = list[Part]()
    for first in range(0, len(found), size):
        images = tuple(found[first : first + size])
        version = _digest(*(f"{image} {_state(folder / image)}" for image in images))
        name = f"{0:05d}-{len(parts):05d}"
        parts.append(Part(name, "imagefolder", folder, 0, len(images), images, version))
    return parts


def _images_below(folder: Path) -> list[str]:
    """Where the images below a folder are in it, in order."""
    found = []
    for where, _, names in os.walk(folder):
        below = os.path.relpath(where, folder)
        found += [
            name if below == "." else f"{below}/{name}"
            for name in names
            if name.lower().endswith(IMAGES) and not name.startswith(".")
        ]
    return sorted(found)


def _of_files(kind: Kind, files: list[Path], size: int) -> list[Part]:
    parts = list[Part]()
    for number, file in enumerate(files):
        state = _state(file)
        found, damage = _divided(_starts(kind, file), size)
        for index, (start, count) in enumerate(found):
            name, version = (
                f"{number:05d}-{index:05d}",
                _digest(file.name, state, f"{start} {count}"),
            )
            parts.append(Part(name, kind, file, start, count, (), version))
        if damage is not None:
            name = f"{number:05d}-{len(found):05d}"
            parts.append(Part(name, kind, file, 0, 0, (), _digest(file.name, state), damage))
    return parts


def _starts(kind: Kind, file: Path) -> Iterator[int]:
    """Where the samples of a file begin."""
    if kind == "webdataset":
        yield from data.shard_starts(file)
    else:
        yield from range(data.table_length(file))


def _divided(starts: Iterator[int], size: int) -> tuple[list[tuple[int, int]], str | None]:
    """Start and length of every part, and why they end early."""
    found = list[tuple[int, int]]()
    try:
        for index, start in enumerate(starts):
            if index % size == 0:
                found.append((start, 1))
            else:
                found[-1] = (found[-1][0], index % size + 1)
    except ValueError as error:
        return found, str(error)
    return found, None


def _state(path: str | Path) -> str:
    """The size of a file and when it changed; of one that cannot be asked nothing."""
    try:
        about = os.stat(path)
    except OSError:
        return ""
    return f"{about.st_size} {about.st_mtime_ns}"


def _digest(*words: str) -> str:
    return hashlib.blake2b("\n".join(words).encode("utf-8", "replace"), digest_size=12).hexdigest()
