"""Folders of published data sets: what must be there, and what is said when it is not."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
"""Suffixes of images that are looked for, in small letters."""

_NAMED = 6


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Inside, what is raised about the content of a file becomes one error that names it.

    kind: what it should be, such as "a Parquet file".

    Raises:
        ValueError: it is missing, damaged or of another kind.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # libraries raise what they like on damaged input
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{path}: cannot be read as {kind} ({type(error).__name__}: {reason}); copy it again"
        ) from error


def check_layout(folder: Path, name: str, *needed: str) -> None:
    """Refuse a folder that lacks files or folders of a data set.

    needed: paths below the folder.

    Raises:
        ValueError: what is missing, and what is there instead.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not laid out as {name}: it is no folder")
    missing = [path for path in needed if not (folder / path).exists()]
    if missing:
        raise ValueError(
            f"{folder} is not laid out as {name}: {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing; {what_is_in(folder)}"
        )


def what_is_in(folder: Path) -> str:
    """A few words on what a folder holds."""
    if not folder.exists():
        return "it is missing"
    if not folder.is_dir():
        return "it is a file"
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    if not names:
        return "it is empty"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"it holds {', '.join(names[:_NAMED])}{more}"


def images_in(folder: Path) -> list[Path]:
    """The images of a folder, by name; none if it is none."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGES)


def lines_of(path: Path) -> list[str]:
    """The lines of a list that are not empty.

    Raises:
        ValueError: it is empty, or no text.
    """
    with reading(path, "a list"):
        text = path.read_text(encoding="utf-8")
    lines = [line.strip() for line in text.splitlines()]
    found = [line for line in lines if line]
    if not found:
        raise ValueError(f"{path} is empty; it must list what is to be evaluated")
    return found


def some(items: Sequence[object], where: Path, what: str) -> None:
    """Refuse a data set without anything to evaluate.

    Raises:
        ValueError: there are no items.
    """
    if not items:
        raise ValueError(f"there are no {what} in {where}: {what_is_in(where)}")
