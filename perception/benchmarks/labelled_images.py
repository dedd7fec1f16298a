"""Images with labels: folders by class, WebDataset's shards, Hugging Face's Parquet."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scorefield.files import parse_json
from scorefield.perception.benchmarks.layouts import (
    IMAGES,
    check_layout,
    images_in,
    reading,
    some,
    what_is_in,
)

_LABELS = ("cls", "txt", "json")

_DIGITS = 10  # of a number; more are no class


@dataclass(frozen=True)
class LabelledImage:
    """An image of a data set.

    name: of the image, once in the data set.
    label: as the data set writes it; a number where names are given apart.
    source: a file, or an open image file's bytes.
    """

    name: str
    label: str | int
    source: Callable[[], Path | io.BytesIO]

    def content(self) -> bytes:
        """The image's file.

        Raises:
            ValueError: the sample has none.
            OSError: it cannot be read.
        """
        source = self.source()
        return source.read_bytes() if isinstance(source, Path) else source.getvalue()


def content_digest(content: bytes) -> str:
    """What tells one image from another: 56 bits of BLAKE2b, in hexadecimal."""
    return hashlib.blake2b(content, digest_size=7).hexdigest()


def noise_key(digest: str) -> int:
    """What keys the noise of an image, wherever it is and whatever else is judged."""
    return int.from_bytes(bytes.fromhex(digest), "little")


def imagefolder_images(folder: Path, split: str = "") -> list[LabelledImage]:
    """LABEL/*.jpg, as torchvision's ImageFolder and Hugging Face's imagefolder read it.

    split: a folder above the labels, such as val.

    Raises:
        ValueError: a folder without folders of images.
    """
    where = folder / split
    check_layout(folder, "imagefolder", *([split] if split else []))
    labels = sorted(path for path in where.iterdir() if path.is_dir())
    found = [
        LabelledImage(f"{label.name}/{path.name}", label.name, lambda path=path: path)  # type: ignore[misc]
        for label in labels
        for path in images_in(label)
    ]
    if not found:
        raise ValueError(
            f"{where} is not laid out as imagefolder: a folder for each label, with images "
            f"({', '.join(IMAGES)}), is missing; {what_is_in(where)}"
        )
    return found


def webdataset_images(folder: Path, split: str = "") -> Iterator[LabelledImage]:
    """Shards *.tar, whose members of one key, up to the first dot of their name, are a sample.

    A sample has an image (KEY.jpg) and a label: KEY.cls, KEY.txt, or "label" in KEY.json. Shards
    are read from their beginning to their end, one sample in memory (webdataset/webdataset, "The
    WebDataset Format").

    split: what the shards' names begin with.

    Raises:
        ValueError: a folder without shards. A shard that is damaged raises it when it is reached,
            a sample when its image is asked for.
    """
    shards = shard_files(folder, split)
    return (image for shard in shards for image in _of_shard(shard))


def shard_files(folder: Path, split: str = "") -> list[Path]:
    """SPLIT*.tar, by name.

    Raises:
        ValueError: there are none.
    """
    shards = sorted(folder.glob(f"{split}*.tar"))
    some(shards, folder, f"shards ({split}*.tar)")
    return shards


def _of_shard(shard: Path) -> Iterator[LabelledImage]:
    return (image for _, image in shard_samples(shard))


def shard_samples(shard: Path, start: int = 0) -> Iterator[tuple[int, LabelledImage]]:
    """The samples of a shard, each with the byte at which it begins.

    start: byte at which the first one that is wanted begins.

    Raises:
        ValueError: the shard is damaged; the samples before have been given.
    """
    for begin, key, sample in _samples(shard, start, contents=True):
        yield begin, _of_sample(shard, key, sample)


def shard_starts(shard: Path) -> Iterator[int]:
    """The bytes at which the samples of a shard begin; their contents are not read.

    Raises:
        ValueError: the shard is damaged; the samples before have been given.
    """
    return (begin for begin, _, _ in _samples(shard, 0, contents=False))


def _samples(
    shard: Path, start: int, *, contents: bool
) -> Iterator[tuple[int, str, dict[str, bytes]]]:
    """Beginning, key and contents by suffix (b"" unless wanted) of whole samples."""
    begin, key, sample = start, "", dict[str, bytes]()
    with reading(shard, "a shard of WebDataset"), shard.open("rb") as raw:
        raw.seek(start)  # the members of a tar stand by themselves
        with tarfile.open(fileobj=raw, mode="r:") as opened:
            for member in _members(opened, shard.stat().st_size):
                parent, _, name = member.name.rpartition("/")
                stem, _, suffix = name.partition(".")
                this = f"{parent}/{stem}".lstrip("./")
                if this != key:
                    if sample:
                        yield begin, key, sample
                    begin, key, sample = member.offset, this, {}
                file = opened.extractfile(member) if contents else None
                sample[suffix.lower()] = b"" if file is None else file.read()
    if sample:
        yield begin, key, sample


def _members(shard: tarfile.TarFile, whole: int) -> Iterator[tarfile.TarInfo]:
    """The files in an open shard of so many bytes."""
    while (member := shard.next()) is not None:
        shard.members.clear()  # type: ignore[attr-defined]  # it would grow with the shard
        if not member.isfile():
            continue
        if member.size > whole:  # a sparse one, which would be read as gigabytes of zeros
            raise ValueError(f"{member.name} is larger than the shard")
        yield member


def _of_sample(shard: Path, key: str, sample: dict[str, bytes]) -> LabelledImage:
    images = [sample[suffix] for suffix in sample if f".{suffix}" in IMAGES]
    written = next((suffix for suffix in _LABELS if suffix in sample), None)
    name = f"{shard.name}/{key}"

    def source() -> io.BytesIO:
        if not images:
            raise ValueError(f"{name} has no image, only {', '.join(sorted(sample))}")
        return io.BytesIO(images[0])

    text = "" if written is None else sample[written].decode("utf-8", "replace").strip()
    return LabelledImage(name, _label(_in_json(text) if written == "json" else text), source)


def _in_json(text: str) -> Any:
    """The label of a sample's JSON; none if it is damaged, which then is no name of a class."""
    try:
        return parse_json(text).get("label", "")
    except (ValueError, AttributeError):
        return ""


def parquet_images(folder: Path, split: str = "") -> tuple[Iterator[LabelledImage], list[str]]:
    """SPLIT*.parquet with a column of images and one of labels, and the names of the labels.

    As Hugging Face's datasets writes them: "image" is {bytes, path} and "label" a number whose
    names stand in the schema's metadata; plain bytes and labels in words are read as well. Files
    are read in batches of rows.

    Raises:
        ValueError: a folder without such files.
    """
    import pyarrow.parquet as parquet

    files = parquet_files(folder, split)
    with reading(files[0], "a Parquet file"):
        schema = parquet.read_schema(files[0])
    if not {"image", "label"} <= set(schema.names):
        raise ValueError(
            f"{files[0]} must have the columns image and label; it has {', '.join(schema.names)}"
        )
    return (row for path in files for row in table_rows(path)), _names_in(schema)


def _names_in(schema: Any) -> list[str]:
    """The names of a ClassLabel, as datasets writes it into the schema; none if there are none."""
    try:
        about = json.loads((schema.metadata or {})[b"huggingface"])
        return [str(name) for name in about["info"]["features"]["label"]["names"]]
    except (KeyError, ValueError, TypeError):
        return []


def parquet_files(folder: Path, split: str = "") -> list[Path]:
    """SPLIT*.parquet and data/SPLIT*.parquet, by name.

    Raises:
        ValueError: there are none.
    """
    files = sorted([*folder.glob(f"{split}*.parquet"), *folder.glob(f"data/{split}*.parquet")])
    some(files, folder, f"files ({split}*.parquet, in it or in data/)")
    return files


def table_length(path: Path) -> int:
    """The rows of a Parquet file of images.

    Raises:
        ValueError: it is damaged, or has no column of images.
    """
    import pyarrow.parquet as parquet

    with reading(path, "a Parquet file"):
        about = parquet.read_metadata(path)
    if "image" not in (names := about.schema.to_arrow_schema().names):
        raise ValueError(f"{path} must have the column image; it has {', '.join(names)}")
    return int(about.num_rows)


def table_rows(path: Path, start: int = 0) -> Iterator[LabelledImage]:
    """The rows of a Parquet file of images, 16 in memory; without a column of labels, unlabelled.

    start: the first row that is wanted.

    Raises:
        ValueError: the file is damaged; the rows before have been given.
    """
    import pyarrow.parquet as parquet

    with reading(path, "a Parquet file"), parquet.ParquetFile(path) as table:
        columns = [name for name in ("image", "label") if name in table.schema_arrow.names]
        number, groups = 0, list(range(table.num_row_groups))
        while groups and number + table.metadata.row_group(groups[0]).num_rows <= start:
            number += table.metadata.row_group(groups.pop(0)).num_rows
        for batch in table.iter_batches(batch_size=16, row_groups=groups, columns=columns):
            before = min(max(0, start - number), len(batch))
            number += before
            for row in batch.slice(before).to_pylist():
                image = row["image"]
                raw = image.get("bytes") if isinstance(image, dict) else image
                yield LabelledImage(
                    f"{path.name}/{number}", _label(row.get("label", "")),
                    lambda raw=raw, name=f"{path.name}, row {number}": _bytes_of(raw, name),  # type: ignore[misc]
                )  # fmt: skip
                number += 1


def _bytes_of(raw: object, name: str) -> io.BytesIO:
    if not isinstance(raw, bytes) or not raw:
        raise ValueError(f"{name} has no image in it")
    return io.BytesIO(raw)


def _label(label: Any) -> str | int:
    text = str(label).strip()
    return int(text) if text.isdecimal() and len(text) < _DIGITS else text
