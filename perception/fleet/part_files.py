"""The results of a part, in a Parquet file that is there as a whole or not at all."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from scorefield.perception.benchmarks.layouts import reading
from scorefield.rows import Row

_ABOUT = b"scorefield"  # key of the file's metadata
_NAMED = 10  # damaged images that a report names
_FLUSH = 32 * 2**20  # bytes of results that are held before they are written


@dataclass(frozen=True)
class Report:
    """What a part's file says of itself.

    key: what its content depends on: settings, files, their versions.
    images: rows of the file.
    damaged: rows that have an error in place of results.
    errors: the first of them, in words.
    """

    key: str
    images: int = 0
    damaged: int = 0
    errors: tuple[str, ...] = ()

    def plus(self, other: "Report") -> "Report":
        """Both together, under the key of the first."""
        return replace(
            self,
            images=self.images + other.images,
            damaged=self.damaged + other.damaged,
            errors=(*self.errors, *other.errors)[:_NAMED],
        )


def part_path(out: Path, name: str) -> Path:
    """Where a part's results are."""
    return out / f"part-{name}.parquet"


def part_paths(out: Path) -> list[Path]:
    """The files of parts that are in a folder, in the order of the data set."""
    return sorted(out.glob("part-*.parquet"))


def remove_unfinished(out: Path) -> None:
    """Deletes what writers that were killed have left."""
    for path in out.glob(".part-*"):
        path.unlink(missing_ok=True)


def part_report(path: Path) -> Report | None:
    """What the file of a part says of itself; None if it is not there, or nothing of ours."""
    import pyarrow.parquet as parquet

    try:
        about = json.loads(parquet.read_metadata(path).metadata[_ABOUT])
        return Report(**{**about, "errors": tuple(about["errors"])})
    except Exception:  # what is damaged in whatever way is written again
        return None


def write_part(
    path: Path, key: str, columns: Mapping[str, Any], groups: Iterable[Sequence[Row]]
) -> Report:
    """Writes the results of a part as they come, `_FLUSH` bytes in memory.

    Writers on several machines do not meet: each has a file of its own until it is whole.

    Args:
        path: Of the file.
        key: Of the report.
        columns: As those of `ImageWork`. Beside them come image, digest and error.
        groups: Rows with image, digest, and either results or an error.
    """
    import pyarrow
    import pyarrow.parquet as parquet

    types = {
        name: _type(kind)
        for name, kind in {"image": str, "digest": str, **columns, "error": str}.items()
    }
    schema = pyarrow.schema(list(types.items()))
    report, held = Report(key), list[Any]()
    with _unfinished(path) as part, parquet.ParquetWriter(part, schema) as writer:
        for rows in groups:
            bad = [row for row in rows if "error" in row]
            errors = tuple(_in_words(row) for row in bad)
            report = report.plus(Report("", len(rows), len(bad), errors))
            held.append(
                pyarrow.record_batch(
                    [
                        _column([row.get(name) for row in rows], kind)
                        for name, kind in types.items()
                    ],
                    schema=schema,
                )
            )
            if sum(batch.nbytes for batch in held) >= _FLUSH:
                writer.write_table(pyarrow.Table.from_batches(held))
                held = []
        if held:
            writer.write_table(pyarrow.Table.from_batches(held))
        writer.add_key_value_metadata({_ABOUT.decode(): json.dumps(asdict(report))})
    return report


def part_rows(path: Path, *columns: str) -> Iterator[Row]:
    """The rows of a part's file; None where a result is missing.

    Args:
        path: Of the file.
        columns: Those that are wanted; none are all.

    Raises:
        ValueError: the file is damaged.
    """
    import pyarrow.parquet as parquet

    with reading(path, "a Parquet file"), parquet.ParquetFile(path) as table:
        for batch in table.iter_batches(columns=list(columns) or None):
            yield from batch.to_pylist(maps_as_pydicts="strict")


def _type(kind: Any) -> Any:
    """The type of pyarrow for a column of results."""
    import pyarrow

    if isinstance(kind, tuple):
        return pyarrow.fixed_shape_tensor(pyarrow.float32(), kind)
    number, text = pyarrow.float64(), pyarrow.string()
    return {
        str: text, bytes: pyarrow.binary(), bool: pyarrow.bool_(), int: pyarrow.int64(),
        float: number, list: pyarrow.list_(number), dict: pyarrow.map_(text, number),
    }[kind]  # fmt: skip


def _in_words(row: Row) -> str:
    """What is wrong with an image; most errors name it themselves."""
    error: str = row["error"]
    return error if error.startswith(row["image"]) else f"{row['image']} ({error})"


def _column(values: list[Any], kind: Any) -> Any:
    """A column of results; arrays go flat into one of tensors."""
    import pyarrow

    if not isinstance(kind, pyarrow.FixedShapeTensorType):
        return pyarrow.array(values, kind)
    flat = [None if value is None else value.reshape(-1) for value in values]
    return pyarrow.ExtensionArray.from_storage(kind, pyarrow.array(flat, kind.storage_type))


@contextmanager
def _unfinished(path: Path) -> Iterator[Path]:
    """A name of nobody else's, which becomes `path` when the block ends without an error."""
    part = path.with_name(f".{path.stem}-{uuid4().hex}")
    try:
        yield part
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
