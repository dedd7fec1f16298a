"""One process at a time owns a folder or a file that it goes on with; a lock dies with its process.

The operating system keeps the locks (flock): a process that is killed leaves none, so that none is
ever stale, and no file stays behind. Where a file system knows no locks, nothing is refused.
"""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from weakref import WeakValueDictionary

__all__ = ["Lock", "lock_folder", "lock_path", "owned"]


class Lock:
    """An advisory lock that is held as long as this object lives."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __del__(self) -> None:
        """Gives the lock back."""
        os.close(self._descriptor)


_HELD: WeakValueDictionary[tuple[int, int], Lock] = WeakValueDictionary()


def lock_path(path: Path, name: Path | None = None) -> Lock | None:
    """Locks a folder or a file that is there; the process that has it may lock it again.

    None on Windows, which cannot lock a folder. An error speaks of `name`, which is `path` unless
    given.

    Raises:
        ValueError: another process has it; it is named where the system tells.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    # NFS wants a file open for writing; a folder cannot be.
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    status = os.fstat(descriptor)
    key = (status.st_dev, status.st_ino)
    if (held := _HELD.get(key)) is not None:
        os.close(descriptor)
        return held
    lock = Lock(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ValueError(
            f"{name or path} is in use by {_owner(status)}; wait until it ends, or choose another"
        ) from error
    except OSError:
        pass  # some network file systems have no locks
    _HELD[key] = lock
    return lock


def lock_folder(path: Path) -> Lock | None:
    """`lock_path` of a folder that is made if it is not there."""
    path.mkdir(parents=True, exist_ok=True)
    return lock_path(path)


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Inside, the folder, made if need be, belongs to this process.

    A folder that was made here and is empty in the end, for what was asked was refused, is removed.

    Raises:
        ValueError: another process has it.
        OSError: it cannot be made.
    """
    made = not folder.exists()
    lock = lock_folder(folder)
    try:
        yield
    finally:
        if made:
            with suppress(OSError):  # it holds something
                folder.rmdir()
        del lock


def _owner(status: os.stat_result) -> str:
    """The process that has a lock, as Linux lists it; on another computer it is not listed."""
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with suppress(OSError, IndexError):
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            words = line.split()
            if words[1] == "FLOCK" and words[5] == device:
                return f"another run (process {words[4]} on {socket.gethostname()})"
    return "another run"
