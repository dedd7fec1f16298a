"""A data set gone through, part by part: what is done is kept, what is missing is done."""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from scorefield.files import parse_json, write_json
from scorefield.perception.fleet.engines import Engine, Task
from scorefield.perception.fleet.part_files import (
    Report,
    part_path,
    part_paths,
    part_report,
    remove_unfinished,
)
from scorefield.perception.fleet.parts import Part
from scorefield.rows import first_difference

_SETTINGS = "settings.json"
_SHARED_SECONDS = 60.0  # for what a network's file system remembers of a folder


@dataclass(frozen=True)
class Summary:
    """What has become of a data set.

    images: rows in the files of OUT.
    damaged: those that have an error in place of results.
    errors: the first of them, in words.
    lost: the parts that no worker survived.
    """

    images: int
    damaged: int
    errors: tuple[str, ...]
    lost: tuple[str, ...]

    def problem(self) -> str | None:
        """What is missing, in a line; None if nothing is."""
        said = []
        if self.damaged:
            more = self.damaged - len(self.errors)
            names = "; ".join(self.errors) + (f"; and {more} more" if more else "")
            said.append(f"{self.damaged} of {self.images} images could not be read: {names}")
        if self.lost:
            said.append(
                f"every worker died that tried {', '.join(self.lost)}; --resume tries them again"
            )
        return "; ".join(said) or None


def check_settings(out: Path, settings: dict[str, Any]) -> None:
    """Refuse a folder of other results.

    Raises:
        ValueError: its settings are missing or others; the first that differs is named.
    """
    path = out / _SETTINGS
    if not out.is_dir() or not any(out.iterdir()):
        return
    try:
        saved = parse_json(path.read_text(encoding="utf-8"))
        difference = first_difference(saved, json.loads(json.dumps(settings)))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{out} does not hold results of a data set; choose another") from error
    if difference is not None:
        name, before, now = difference
        raise ValueError(
            f"{out} is of other settings: it was made with {name} = {before}, now {name} = {now}; "
            "give the same again, or choose another folder"
        )


def go_through(
    engine: Engine,
    parts: Sequence[Part],
    out: Path,
    settings: dict[str, Any],
    *,
    progress: bool = False,
) -> Summary:
    """Write the files of the parts that are missing, or are of images that have changed since.

    Files of parts that the data set no longer has are deleted in the end. The caller owns the
    folder, and has checked its settings.

    Args:
        engine: Who does it.
        parts: All of them.
        out: The folder, made if need be.
        settings: What the files depend on, beside the parts; kept in OUT/settings.json.
        progress: Show it.

    Raises:
        ValueError: a worker's file is not to be found here.
    """
    write_json(out / _SETTINGS, settings)
    remove_unfinished(out)
    common = json.dumps(settings, sort_keys=True)
    total, left, lost = Report(""), list[Task](), list[str]()
    for part in parts:
        key = hashlib.blake2b(f"{common}\n{part.version}".encode(), digest_size=12).hexdigest()
        task = Task(part, part_path(out, part.name), key)
        known = part_report(task.path) if task.path.exists() else None
        if known is not None and known.key == key:
            total = total.plus(known)
        else:
            left.append(task)
    images = sum(task.part.count for task in left)
    with tqdm(total=images, desc="images", disable=not progress) as bar:
        for task, report in engine.write(left):
            if report is None:
                lost.append(task.path.name)
            elif not _appears(task.path):
                raise ValueError(
                    f"{task.path}: a worker has written it, and it is not here; --out must be a "
                    "folder that all machines of the cluster share"
                )
            else:
                total = total.plus(report)
            bar.update(task.part.count)
    remove_unfinished(out)
    wanted = {part_path(out, part.name) for part in parts}
    for path in part_paths(out):
        if path not in wanted:
            path.unlink()
    return Summary(total.images, total.damaged, total.errors, tuple(sorted(lost)))


def _appears(path: Path) -> bool:
    """Whether a file that another machine may have written is to be seen here, soon."""
    until = time.monotonic() + _SHARED_SECONDS
    while not path.exists():
        if time.monotonic() > until:
            return False
        time.sleep(0.5)
    return True
