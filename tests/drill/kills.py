"""Commands that are stopped and given again: what they leave must be what an undisturbed one does.

A process can be killed at a time, or before its n-th operation on a file of its folder, which is
counted by an audit hook of Python: files opened to be written, renamed, removed, folders made.
"""

import hashlib
import json
import os
import random
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from forks import Ended, Started, fault_of, last_line, run
from material import ONCE, WORDS, words_of

from scorefield.files import write_json

GROWING = (".jsonl", ".npy")
"""Ends of names of files that are no results before the run is over."""

GROWING_FOLDERS = ("checkpoint", "checkpoint-new", "checkpoint-old")

_TIMES = re.compile(rb'"(seconds|latency)": [0-9.e-]+|\| \d+ \|$', re.MULTILINE)
# In JSON, and in the last column of a table.

_TOUCHES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod"}


@dataclass(frozen=True)
class Undisturbed:
    """A command's run from start to end: its files, its operations, its seconds."""

    files: dict[str, str]
    sizes: list[int]
    operations: int
    seconds: float


def digests(folder: Path) -> dict[str, str]:
    """What is in a folder, by relative names, but for the seconds that something took."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(
            _TIMES.sub(b"", path.read_bytes())
        ).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def on_operation(folder: Path, act: Callable[[int], None]) -> Callable[[], None]:
    """For a process to do before it begins: call `act` with the number of each operation."""

    def begin() -> None:
        inside, count = str(folder), 0

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal count
            if event == "open":
                path, _, flags = arguments
                touches = bool((flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            elif event in _TOUCHES:
                path, touches = arguments[0], True
            else:
                return
            if touches and isinstance(path, str | os.PathLike) and inside in os.fspath(path):
                act(count)
                count += 1

        sys.addaudithook(hook)

    return begin


def dies_before(number: int) -> Callable[[int], None]:
    """Kills the process before that operation."""

    def act(operation: int) -> None:
        if operation == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return act


class Stopping:
    """Tries of all commands that resume, in a folder with their material and undisturbed runs."""

    def __init__(self, place: Path, names: list[str]) -> None:
        self.place, self.material, self.names = place, place / "material", names

    def undisturbed(self, name: str) -> Undisturbed:
        """Its run without a disturbance, which is made when it is first asked for."""
        with _locked(self.place / "undisturbed.lock"):
            if not self._kept(name).exists():
                (self.place / "undisturbed").mkdir(exist_ok=True)
                write_json(self._kept(name), asdict(self._measured(name)))
        return Undisturbed(**json.loads(self._kept(name).read_text()))

    def _kept(self, name: str) -> Path:
        return self.place / "undisturbed" / f"{name}.json"

    def _measured(self, name: str) -> Undisturbed:
        out = self.fresh("undisturbed-out")
        counted = self.place / "undisturbed" / "operations"

        def note(number: int) -> None:
            counted.write_text(str(number + 1))

        ended = self.run(name, out, False, on_operation(out, note))
        assert ended.code == 0, f"{name}: {ended.err}"
        sizes = [one.stat().st_size for one in out.rglob("*") if one.is_file()]
        return Undisturbed(digests(out), sizes, int(counted.read_text()), ended.seconds)

    def fresh(self, name: str) -> Path:
        """An empty place for results; some commands write into it, some make it."""
        path = self.place / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path

    def run(
        self, name: str, out: Path, resume: bool, before: Callable[[], None] = lambda: None
    ) -> Ended:
        return run(self.words(name, out, resume), self.place, before)

    def words(self, name: str, out: Path, resume: bool) -> list[str]:
        return words_of(name, self.material, out, resume)

    def resumed(self, name: str, out: Path) -> str:
        """Gives the command again; the fault, if it does not end with the undisturbed bits."""
        ended = self.run(name, out, True)
        if _was_over(name, ended):
            return self.compared(name, out)
        if fault := fault_of(ended, (0,)):
            return f"{name}, resumed: {fault}"
        return self.compared(name, out)

    def compared(self, name: str, out: Path) -> str:
        """How what is there differs from an undisturbed run's."""
        found, wanted = digests(out), self.undisturbed(name).files
        for what, names in (
            ("lacks", sorted(wanted.keys() - found.keys())),
            ("has left behind", sorted(found.keys() - wanted.keys())),
            ("has another", sorted(one for one in found if found[one] != wanted.get(one))),
        ):
            if names:
                return f"{name}, resumed: {what} {', '.join(names[:3])}"
        return ""

    def whole(self, name: str, out: Path) -> str:
        """Which file under a final name is not the whole one."""
        wanted = self.undisturbed(name).files
        for path, digest in digests(out).items():
            parts = path.split("/")
            hidden = any(part.startswith(".") for part in parts)
            if hidden or path.endswith(GROWING) or set(parts) & set(GROWING_FOLDERS):
                continue
            if path in wanted and digest != wanted[path] and not self._early(name, out / path):
                return f"{name}: left a part of {path}"
        return ""

    @staticmethod
    def _early(name: str, path: Path) -> bool:
        """Whether it is a file that is written again and again, each time whole."""
        if path.suffix == ".json":
            try:
                json.loads(path.read_text(encoding="utf-8"))
            except ValueError:
                return False
            return True
        return name == "gallery" and path.suffix == ".html" and path.read_text().startswith("<!doc")

    def killed(self, number: int, chance: random.Random) -> str:
        """Kills a command once or twice, looks at what is left, and resumes it."""
        name = self.names[number % len(self.names)]
        before, out = self.undisturbed(name), self.fresh(f"killed-{os.getpid()}")
        told = []
        for resume in (False, *([True] if chance.random() < 0.3 else [])):
            if chance.random() < 0.65:
                moment = chance.randrange(before.operations)
                told.append(f"operation {moment}")
                hook = on_operation(out, dies_before(moment))
                ended = self.run(name, out, resume, hook)
            else:
                moment_s = chance.uniform(0.0, before.seconds)
                told.append(f"{moment_s:.2f} s")
                started = Started(self.words(name, out, resume), self.place)
                ended = started.end((signal.SIGKILL, moment_s))
            if ended.code not in (0, -signal.SIGKILL) and not _was_over(name, ended):
                return f"{name}, killed at {told}: ended with {ended.code}: {last_line(ended)}"
            if fault := self.whole(name, out):
                return f"{fault}, killed at {told}"
        fault = self.resumed(name, out)
        return f"{fault}, killed at {told}" if fault else ""

    def signalled(self, number: int, chance: random.Random) -> str:
        """Sends Ctrl-C, a termination or a hang-up at a time, then resumes."""
        name = self.names[number % len(self.names)]
        out = self.fresh(f"signalled-{os.getpid()}")
        kind = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)[number // len(self.names) % 3]
        moment = chance.uniform(0.0, self.undisturbed(name).seconds)
        ended = Started(self.words(name, out, False), self.place).end((kind, moment))
        right = (0, 130) if kind == signal.SIGINT else (0, -kind)
        if fault := fault_of(ended, right):
            return f"{name}, {kind.name} after {moment:.2f} s: {fault}"
        fault = self.whole(name, out) or self.resumed(name, out)
        return f"{fault}, {kind.name} after {moment:.2f} s" if fault else ""

    def twice(self, number: int, chance: random.Random) -> str:
        """Starts a command twice on one folder: one is refused in a line, nothing is doubled."""
        name = self.names[number % len(self.names)]
        out = self.fresh(f"twice-{os.getpid()}")
        first = Started(self.words(name, out, True), self.place)
        pause = chance.uniform(0.0, 0.6 * self.undisturbed(name).seconds)
        second = Started(self.words(name, out, True), self.place, lambda: _sleep(pause))
        ended = [one.end() for one in (first, second)]
        told = f"{name}, twice, {pause:.2f} s apart"
        for one in ended:
            if fault := fault_of(one, (0, 2)):
                return f"{told}: {fault}"
            if one.code == 2 and "in use" not in one.err and not _was_over(name, one):
                return f"{told}: {last_line(one)}"
        if all(one.code for one in ended):
            return f"{told}: neither got through"
        fault = self.compared(name, out)
        return f"{told}: {fault}" if fault else ""


def _was_over(name: str, ended: Ended) -> bool:
    """Whether a command was refused because it had written everything before a disturbance."""
    return name in ONCE and "is not empty" in ended.err


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Inside, the other processes of the drill wait."""
    import fcntl

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _sleep(seconds: float) -> None:
    import time

    time.sleep(seconds)


def commands(fast: bool) -> list[str]:
    """Those that are stopped; the slowest come up once for twice of the others."""
    slow = ("text-to-3d", "evaluate text-to-3d", "train-prior shapes", "train-prior pictures")
    if fast:
        return ["policy collect", "policy train", "gallery", "classify"]
    return [*(one for one in WORDS if one not in slow), *WORDS]
