"""One process at a time owns a run folder; the lock dies with its process."""

import os
import sys
from pathlib import Path
from weakref import WeakValueDictionary

__all__ = ["RunLock", "lock_folder"]


class RunLock:
    """An advisory lock that is held as long as this object lives."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __del__(self) -> None:
        """Gives the lock back."""
        os.close(self._descriptor)


_HELD: WeakValueDictionary[tuple[int, int], RunLock] = WeakValueDictionary()


def lock_folder(path: Path) -> RunLock | None:
    """Locks a folder, leaving no file in it; the process that has it may lock it again.

    None on Windows, which cannot lock a folder.

    Raises:
        ValueError: Another process has it.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    descriptor = os.open(path, os.O_RDONLY)
    status = os.fstat(descriptor)
    key = (status.st_dev, status.st_ino)
    if (held := _HELD.get(key)) is not None:
        os.close(descriptor)
        return held
    lock = RunLock(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ValueError(
            f"{path} is in use by another run; wait until it ends, or choose another folder"
        ) from error
    except OSError:
        pass  # some network file systems have no locks
    _HELD[key] = lock
    return lock
