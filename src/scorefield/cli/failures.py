"""What the machine refuses, in words of our own: disks that are full, memory that is used up."""

import errno
import os
import re

from scorefield.cli.command import Command

_TAKES_MEMORY = ("batch_size", "views", "size", "image_size", "n", "dtype", "texture")

_NO_MEMORY = re.compile(
    # the last is what oneDNN says of it
    "out of memory|not enough memory|can't allocate memory|std::bad_alloc|could not create a prim",
    re.I,
)
_OF_RUST = re.compile(  # safetensors, of older versions and of 0.8
    r'IoError\(Os \{ code: \d+,.*message: "(.*)" \}\)|I/O error: (.*) \(os error \d+\)'
)


def failure_of(error: BaseException, command: Command | None) -> str | None:
    """The line about an error that is the machine's; None for any other.

    Libraries raise what they like where a file cannot be written or no memory is left; the cause
    that they name is looked for as well.
    """
    named = (error, error.__cause__, error.__context__)
    if any(_no_memory(one) for one in named if one is not None):
        return lower_memory(command)
    if found := _OF_RUST.search(str(error)):
        return _of_disk(found[1] or found[2], command)
    if isinstance(error, BrokenPipeError):
        return "standard output was closed before all of it was written"
    if type(error).__name__ == "ProcessLost":  # of a training, which is not imported here
        return f"{error}, killed perhaps; the same command with --resume goes on"
    if isinstance(error, OSError):
        if is_of_name(error):
            return f"{os.fsdecode(error.filename or '')[:60]}...: no file can have that name"
        if error.strerror is None:
            return _of_disk(" ".join(str(error).split()), command)
        name = error.filename
        where = f"{os.fsdecode(name)}: " if isinstance(name, str | bytes | os.PathLike) else ""
        return _of_disk(f"{where}{error.strerror}", command)
    return None


def is_of_name(error: BaseException) -> bool:
    """Whether a name that was given can be none of a file; that is refused before starting."""
    return isinstance(error, OSError) and error.errno in (errno.ENAMETOOLONG, errno.ELOOP)


def _no_memory(error: BaseException) -> bool:
    kind = type(error).__name__  # torch's own, which is not imported here
    if isinstance(error, MemoryError) or kind in ("OutOfMemoryError", "_ArrayMemoryError"):
        return True
    return isinstance(error, RuntimeError | OSError) and bool(_NO_MEMORY.search(str(error)))


def _of_disk(what: str, command: Command | None) -> str:
    resume = ", then the same command with --resume goes on" if hasattr(command, "resume") else ""
    return f"{what}; see to the disk and the permissions of --out{resume}"


def lower_memory(command: Command | None) -> str:
    """What to do when memory runs out, in the options that a command has."""
    given = [
        f"--{name.replace('_', '-')} (now {value})"
        for name in _TAKES_MEMORY
        if (value := getattr(command, name, None)) is not None
    ]
    spare = ", give --low-memory" if getattr(command, "low_memory", True) is False else ""
    lower = f"lower {', '.join(given)}" if given else "use a device with more"
    return f"the device is out of memory; {lower}{spare}; scorefield doctor shows what is free"
