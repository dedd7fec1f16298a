"""Workers of a local Ray: the bits of one process, whoever is killed on the way."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pyarrow.parquet as parquet
import pytest
from tiny_data_sets import image_folder

COUNT, PER_FILE = 22, 3

FEATURES = ["features", "--ensemble", "16"]
CLASSIFY = ["classify", "--labels", "1,2,7", "--template", "{}", "--budget", "24"]

RAY = ["--engine", "ray", "--workers", "2"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed"),
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked for in /proc"),
]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = image_folder(tmp_path_factory.mktemp("data") / "images", COUNT)
    torn = folder / "1" / "00010.png"
    torn.write_bytes(torn.read_bytes()[:50])
    return folder


def words(command: list[str], images: Path, out: Path, *more: str) -> list[str]:
    return [
        sys.executable, "-m", "scorefield", *command, "--prior", "digits", "--device", "auto",
        "--data", "imagefolder", str(images), "--images-per-file", str(PER_FILE),
        "--out", str(out), "--quiet", *more,
    ]  # fmt: skip


def ends(process: "subprocess.Popen[str]") -> None:
    """The job ends with one line: of the torn image."""
    _, said = process.communicate(timeout=600)
    assert process.returncode == 1, said
    (line,) = said.splitlines()
    assert f"1 of {COUNT} images could not be read: 1/00010.png: cannot be read" in line


def run(given: list[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        given, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "RAY_worker_niceness": "0"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def alone(images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """The files that one process writes, by command."""
    where = tmp_path_factory.mktemp("alone")
    for command in (FEATURES, CLASSIFY):
        ends(run(words(command, images, where / command[0])))
    return {command[0]: files(where / command[0]) for command in (FEATURES, CLASSIFY)}


def files(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


@pytest.mark.parametrize("command", [FEATURES, CLASSIFY], ids=["features", "classify"])
def test_the_bits_of_one_process(
    command: list[str], images: Path, tmp_path: Path, alone: dict[str, dict[str, bytes]]
) -> None:
    ends(run(words(command, images, tmp_path / "out", *RAY)))
    assert files(tmp_path / "out") == alone[command[0]]
    names = [
        name
        for path in sorted((tmp_path / "out").glob("*.parquet"))
        for name in parquet.read_table(path, columns=["picture"]).column("picture").to_pylist()
    ]
    assert names == sorted(set(names)) and len(names) == COUNT


def descendants(pid: int) -> Iterator[int]:
    """The processes that a process has started, and they."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):  # it has ended
            continue
        if parent == pid:
            yield int(path.parent.name)
            yield from descendants(int(path.parent.name))


def workers_of(pid: int) -> list[int]:
    """The processes that write parts."""
    found = []
    for one in descendants(pid):
        try:
            title = Path(f"/proc/{one}/cmdline").read_bytes()
        except OSError:
            continue
        if title.startswith(b"ray::Worker"):
            found.append(one)
    return found


def wait_for_parts(process: "subprocess.Popen[str]", out: Path, count: int) -> None:
    until = time.monotonic() + 300
    while len(list(out.glob("part-*.parquet"))) < count:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.02)


def test_a_worker_is_killed(
    images: Path, tmp_path: Path, alone: dict[str, dict[str, bytes]]
) -> None:
    process, out = run(words(FEATURES, images, tmp_path / "out", *RAY)), tmp_path / "out"
    wait_for_parts(process, out, 1)
    killed = workers_of(process.pid)
    assert killed
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    ends(process)
    assert files(out) == alone["features"]


KILL_AN_ACTOR = """
import sys
from scorefield.cli.main import main
from scorefield.perception.fleet import engines

hired = []

class Crew(engines._Crew):
    def __init__(self, ray, hire, size):
        self.kill = ray.kill
        super().__init__(ray, lambda: hired.append(hire()) or hired[-1], size)

    def write(self, tasks):
        for number, written in enumerate(super().write(tasks)):
            if number in (0, 2):
                self.kill(hired[-1])
            yield written

engines._Crew = Crew
code = main(sys.argv[1:])
assert len(hired) == 4, hired
sys.exit(code)
"""


def test_an_actor_is_killed(
    images: Path, tmp_path: Path, alone: dict[str, dict[str, bytes]]
) -> None:
    given = words(FEATURES, images, tmp_path / "out", *RAY)
    given[1:3] = ["-c", KILL_AN_ACTOR]
    ends(run(given))
    assert files(tmp_path / "out") == alone["features"]


def test_the_driver_is_killed(
    images: Path, tmp_path: Path, alone: dict[str, dict[str, bytes]]
) -> None:
    given, out = words(FEATURES, images, tmp_path / "out", *RAY), tmp_path / "out"
    process = run(given)
    wait_for_parts(process, out, 2)
    theirs = set(descendants(process.pid))
    process.kill()
    process.communicate()
    until = time.monotonic() + 300
    while any(Path(f"/proc/{pid}/exe").exists() for pid in theirs):
        assert time.monotonic() < until, "Ray outlives its driver"
        time.sleep(0.1)
    done = {path: path.stat().st_mtime_ns for path in out.glob("part-*.parquet")}
    assert 2 <= len(done) < len(alone["features"]) - 1
    ends(run([*given, "--resume"]))
    assert files(out) == alone["features"]
    assert all(path.stat().st_mtime_ns == when for path, when in done.items())  # nothing twice


def test_an_address_of_nobody(images: Path, tmp_path: Path) -> None:
    begun = time.monotonic()
    given = words(FEATURES, images, tmp_path / "out", "--engine", "ray", "--address", "127.0.0.1:9")
    process = run(given)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2 and time.monotonic() - begun < 20
    (line,) = said.splitlines()
    assert "nothing answers at 127.0.0.1:9" in line and not (tmp_path / "out").exists()
