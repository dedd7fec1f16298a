"""One process at a time goes on with a folder or a file; a dead owner keeps nobody out."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from untrained import untrained_shapes

from scorefield.cli.main import main
from scorefield.cli.perception.image_results import ImageResults
from scorefield.control.data.episodes import EpisodeWriter
from scorefield.control.data.spaces import Horizons, PolicySpaces
from scorefield.control.networks.settings import PerceptronSettings
from scorefield.control.policies.diffusion_policy import DiffusionPolicy
from scorefield.gallery import write_gallery
from scorefield.gallery.site import check_site
from scorefield.images import save_image
from scorefield.locks import lock_path, owned
from scorefield.runs import RunFolder

_OWN = """
import sys
from pathlib import Path
from scorefield.locks import lock_path
lock = lock_path(Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def owner() -> Iterator[Callable[[Path], "subprocess.Popen[str]"]]:
    """Starts a process that owns a path."""
    started = []

    def start(path: Path) -> "subprocess.Popen[str]":
        words = [sys.executable, "-c", _OWN, str(path)]
        process = subprocess.Popen(words, stdin=-1, stdout=-1, text=True)
        started.append(process)
        assert process.stdout is not None and process.stdout.readline() == "locked\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def _gallery(folder: Path) -> None:
    (folder.parent / "runs").mkdir(exist_ok=True)
    write_gallery([folder.parent / "runs"], folder)


OPENED: dict[str, Callable[[Path], object]] = {
    "run": lambda folder: RunFolder.create(folder, {}, resume=True),
    "episodes": lambda folder: EpisodeWriter(folder, {}),
    "gallery": _gallery,
}


@pytest.mark.skipif(sys.platform == "win32", reason="has no locks of folders")
@pytest.mark.parametrize("kind", OPENED)
def test_a_folder_of_another_process_is_refused_until_it_is_killed(
    kind: str, tmp_path: Path, owner: Callable[[Path], "subprocess.Popen[str]"]
) -> None:
    (folder := tmp_path / "out").mkdir()
    process = owner(folder)
    with pytest.raises(ValueError, match=r"out is in use by another run.*wait until it ends"):
        OPENED[kind](folder)
    assert list(folder.iterdir()) == []
    process.send_signal(signal.SIGKILL)
    process.wait()
    OPENED[kind](folder)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists who has a lock")
def test_the_owner_is_named(
    tmp_path: Path, owner: Callable[[Path], "subprocess.Popen[str]"]
) -> None:
    process = owner(tmp_path)
    with pytest.raises(ValueError, match=rf"another run \(process {process.pid} on .+\)"):
        lock_path(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="has no locks of folders")
def test_a_file_of_results_has_one_owner(
    tmp_path: Path, owner: Callable[[Path], "subprocess.Popen[str]"]
) -> None:
    path = tmp_path / "results.jsonl"
    ImageResults(path, {"seed": 0}, False)
    before = path.read_bytes()
    process = owner(path)
    with pytest.raises(ValueError, match="in use by another run"):
        ImageResults(path, {"seed": 0}, True)
    process.kill()
    process.wait()
    ImageResults(path, {"seed": 0}, True)
    assert path.read_bytes() == before


def test_what_was_refused_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no"), owned(tmp_path / "new"):
        raise ValueError("no")
    assert not (tmp_path / "new").exists()
    with owned(tmp_path / "new"):
        (tmp_path / "new" / "kept").touch()
    with owned(tmp_path / "new"), owned(tmp_path / "new"):
        assert (tmp_path / "new" / "kept").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="has no locks of folders")
@pytest.mark.parametrize("command", ["invert", "segment", "policy export", "seal"])
def test_a_command_refuses_what_another_process_writes(
    command: str,
    tmp_path: Path,
    owner: Callable[[Path], "subprocess.Popen[str]"],
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    image = save_image(tmp_path / "image.png", torch.rand(3, 16, 16))
    words = command.split()
    if command == "seal":
        words += [str(out)]
        (out / "weights.safetensors").touch()
    elif command == "policy export":
        spaces = PolicySpaces(state=3, action=2, low=(-1.0, -2.0), high=(1.0, 2.0))
        network = PerceptronSettings(width=16, layers=1, frequencies=4)
        DiffusionPolicy(spaces, Horizons(2, 3, 4), network).save(tmp_path / "policy")
        words += [str(tmp_path / "policy"), "--out", str(out)]
    else:
        prior = untrained_shapes(tmp_path / "prior")
        words += [str(image), "--prior", str(prior), "--out", str(out), "--quiet"]
    locked = out
    if command == "segment":  # its rows are the owner's
        locked = out / "images.jsonl"
        locked.touch()
        words.append("--resume")
    before = sorted(out.iterdir())
    owner(locked)
    assert main(words) == 2
    assert f"{locked} is in use by another run" in capsys.readouterr().err
    assert sorted(out.iterdir()) == before


def test_a_gallery_whose_writer_was_killed_at_its_first_file_is_ours(tmp_path: Path) -> None:
    (folder := tmp_path / "page").mkdir()
    (folder / ".index.part.html").touch()
    check_site(folder)
    (folder / "notes.txt").touch()
    with pytest.raises(ValueError, match="is not empty and no gallery"):
        check_site(folder)
