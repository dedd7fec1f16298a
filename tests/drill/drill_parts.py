"""The parts of the drill: each is a number of tries, every one a function of its number."""

import os
import random
import resource
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import damage
import forks
import lines
import readers
from disks import in_small_disk
from kills import Stopping, commands

from scorefield.cli.commands import COMMANDS

GIGABYTE = 2**30


@dataclass(frozen=True)
class Part:
    """What it tries, how often in full and in short, and the try: "" or what was wrong.

    grouped: tries share a process, which is started again after one that ends it.
    """

    does: str
    full: int
    short: int
    attempt: Callable[[int, random.Random], str]
    grouped: bool = False


def parts(place: Path, fast: bool) -> dict[str, Part]:
    """All parts, working in a folder that has the material."""
    stopping = Stopping(place, commands(fast))
    count = len(stopping.names)
    return {
        "commands": Part(
            "every command once, as small as can be", len(lines.TINY), 0, _Smoke(place)
        ),
        "lines": Part("random command lines, parsed", 10_000, 300, lines.parsed, grouped=True),
        "runs": Part("random options, run", 1_000, 10, _Runs(place)),
        "files": Part(
            f"damaged files of {len(readers.FORMATS)} formats, read",
            10_000,
            150,
            _Files(place),
            True,
        ),
        "weights": Part(
            "weights with bits flipped, tensors swapped or halves zeroed",
            1_000,
            20,
            _Weights(place),
            True,
        ),
        "kills": Part("kill -9 and resume", 320, count, stopping.killed),
        "signals": Part("Ctrl-C, SIGTERM, SIGHUP and resume", 3 * count, 3, stopping.signalled),
        "owners": Part("two runs on one folder", 2 * count, count, stopping.twice),
        "disks": Part("full disks, then room and resume", 2 * count, 3, _Disks(stopping)),
        "memory": Part("low memory", 2 * count, 2, _Memory(stopping)),
        "networks": Part("no network, and none is asked for", count, 2, _Networks(stopping)),
        "pipes": Part("standard output closed", len(lines.TINY), 3, _Pipes(place)),
    }


class _Runs:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __call__(self, number: int, chance: random.Random) -> str:
        out, own = _fresh(self.place, "run"), _fresh(self.place, "own")
        # What a command might change is a copy.
        shutil.copytree(self.place / "material" / "policy", own / "copy")
        name, words = lines.words_to_run(number, chance, self.place / "material", out)
        words = [str(own / "copy") if word == "COPY" else word for word in words]
        ended = forks.run(words, out, _limited(GIGABYTE * 6))
        fault = forks.fault_of(ended)
        return f"{name} {words}: {fault}" if fault else ""


class _Smoke:
    """Every command there is must have its words, and end well."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __call__(self, number: int, chance: random.Random) -> str:
        lacking = sorted(set(COMMANDS) - set(lines.TINY) - set(lines.FETCHES))
        if lacking and number == 0:
            return f"{', '.join(lacking)}: not in lines.py"
        out, own = _fresh(self.place, "smoke"), _fresh(self.place, "own")
        shutil.copytree(self.place / "material" / "policy", own / "copy")
        material = self.place / "material"
        name, words = lines.words_to_run(number, chance, material, out, spoilt=0)
        ended = forks.run([str(own / "copy") if one == "COPY" else one for one in words], out)
        fault = forks.fault_of(ended, (0,))
        return f"{name}: {fault}" if fault else ""


class _Files:
    """Damages a file of each format in turn; the undamaged one is made once."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.order = [name for name, one in readers.FORMATS.items() for _ in range(one.weight)]
        random.Random(0).shuffle(self.order)

    def __call__(self, number: int, chance: random.Random) -> str:
        name = self.order[number % len(self.order)]
        made = readers.FORMATS[name]
        whole = self.place / "formats" / name.replace(" ", "-").replace(".", "-")
        if not whole.exists():
            (self.place / "formats").mkdir(parents=True, exist_ok=True)
            part = Path(tempfile.mkdtemp(prefix=".part-", dir=self.place / "formats"))
            made.make(part)
            with suppress(OSError):  # another process was first
                os.rename(part, whole)
            shutil.rmtree(part, ignore_errors=True)
        source = next(iter(whole.iterdir()))
        target = _fresh(self.place, "file") / source.name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
        told = damage.damage(target, chance)
        try:
            made.read(target)
        except ValueError as error:
            line = " ".join(str(error).split())
            return "" if str(target) in line else f"{name}, {told}: not named: {line[:200]}"
        except Exception as error:
            return f"{name}, {told}: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return ""


