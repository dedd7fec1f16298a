"""Commands in processes of their own, forked from one that has imported everything.

A new interpreter would need seconds for its imports; a fork needs milliseconds. The parent
computes nothing and has one thread, so that what it hands on is sound.
"""

import importlib
import os
import pkgutil
import re
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from material import shrink

SECONDS = 60.0
"""The longest that one command of the drill may compute."""

COMPILING = 300.0
"""The same where a network is compiled first: a C++ compiler takes a minute and more for one."""

WAITS = 900.0
"""The longest that it may take in all, on a machine that is busy with other things too."""

LIBRARIES = (
    "diffusers", "diffusers.models", "transformers", "peft", "av", "h5py", "zarr",
    "pyarrow.parquet", "onnx", "onnxruntime", "gymnasium", "imageio.v3", "matplotlib.pyplot",
    "sklearn.cluster", "scipy.ndimage", "skimage.measure", "trimesh", "xatlas", "PIL.Image",
)  # fmt: skip


def import_all() -> None:
    """Everything that commands import when they run."""
    import torch

    torch.set_num_threads(1)
    import scorefield

    for found in pkgutil.walk_packages(scorefield.__path__, "scorefield."):
        if not found.name.endswith("__main__"):
            _import(found.name)
    for name in LIBRARIES:
        _import(name)
    import diffusers
    import PIL.Image

    PIL.Image.init()
    for name in ("StableDiffusionPipeline", "DDPMPipeline", "LCMScheduler", "DDIMScheduler"):
        getattr(diffusers, name)  # lazy until asked for


def _import(name: str) -> None:
    """A module, unless a library that it needs is not installed."""
    with suppress(ImportError):
        importlib.import_module(name)


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code (negative for a signal), what it said, how long it took.

    late: it was stopped after the seconds of computing that it may take, or `WAITS`.
    """

    code: int
    out: str
    err: str
    seconds: float
    late: bool = False


def fork(work: Callable[[], int]) -> int:
    """Starts a process that does the work and ends with its exit code; returns its number."""
    sys.stdout.flush()
    sys.stderr.flush()
    number = os.fork()
    if number:
        return number
    code = 70
    try:
        code = work()
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
        with suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


def spent(number: int) -> float:
    """Seconds that a process and its children have computed, where Linux says."""
    try:
        words = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, words[11:15])) / os.sysconf("SC_CLK_TCK")


def wait(number: int, seconds: float = SECONDS, interrupt: tuple[int, float] | None = None) -> int:
    """Waits for a process; returns its exit code.

    seconds: that it may compute.
    interrupt: a signal to send, and after how many seconds.

    Raises:
        TimeoutError: it was not over, and is killed.
    """
    started, pause, looked = time.monotonic(), 0.001, 0.0
    while True:
        done, status = os.waitpid(number, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        took = time.monotonic() - started
        if interrupt is not None and took >= interrupt[1]:
            os.kill(number, interrupt[0])
            interrupt = None
        if took > looked + 1.0:
            looked = took
            if took > max(WAITS, seconds) or spent(number) > seconds:
                os.kill(number, signal.SIGKILL)
                os.waitpid(number, 0)
                raise TimeoutError
        until = took + pause if interrupt is None else interrupt[1]
        time.sleep(max(0.0, min(pause, until - took)))
        pause = min(0.02, pause * 1.5)


class Started:
    """A command line that runs in a fork, in a folder, its words going to files."""

    def __init__(
        self,
        words: Sequence[str],
        folder: Path,
        before: Callable[[], None] = lambda: None,
        stdout: int | None = None,
    ) -> None:
        """Starts it.

        before: what the process does to itself first, such as setting a limit.
        stdout: a descriptor in place of a file.
        """
        self._said = [tempfile.TemporaryFile("w+b") for _ in range(2)]
        self._started = time.monotonic()

        def work() -> int:
            from scorefield.cli.main import main

            shrink()
            os.dup2(self._said[0].fileno() if stdout is None else stdout, 1)
            os.dup2(self._said[1].fileno(), 2)
            sys.stdout = open(1, "w", encoding="utf-8", closefd=False)
            sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)
            os.chdir(folder)
            before()
            return main(list(words))

        self.number = fork(work)

    def end(self, interrupt: tuple[int, float] | None = None, seconds: float = SECONDS) -> Ended:
        """Waits for its end."""
        late = False
        try:
            code = wait(self.number, seconds, interrupt)
        except TimeoutError:
            code, late = -signal.SIGKILL, True
        texts = []
        for file in self._said:
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
            file.close()
        return Ended(code, texts[0], texts[1], time.monotonic() - self._started, late)


def run(words: Sequence[str], folder: Path, before: Callable[[], None] = lambda: None) -> Ended:
    """A command line from its start to its end."""
    seconds = COMPILING if "--compile" in words else SECONDS
    return Started(words, folder, before).end(seconds=seconds)


_FOREIGN = re.compile(r"^scorefield: error: (?!NonFiniteError)[\w.]+(Error|Exception)\b")


def fault_of(ended: Ended, codes: Sequence[int] = (0, 1, 2)) -> str:
    """What is wrong with how a command ended; "" for nothing.

    Right is an exit code of `codes` and, if that is above 0, one line of our own at the end; what a
    signal has ended, below 0, can say nothing.
    """
    line = last_line(ended)
    if ended.late:
        return f"not over after {ended.seconds:.0f} s"
    if ended.code not in codes:
        return f"ended with {ended.code}: {line}"
    if "Traceback (most recent" in ended.err:
        return f"a traceback: {line}"
    if ended.code > 0 and not line.startswith("scorefield: "):
        return f"ended with {ended.code}, its last line is not ours: {line}"
    if _FOREIGN.match(line):
        return f"a foreign exception: {line}"
    return ""


def last_line(ended: Ended) -> str:
    """Of standard error."""
    lines = re.split(r"[\r\n]+", ended.err.strip())
    return lines[-1][:300]
