"""The script of the Video Adapter experiment: what it is told, and what it refuses in one line."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import evaluate
import pytest
from untrained import untrained_clips

from scorefield.cli.main import run_command


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Folders of two priors of clips with random weights."""
    folder = tmp_path_factory.mktemp("clips")
    return untrained_clips(folder, "broad"), untrained_clips(folder, "narrow")


def run(words: Sequence[str]) -> int:
    return run_command(lambda: evaluate.EvaluateVideoAdapter, words, evaluate.PROGRAM)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The line of a command that must be refused."""
    capsys.readouterr()
    assert run(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("scorefield: error: ") and captured.err.count("\n") == 1
    return captured.err


def test_evaluate_video_adapter_passes_on_what_it_is_told(
    pair: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    told: dict[str, Any] = {}

    def recorded(small: str, prior: str, out: Path, settings: Any, **options: Any) -> Any:
        told.update(small=small, prior=prior, settings=settings, **options)
        out.mkdir()
        (out / "table.md").write_text("| the table |\n")
        return {"arms": {}}

    monkeypatch.setattr(evaluate, "evaluate_video_adapter", recorded)
    words = ["--prior", pair[0], "--adapter", pair[1]]
    out = tmp_path / "out"
    assert run([*words, "--out", str(out), "-n", "72", "--steps", "9", "--seed", "3"]) == 0
    assert capsys.readouterr().out.startswith("| the table |\nwrote ")
    assert (told["small"], told["prior"], told["resume"]) == (pair[1], pair[0], False)
    settings = told["settings"]
    assert (settings.n, settings.steps, settings.seed) == (72, 9, 3)
    assert "is not empty" in refused(capsys, *words, "--out", str(out))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-n", "8"], "n must be at least 72, two clips of every caption; got 8"),
        (["--prior", "nowhere"], "nowhere: no such folder"),
        (["--adapter", "SHORT"], "clips of the moving world have (8, 3, 16, 16)"),
    ],
)
def test_evaluate_video_adapter_refuses(
    words: list[str],
    message: str,
    pair: tuple[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [untrained_clips(tmp_path, "short", 4) if word == "SHORT" else word for word in words]
    words += ["--prior", pair[0]] * ("--prior" not in words)
    words += ["--adapter", pair[1]] * ("--adapter" not in words)
    command = [*words, "--out", str(tmp_path / "out")]
    assert message in refused(capsys, *command, "--device", "cpu")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_evaluate_video_adapter_runs(
    pair: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["--prior", pair[0], "--adapter", pair[1], "--quick"]
    words += ["--out", str(out), "--device", "cpu"]
    assert run(words) == 0
    assert "is small + prior better than both alone?" in capsys.readouterr().out
    assert {"table.md", "results.json", "grids.png", "strips"} <= {p.name for p in out.iterdir()}
    before = (out / "results.json").read_bytes()
    assert run([*words, "--resume", "--quiet"]) == 0
    assert (out / "results.json").read_bytes() == before
