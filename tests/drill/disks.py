"""Full disks: a small file system of the process's own or, where that is not allowed, a limit."""

import ctypes
import json
import os
import random
import resource
from pathlib import Path

import forks
from kills import Stopping

CLONE_NEWNS, CLONE_NEWUSER, MS_REMOUNT = 0x00020000, 0x10000000, 32


def in_small_disk(stopping: Stopping, name: str, chance: random.Random) -> str:
    """Runs a command where there is no room for all of its files, then again with room."""
    out = stopping.fresh(f"disk-{os.getpid()}")
    sizes = stopping.undisturbed(name).sizes
    room = int(chance.uniform(4096, 4096 + sum(sizes)))
    said = stopping.place / "work" / f"said-{os.getpid()}.json"
    said.parent.mkdir(exist_ok=True)
    said.unlink(missing_ok=True)

    def inside() -> int:
        full = _mounted(out, room)
        limit = max(4096, int(chance.uniform(0.1, 0.9) * max(sizes)))
        ended = stopping.run(name, out, False, (lambda: None) if full else lambda: _limit(limit))
        fault = forks.fault_of(ended, (0, 1, 2)) or stopping.whole(name, out)
        if full:
            _mount(out, 2**30, remount=True)
        fault = fault or stopping.resumed(name, out)
        told = f"{room} bytes of disk" if full else f"files of {limit} bytes"
        said.write_text(json.dumps(f"{name}, {told}: {fault}" if fault else ""))
        return 0

    forks.wait(forks.fork(inside), 4 * forks.SECONDS)
    return str(json.loads(said.read_text())) if said.exists() else f"{name}: the try did not end"


def _limit(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _mounted(folder: Path, size: int) -> bool:
    """Whether a file system of that size could be mounted on a folder, for this process alone."""
    libc = ctypes.CDLL(None, use_errno=True)
    flags = CLONE_NEWNS | (0 if os.geteuid() == 0 else CLONE_NEWUSER)
    if not hasattr(libc, "unshare") or libc.unshare(flags):
        return False
    libc.mount(None, b"/", None, 1 << 18 | 1 << 14, None)  # recursively private
    return _mount(folder, size)


def _mount(folder: Path, size: int, remount: bool = False) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"size={size}".encode()
    flags = MS_REMOUNT if remount else 0
    return bool(libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", flags, options) == 0)
