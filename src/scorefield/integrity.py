"""Weights that are what was written: a seal of checksums in a folder, and finite numbers.

The seal is a file in the format of `sha256sum`, so that `sha256sum -c scorefield.sha256` checks
it as well. A folder without one is loaded as it is.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from scorefield.files import write_text

if TYPE_CHECKING:  # the command line opens `unverified` before torch is needed
    from torch import Tensor

SEAL = "scorefield.sha256"
"""Name of the file of checksums in a sealed folder."""

_LOADED = (".safetensors", ".json")
"""Suffixes of what is loaded; other files may be added to a sealed folder."""

_verified = ContextVar("verified", default=True)


@contextmanager
def unverified() -> Iterator[None]:
    """Inside, folders are loaded whatever their seals say."""
    token = _verified.set(False)
    try:
        yield
    finally:
        _verified.reset(token)


def write_seal(folder: str | os.PathLike[str]) -> Path:
    """Writes the SHA-256 of every file in a folder and below into its `scorefield.sha256`.

    Left out are texts for people (.md), files whose name begins with a dot, and what stands in
    such folders.

    Raises:
        ValueError: the folder is missing or holds no files, or one with a line break in its name.
    """
    folder = Path(folder)
    names = _files(folder)
    strange = [name for name in names if not _is_text(name)]
    if strange:
        raise ValueError(
            f"{str(folder / strange[0])!a}: a name that no list can hold; rename the file"
        )
    if not names:
        raise ValueError(f"{folder}: holds no files to seal; give a folder with weights")
    return write_text(
        folder / SEAL, "".join(f"{digest(folder / name)}  {name}\n" for name in names)
    )


def check_seal(folder: str | os.PathLike[str]) -> bool:
    """Compares a folder with its seal; True if it has one, and it holds.

    Inside `unverified`, and for a folder without a seal, nothing is read.

    Raises:
        ValueError: a file differs, is missing, or is weights or settings that are not listed; it is
            named.
    """
    folder = Path(folder)
    if not _verified.get() or not (folder / SEAL).is_file():
        return False
    sealed = _read(folder / SEAL)
    there = set(_files(folder))
    for name, sealed_digest in sealed.items():
        if name not in there:
            raise ValueError(_broken(folder, name, "is missing"))
        if digest(folder / name) != sealed_digest:
            raise ValueError(_broken(folder, name, "is not the file that was sealed"))
    added = sorted(n for n in there - sealed.keys() if Path(n).suffix in _LOADED)
    if added:
        raise ValueError(_broken(folder, added[0], f"is not listed in {SEAL}"))
    return True


def check_finite_weights(weights: Mapping[str, "Tensor"], source: str | os.PathLike[str]) -> None:
    """Refuses weights with a NaN or an infinity.

    Args:
        weights: tensors by name, as of `state_dict()`.
        source: the file or folder they come from, for the message.

    Raises:
        ValueError: the first tensor that is not finite is named.
    """
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ValueError(
                f"{source}: the weights {name} are not finite (NaN or infinity); the file is "
                "damaged or its training diverged: copy it again, or take an earlier checkpoint"
            )


def _files(folder: Path) -> list[str]:
    """Names relative to the folder, with forward slashes, in order."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    names = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    visible = [n for n in names if not any(part.startswith(".") for part in n.parts)]
    return sorted(n.as_posix() for n in visible if n.suffix != ".md" and n.as_posix() != SEAL)


def _is_text(name: str) -> bool:
    """Whether a name is one line of UTF-8."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return len(name.splitlines()) == 1


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(seal: Path) -> dict[str, str]:
    """Digests by name."""
    try:
        rows = [line.split("  ", 1) for line in seal.read_text(encoding="utf-8").splitlines()]
        return {name: digest for digest, name in rows}
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{seal}: is no list of checksums; seal the folder again with scorefield seal"
        ) from error


def _broken(folder: Path, name: str, what: str) -> str:
    return (
        f"{folder / name}: {what}; copy the folder again, seal it anew with scorefield seal if the "
        "change is yours, or go on with --unverified"
    )
