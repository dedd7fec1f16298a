"""A full disk, memory that is used up and a closed pipe are told in words of our own."""

import errno
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from safetensors import SafetensorError

from scorefield.cli.command import Command
from scorefield.cli.failures import failure_of
from scorefield.cli.main import main


@dataclass(frozen=True, kw_only=True)
class Resumable(Command):
    resume: bool = False
    batch_size: int = 64


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "out/a.npy"), "out/a.npy: No space left"),
        (OSError("16128 requested and 12160 written"), "16128 requested and 12160 written; see to"),
        (
            SafetensorError(
                'Error while serializing: IoError(Os { code: 28, kind: StorageFull, message: "No '
                'space left on device" })'
            ),
            "No space left on device; see to",
        ),
        (
            SafetensorError(
                "Error while serializing: I/O error: No space left on device (os error 28)"
            ),
            "No space left on device; see to",
        ),
        (RuntimeError("could not create a primitive"), "out of memory"),
        (MemoryError(), r"lower --batch-size (now 64)"),
        (RuntimeError("[enforce fail] can't allocate memory: you tried"), "out of memory"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "standard output was closed"),
    ],
)
def test_what_the_machine_refuses(error: Exception, line: str) -> None:
    told = failure_of(error, Resumable())
    assert told is not None and line in told and "\n" not in told
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        assert "the same command with --resume goes on" in told


def test_other_errors_are_not_the_machines() -> None:
    assert failure_of(KeyError("x"), Resumable()) is None
    assert failure_of(RuntimeError("shapes differ"), Resumable()) is None


def test_a_full_disk_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "x"))

    monkeypatch.setattr(Path, "write_text", full)
    (tmp_path / "weights.json").touch()
    assert main(["seal", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"scorefield: error: {tmp_path / 'x'}: No space left on device; see to")
    assert told.count("\n") == 1


@pytest.mark.parametrize("words", [["seal", "a" * 300], ["info", "a" * 300]])
def test_a_name_that_no_file_can_have_is_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    told = capsys.readouterr().err
    assert "aaa...: no file can have that name" in told and told.count("\n") == 1


@pytest.mark.parametrize("words", [["seal", "."], ["text-to-3d", "--help"]])
def test_a_reader_that_went_away_is_no_traceback(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "weights.json").touch()
    reading, writing = os.pipe()
    os.close(reading)
    words = [sys.executable, "-m", "scorefield", *words]
    done = subprocess.run(words, cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert done.returncode == 1
    assert done.stderr == (
        "scorefield: error: standard output was closed before all of it was written\n"
    )
