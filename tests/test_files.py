"""Files and folders appear whole or not at all."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from scorefield.files import whole_file, whole_folder, write_json, write_text


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "mesh.glb"
    with whole_file(target) as part:
        part.write_bytes(b"half")
        assert not target.exists()
        assert part.suffix == ".glb"
        part.write_bytes(b"whole")
    assert target.read_bytes() == b"whole"
    assert os.listdir(target.parent) == ["mesh.glb"]


def test_an_error_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    target = write_text(tmp_path / "notes.txt", "old")
    with pytest.raises(RuntimeError), whole_file(target) as part:
        part.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_what_a_killed_writer_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / ".notes.part.txt").write_text("half of an earlier one")
    write_text(tmp_path / "notes.txt", "new")
    assert os.listdir(tmp_path) == ["notes.txt"]


@pytest.mark.parametrize("whole", [whole_file, whole_folder])
def test_two_writers_of_one_path(
    whole: Callable[[Path], AbstractContextManager[Path]], tmp_path: Path
) -> None:
    """The later of two processes is refused, and the part of the earlier stays whole."""
    write = (
        "import sys; from scorefield.files import whole_file, whole_folder\n"
        f"with {whole.__name__}(sys.argv[1]): pass"
    )
    target = tmp_path / "notes.txt"
    with whole(target) as part:
        inside = part / "a" if part.is_dir() else part
        inside.write_text("new")
        other = subprocess.run(
            [sys.executable, "-c", write, str(target)], capture_output=True, text=True, check=False
        )
        assert f"{target} is in use by another run (process {os.getpid()}" in other.stderr
        assert inside.read_text() == "new"
    assert (target / "a" if target.is_dir() else target).read_text() == "new"
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_writers_of_a_shared_file_do_not_wait_for_each_other(tmp_path: Path) -> None:
    target = tmp_path / "maps.safetensors"
    with whole_file(target, shared=True) as mine:
        mine.write_text("mine")
        with whole_file(target, shared=True) as other:
            other.write_text("other")
        assert target.read_text() == "other"
    assert target.read_text() == "mine"
    assert os.listdir(tmp_path) == [target.name]


def test_permissions_are_those_of_a_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with whole_file(tmp_path / "weights.safetensors") as part:
            save_file({"a": torch.zeros(1)}, part)
            part.chmod(0o600)
        assert stat.S_IMODE((tmp_path / "weights.safetensors").stat().st_mode) == 0o640
        with whole_folder(tmp_path / "prior") as part:
            (part / "unet").mkdir()
            save_file({"a": torch.zeros(1)}, part / "unet" / "a.safetensors")
            write_json(part / "card.json", {})
        modes = [file.stat().st_mode for file in (tmp_path / "prior").rglob("*.*")]
        assert [stat.S_IMODE(mode) for mode in modes] == [0o640, 0o640]
    finally:
        os.umask(before)


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "policy"
    with whole_folder(target) as part:
        write_json(part / "policy.json", {"steps": 1})
        assert not target.exists()
    with pytest.raises(RuntimeError), whole_folder(target) as part:
        write_json(part / "policy.json", {"steps": 2})
        raise RuntimeError
    assert json.loads((target / "policy.json").read_text()) == {"steps": 1}
    with whole_folder(target) as part:
        write_json(part / "other.json", {})
    assert os.listdir(target) == ["other.json"]
    assert os.listdir(tmp_path) == ["policy"]