class _Weights:
    """What we wrote: embedded priors and judge, policies, students, exports."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __call__(self, number: int, chance: random.Random) -> str:
        made = self.place / "material" / "sealed"
        folders = sorted(made.iterdir())
        source = folders[number % len(folders)]
        target = _fresh(self.place, "weights") / source.name
        shutil.copytree(source, target)
        file = chance.choice([one for one in damage.files_of(target) if one.suffix in _WEIGHTS])
        if file.suffix == ".safetensors":
            told = damage.weights_damaged(file, chance)
        else:
            told = "bit"
            data = bytearray(file.read_bytes())
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            file.write_bytes(data)
        try:
            _load_sealed(target)
        except ValueError as error:
            return "" if file.name in str(error) else f"{source.name}, {told}: {error}"
        return f"{source.name}: {told} in {file.name} was not found"


_WEIGHTS = (".safetensors", ".onnx")


def _load_sealed(folder: Path) -> object:
    if folder.name.startswith("judge"):
        return readers._read_judge(folder)
    if folder.name == "policy":
        return readers._read_policy(folder)
    if folder.name == "exported":
        return readers._read_exported(folder)
    return readers._read_prior(folder)


class _Disks:
    def __init__(self, stopping: Stopping) -> None:
        self.stopping = stopping

    def __call__(self, number: int, chance: random.Random) -> str:
        name = self.stopping.names[number % len(self.stopping.names)]
        return in_small_disk(self.stopping, name, chance)


class _Memory:
    """An address space a little larger than what the process begins with."""

    def __init__(self, stopping: Stopping) -> None:
        self.stopping = stopping

    def __call__(self, number: int, chance: random.Random) -> str:
        name = self.stopping.names[number % len(self.stopping.names)]
        out = self.stopping.fresh(f"memory-{os.getpid()}")
        more = int(2 ** chance.uniform(20, 28))
        ended = self.stopping.run(name, out, False, _limited(more))
        told = f"{name} with {more >> 20} MB more"
        if fault := forks.fault_of(ended):
            return f"{told}: {fault}"
        fault = self.stopping.whole(name, out) or self.stopping.resumed(name, out)
        return f"{told}: {fault}" if fault else ""


class _Networks:
    """Whoever opens a connection, or starts a program, is found."""

    def __init__(self, stopping: Stopping) -> None:
        self.stopping = stopping

    def __call__(self, number: int, chance: random.Random) -> str:
        name = self.stopping.names[number % len(self.stopping.names)]
        out = self.stopping.fresh(f"network-{os.getpid()}")
        ended = self.stopping.run(name, out, False, _watched)
        if ended.code == 99 or ended.code:
            return f"{name}: {forks.last_line(ended)}"
        return ""


def _watched() -> None:
    """Ends the process at its first connection or program."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.exec"):
            print(f"{event}: {arguments}", file=sys.stderr, flush=True)
            os._exit(99)

    socket.setdefaulttimeout(5.0)
    sys.addaudithook(hook)


class _Pipes:
    """A reader of standard output that went away, as `| head` does."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __call__(self, number: int, chance: random.Random) -> str:
        out = _fresh(self.place, "pipe")
        name, words = lines.words_to_run(number, chance, self.place / "material", out, spoilt=0)
        reading, writing = os.pipe()
        os.close(reading)
        try:
            ended = forks.Started([*words, "--json"], out, stdout=writing).end()
        finally:
            os.close(writing)
        fault = forks.fault_of(ended)
        return f"{name}: {fault}" if fault else ""


def _limited(more: int) -> Callable[[], None]:
    """Limits the address space of a process to what it has and so many bytes more."""

    def limit() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        size = pages * resource.getpagesize() + more
        resource.setrlimit(resource.RLIMIT_AS, (size, size))

    return limit


def _fresh(place: Path, name: str) -> Path:
    """An empty folder of this process."""
    folder = place / "work" / f"{name}-{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
