"""Files and folders that appear whole or not at all.

What is written goes beside its final name and is renamed onto it, so that a run killed at any
moment leaves the old file, the new file or none, and never a part of one.
"""

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scorefield.locks import lock_path

RUN_VERSION = "scorefield_version"
"""In a run's config.json, the version that wrote it; in no config.json of others."""


def part_path(path: str | os.PathLike[str]) -> Path:
    """Where a file is written before it is whole; a killed writer leaves it there."""
    path = Path(path)
    return path.with_name(f".{path.stem}.part{path.suffix}")


@contextmanager
def whole_file(path: str | os.PathLike[str], *, shared: bool = False) -> Iterator[Path]:
    """Gives a name to write to, which becomes `path` when the block ends without an error.

    The name is beside `path` and has the same suffix, which is where many writers look for the
    format. The folder is made. The finished file has the permissions of a newly created one,
    whatever its writer set. On an error the part is deleted and `path` stays as it was. Of two
    processes that write one file at once, the later is refused, for their parts have one name;
    unless the file is `shared`: then each has a part of its own, and the last to end wins.

        with whole_file("mesh.glb") as part:
            mesh.export(part)

    Raises:
        ValueError: another process is writing the file, which is not shared.
        OSError: the folder or the file cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_path(path.with_stem(f"{path.stem}.{uuid.uuid4().hex}") if shared else path)
    if part.exists():  # of a writer that was killed, unless it is still at it
        lock_path(part, path)
        part.unlink(missing_ok=True)
    part.touch()
    lock = lock_path(part, path)
    mode = part.stat().st_mode  # as the umask says; some writers make files for the owner alone
    try:
        yield part
        part.chmod(mode)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    finally:
        del lock


@contextmanager
def whole_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives an empty folder to fill, which becomes `path` when the block ends without an error.

    A folder that is there is replaced. The finished files have the permissions of newly created
    ones, whatever their writers set. On an error the part is deleted and `path` stays as it was.
    Of two processes that write one folder at once, the later is refused.

    Raises:
        ValueError: another process is writing the folder.
        OSError: the folder cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    old = path.with_name(f".{path.name}.old")
    if part.exists():
        lock_path(part, path)
        shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    lock = lock_path(part, path)
    try:
        yield part
        _allow_as_new(part)
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():
            os.rename(path, old)  # a folder that is not empty cannot be renamed onto
        os.rename(part, path)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    finally:
        del lock
    shutil.rmtree(old, ignore_errors=True)


def _allow_as_new(folder: Path) -> None:
    """Give all files of a folder the permissions that the umask gives to new ones."""
    probe = folder / ".probe"
    probe.touch()
    mode = probe.stat().st_mode
    probe.unlink()
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink():
            file.chmod(mode)


def parse_json(text: str | bytes) -> Any:
    """What JSON says.

    Raises:
        ValueError: it is no JSON, or is nested so deeply that Python gives up.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply for JSON") from error


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Writes a UTF-8 text file, whole or not at all; returns its path."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")
    return Path(path)


def write_json(path: str | os.PathLike[str], content: Any) -> Path:
    """Writes a JSON file, indented, whole or not at all; returns its path.

    Raises:
        TypeError: the content is not made of JSON values.
    """
    return write_text(path, json.dumps(content, indent=2) + "\n")
