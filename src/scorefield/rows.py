"""Rows of results in a file of JSON lines, kept as soon as they are known, so that a job resumes.

The first line is {"settings": ...}, what all rows depend on. Each line after it is a row, which is
known again by the fields of its key, as {"prompt": "a lamp", ...}.
"""

import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from scorefield.files import parse_json
from scorefield.locks import lock_path

Row = dict[str, Any]
"""JSON values by name."""

_ABSENT = "(not given)"


class RowStore:
    """The rows of one job, in memory and in a file that is resumed by opening it again.

    Rows come back as JSON reads them, whether they were computed now or before: a resumed job sees
    what one that was never interrupted sees. A last line that a kill cut short is dropped.

    Args:
        path: The file, made with its folder if missing; None keeps the rows in memory alone.
        settings: What all rows depend on, as JSON values.
        key: The fields that say what a row is of. Of two rows with the same, the later counts.

    Raises:
        ValueError: The file holds something else, or rows of other settings (the first that
            differs is named, with both values), or another process writes to it.
    """

    def __init__(self, path: Path | None, settings: Mapping[str, Any], key: Sequence[str]) -> None:
        self._path = path
        self._key = tuple(key)
        self._rows: dict[str, Row] = {}
        if path is None:
            return
        given = json.loads(json.dumps(dict(settings)))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
        self._lock = lock_path(path)
        try:
            lines = _whole_lines(path)
            head, *rows = [parse_json(line) for line in lines] or [{"settings": given}]
            difference = first_difference(head["settings"], given)
            for row in rows:
                self._rows[self._key_of(row)] = row
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{path} does not hold rows of results with {', '.join(self._key)}; "
                "choose another file or folder"
            ) from error
        if difference is not None:
            name, before, now = difference
            raise ValueError(
                f"{path} is of other settings: it was made with {name} = {before}, now {name} = "
                f"{now}; give the same again, or choose another file or folder"
            )
        text = "".join(lines) or _line({"settings": given})
        if path.stat().st_size != len(text.encode()):
            # In place, for the lock is this file's; what a kill cuts short is dropped once more.
            with path.open("r+", encoding="utf-8", newline="") as file:
                file.write(text)
                file.truncate()

    @property
    def rows(self) -> list[Row]:
        """All rows in the order in which they were first added."""
        return list(self._rows.values())

    def get(self, **key: Any) -> Row | None:
        """The row with this key; None if there is none."""
        return self._rows.get(self._key_of(key))

    def add(self, *rows: Mapping[str, Any]) -> None:
        """Keeps rows; they are on the disk when this returns.

        Raises:
            KeyError: A row lacks a field of the key.
        """
        lines = [_line(row) for row in rows]
        read = [parse_json(line) for line in lines]
        known = {self._key_of(row): row for row in read}
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write("".join(lines))
                file.flush()
                os.fsync(file.fileno())
        self._rows |= known

    def once(self, compute: Callable[[], Mapping[str, Any]], **key: Any) -> Row:
        """The row with this key, computed and kept if it is not there."""
        row = self.get(**key)
        if row is None:
            self.add({**key, **compute()})
            row = self.get(**key)
            assert row is not None
        return row

    def _key_of(self, row: Mapping[str, Any]) -> str:
        return json.dumps([row[name] for name in self._key])


def first_difference(
    saved: Mapping[str, Any], given: Mapping[str, Any], free: Collection[str] = (), group: str = ""
) -> tuple[str, str, str] | None:
    """The first setting that differs and is not free: its name, and both values as JSON.

    Args:
        saved: Settings as JSON values.
        given: The same, to compare with.
        free: Settings that may differ; those inside a group are named ``a.b``.
        group: What names are to begin with.
    """
    for name in sorted({*saved, *given}):
        key = f"{group}{name}"
        before, now = saved.get(name, _ABSENT), given.get(name, _ABSENT)
        if key in free or before == now:
            continue
        if isinstance(before, dict) and isinstance(now, dict):
            difference = first_difference(before, now, free, f"{key}.")
            if difference is not None:
                return difference
            continue
        return key, _shown(before), _shown(now)
    return None


def read_rows(path: Path) -> list[Row]:
    """The whole rows of a file of JSON lines; none if it is not there.

    Raises:
        ValueError: A line is not JSON.
    """
    return [parse_json(line) for line in _whole_lines(path)]


def _whole_lines(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [line for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(dict(row)) + "\n"


def _shown(value: Any) -> str:
    return _ABSENT if value is _ABSENT else json.dumps(value)
