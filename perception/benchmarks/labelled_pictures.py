"""Pictures with labels: folders by class, WebDataset's shards, Hugging Face's Parquet."""

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scorefield.perception.benchmarks.layouts import (
    PICTURES,
    check_layout,
    pictures_in,
    some,
    what_is_in,
)

_LABELS = ("cls", "txt", "json")


@dataclass(frozen=True)
class LabelledPicture:
    """A picture of a data set.

    name: of the picture, once in the data set.
    label: as the data set writes it; a number where names are given apart.
    source: a file, or an open picture file's bytes.
    """

    name: str
    label: str | int
    source: Callable[[], Path | io.BytesIO]


def imagefolder_pictures(folder: Path, split: str = "") -> list[LabelledPicture]:
    """LABEL/*.jpg, as torchvision's ImageFolder and Hugging Face's imagefolder read it.

    split: a folder above the labels, such as val.

    Raises:
        ValueError: a folder without folders of pictures.
    """
    where = folder / split
    check_layout(folder, "imagefolder", *([split] if split else []))
    labels = sorted(path for path in where.iterdir() if path.is_dir())
    found = [
        LabelledPicture(f"{label.name}/{path.name}", label.name, lambda path=path: path)  # type: ignore[misc]
        for label in labels
        for path in pictures_in(label)
    ]
    if not found:
        raise ValueError(
            f"{where} is not laid out as imagefolder: a folder for each label, with pictures "
            f"({', '.join(PICTURES)}), is missing; {what_is_in(where)}"
        )
    return found


def webdataset_pictures(folder: Path, split: str = "") -> Iterator[LabelledPicture]:
    """Shards *.tar, whose members of one key, up to the first dot of their name, are a sample.

    A sample has a picture (KEY.jpg) and a label: KEY.cls, KEY.txt, or "label" in KEY.json. Shards
    are read from their beginning to their end, one sample in memory (webdataset/webdataset, "The
    WebDataset Format").

    split: what the shards' names begin with.

    Raises:
        ValueError: a folder without shards. A shard that is damaged raises it when it is reached.
    """
    shards = sorted(folder.glob(f"{split}*.tar"))
    some(shards, folder, f"shards ({split}*.tar)")
    return (picture for shard in shards for picture in _of_shard(shard))


def _of_shard(shard: Path) -> Iterator[LabelledPicture]:
    key, sample = "", dict[str, bytes]()
    try:
        with tarfile.open(shard) as opened:
            for member in opened:
                if not member.isfile():
                    continue
                parent, _, name = member.name.rpartition("/")
                stem, _, suffix = name.partition(".")
                this = f"{parent}/{stem}".lstrip("./")
                if this != key and sample:
                    yield _of_sample(shard, key, sample)
                    sample = {}
                key = this
                file = opened.extractfile(member)
                sample[suffix.lower()] = b"" if file is None else file.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(f"{shard} is damaged ({error})") from error
    if sample:
        yield _of_sample(shard, key, sample)


def _of_sample(shard: Path, key: str, sample: dict[str, bytes]) -> LabelledPicture:
    pictures = [sample[suffix] for suffix in sample if f".{suffix}" in PICTURES]
    label: str | int | None = None
    for suffix in _LABELS:
        if suffix in sample:
            text = sample[suffix].decode("utf-8", "replace").strip()
            label = json.loads(text).get("label") if suffix == "json" else text
            break
    name = f"{shard.name}/{key}"

    def source() -> io.BytesIO:
        if not pictures:
            raise ValueError(f"{name} has no picture, only {', '.join(sorted(sample))}")
        return io.BytesIO(pictures[0])

    return LabelledPicture(name, "" if label is None else _label(label), source)


def parquet_pictures(folder: Path, split: str = "") -> tuple[Iterator[LabelledPicture], list[str]]:
    """SPLIT*.parquet with a column of pictures and one of labels, and the names of the labels.

    As Hugging Face's datasets writes them: "image" is {bytes, path} and "label" a number whose
    names stand in the schema's metadata; plain bytes and labels in words are read as well. Files
    are read in batches of rows.

    Raises:
        ValueError: a folder without such files.
    """
    import pyarrow.parquet as parquet

    files = sorted([*folder.glob(f"{split}*.parquet"), *folder.glob(f"data/{split}*.parquet")])
    some(files, folder, f"files ({split}*.parquet, in it or in data/)")
    try:
        schema = parquet.read_schema(files[0])
    except (OSError, ValueError) as error:
        raise ValueError(f"{files[0]} is not a Parquet file ({error})") from error
    if not {"image", "label"} <= set(schema.names):
        raise ValueError(
            f"{files[0]} must have the columns image and label; it has {', '.join(schema.names)}"
        )
    return (row for path in files for row in _of_parquet(path)), _names_in(schema)


def _names_in(schema: Any) -> list[str]:
    """The names of a ClassLabel, as datasets writes it into the schema; none if there are none."""
    try:
        about = json.loads((schema.metadata or {})[b"huggingface"])
        return [str(name) for name in about["info"]["features"]["label"]["names"]]
    except (KeyError, ValueError, TypeError):
        return []


def _of_parquet(path: Path) -> Iterator[LabelledPicture]:
    import pyarrow.parquet as parquet

    number = 0
    for batch in parquet.ParquetFile(path).iter_batches(batch_size=16, columns=["image", "label"]):
        for row in batch.to_pylist():
            image = row["image"]
            raw = image.get("bytes") if isinstance(image, dict) else image
            yield LabelledPicture(
                f"{path.name}/{number}", _label(row["label"]),
                lambda raw=raw, name=f"{path.name}, row {number}": _bytes_of(raw, name),  # type: ignore[misc]
            )  # fmt: skip
            number += 1


def _bytes_of(raw: bytes | None, name: str) -> io.BytesIO:
    if not raw:
        raise ValueError(f"{name} has no picture in it")
    return io.BytesIO(raw)


def _label(label: Any) -> str | int:
    text = str(label).strip()
    return int(text) if text.isdigit() else text
