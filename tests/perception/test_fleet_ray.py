"""Workers of a local Ray: the bits of one process, whoever is killed on the way."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import slow_fleet
from tiny_data_sets import image_folder

from scorefield.perception.fleet.part_files import part_paths, part_rows

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed"),
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked for in /proc"),
]

COUNT = 22


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = image_folder(tmp_path_factory.mktemp("data") / "images", COUNT)
    torn = folder / "1" / "00010.png"
    torn.write_bytes(torn.read_bytes()[:50])
    return folder


def run(*given: str) -> "subprocess.Popen[str]":
    """A process of Python, whose workers have its own priority."""
    return subprocess.Popen(
        [sys.executable, *given], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "RAY_worker_niceness": "0"},
    )  # fmt: skip


def files(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


@pytest.mark.parametrize(
    "command",
    [
        ["features", "--ensemble", "2"],
        ["classify", "--labels", "1,2,7", "--template", "{}", "--budget", "24"],
    ],
    ids=["features", "classify"],
)
def test_the_bits_of_one_process(command: list[str], images: Path, tmp_path: Path) -> None:
    found = []
    for engine in (["local"], ["ray", "--workers", "2"]):
        out = tmp_path / engine[0]
        process = run(
            "-m", "scorefield", *command, "--prior", "digits", "--images-per-file", "4",
            "--data", "imagefolder", str(images), "--out", str(out), "--quiet", "--engine", *engine,
        )  # fmt: skip
        _, said = process.communicate(timeout=600)
        assert process.returncode == 1, said
        (line,) = said.splitlines()
        assert f"1 of {COUNT} images could not be read: 1/00010.png: cannot be read" in line
        found.append(files(out))
    assert found[0] == found[1]


@pytest.fixture(scope="module")
def alone(images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files that one process writes."""
    out = tmp_path_factory.mktemp("alone") / "out"
    slow_fleet.fleet(images, out, "local")
    rows = [row for path in part_paths(out) for row in part_rows(path)]
    assert [row["image"] for row in rows] == sorted({row["image"] for row in rows})
    assert len(rows) == COUNT and [row["mean"] is None for row in rows].count(True) == 1
    return files(out)


def fleet(images: Path, out: Path, *more: str) -> "subprocess.Popen[str]":
    return run(slow_fleet.__file__, str(images), str(out), "ray", *more)


def ends(process: "subprocess.Popen[str]") -> str:
    """What a fleet says in the end, which is of the torn image alone."""
    told, said = process.communicate(timeout=600)
    assert process.returncode == 0 and said == "", said
    assert (
        "1 of 22 images could not be read" in told and told.count("\n") == told.count("actors") + 1
    )
    return told


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
    until = time.monotonic() + 600
    while len(part_paths(out)) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_worker_is_killed(images: Path, tmp_path: Path, alone: dict[str, bytes]) -> None:
    out = tmp_path / "out"
    process = fleet(images, out)
    wait_for_parts(process, out, 1)
    killed = workers_of(process.pid)
    assert killed
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    ends(process)
    assert files(out) == alone


def test_an_actor_is_killed(images: Path, tmp_path: Path, alone: dict[str, bytes]) -> None:
    out = tmp_path / "out"
    assert "4 actors" in ends(fleet(images, out, "0,2"))
    assert files(out) == alone


def test_the_driver_is_killed(images: Path, tmp_path: Path, alone: dict[str, bytes]) -> None:
    out = tmp_path / "out"
    process = fleet(images, out)
    wait_for_parts(process, out, 2)
    theirs = set(descendants(process.pid))
    process.kill()
    process.communicate()
    until = time.monotonic() + 300
    while any(Path(f"/proc/{pid}/exe").exists() for pid in theirs):
        assert time.monotonic() < until, "Ray outlives its driver"
        time.sleep(0.1)
    done = {path: path.stat().st_mtime_ns for path in part_paths(out)}
    assert 2 <= len(done) < len(alone) - 1
    ends(fleet(images, out))
    assert files(out) == alone
    assert all(path.stat().st_mtime_ns == when for path, when in done.items())  # nothing twice
