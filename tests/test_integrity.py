"""Seals find every change of a folder, and weights that are not finite are refused."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from scorefield.integrity import SEAL, check_finite_weights, check_seal, unverified, write_seal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "unet").mkdir()
    weights = {name: torch.randn(8, 8) for name in "abcd"}
    save_file(weights, tmp_path / "unet" / "weights.safetensors")
    (tmp_path / "config.json").write_text("{}\n", encoding="utf-8")
    (tmp_path / "README.md").write_text("A card\n", encoding="utf-8")
    write_seal(tmp_path)
    return tmp_path


def test_a_sealed_folder_holds(folder: Path) -> None:
    assert check_seal(folder)
    (folder / "README.md").write_text("Another card\n", encoding="utf-8")
    write_seal(folder)
    assert check_seal(folder)


def test_a_folder_without_a_seal_is_taken(tmp_path: Path) -> None:
    assert not check_seal(tmp_path)


def test_the_seal_is_what_sha256sum_reads(folder: Path) -> None:
    done = subprocess.run(["sha256sum", "-c", SEAL], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.splitlines() == ["config.json: OK", "unet/weights.safetensors: OK"]


def test_every_damage_is_found(folder: Path) -> None:
    file = folder / "unet" / "weights.safetensors"
    whole = file.read_bytes()
    chance = random.Random(0)
    for number in range(300):
        damaged = bytearray(whole)
        at = chance.randrange(len(whole))
        if number % 3 == 0:
            damaged[at] ^= 1 << chance.randrange(8)
        elif number % 3 == 1:
            del damaged[at:]
        else:
            half = len(whole) // 2
            damaged[half:] = bytes(len(whole) - half)
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"weights\.safetensors: is not the file"):
            check_seal(folder)
    with unverified():
        assert not check_seal(folder)
    file.write_bytes(whole)
    assert check_seal(folder)


def test_missing_and_added_files_are_named(folder: Path) -> None:
    (folder / "more.safetensors").touch()
    with pytest.raises(ValueError, match=r"more\.safetensors: is not listed"):
        check_seal(folder)
    (folder / "more.safetensors").unlink()
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match=r"config\.json: is missing"):
        check_seal(folder)


def test_a_damaged_seal_is_named(folder: Path) -> None:
    (folder / SEAL).write_text("nonsense\n", encoding="utf-8")
    with pytest.raises(ValueError, match="is no list of checksums"):
        check_seal(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_must_be_finite(value: float) -> None:
    weights = {"whole": torch.zeros(3), "broken": torch.tensor([0.0, value]).half()}
    with pytest.raises(ValueError, match=r"a\.safetensors: the weights broken are not finite"):
        check_finite_weights(weights, "a.safetensors")
    check_finite_weights({"steps": torch.arange(3)}, "a.safetensors")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
@pytest.mark.parametrize("name", [b"two\nlines.json", b"\xff.json", "\u2028.json".encode()])
def test_a_name_that_no_list_can_hold(name: bytes, folder: Path) -> None:
    Path(os.fsdecode(os.path.join(os.fsencode(folder), name))).touch()
    with pytest.raises(ValueError, match="rename the file") as error:
        write_seal(folder)
    assert str(error.value).isprintable()
