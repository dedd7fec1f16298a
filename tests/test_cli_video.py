"""The commands of videos: what they write, and what they refuse in one line."""

import json
from pathlib import Path

import pytest
from PIL import Image
from untrained import untrained_clips, untrained_shapes

from scorefield.cli.main import main

PROMPT = "a red square moving left"
NORMALIZED = ("--adapter-variant", "normalized")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Folders of two priors of clips with random weights."""
    folder = tmp_path_factory.mktemp("clips")
    return untrained_clips(folder, "broad"), untrained_clips(folder, "narrow")


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The line of a command that must be refused."""
    capsys.readouterr()
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("scorefield: error: ") and captured.err.count("\n") == 1
    return captured.err


def test_text_to_video_writes_a_gif_and_film_strips(
    pair: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "clip.gif"
    words = ["text-to-video", PROMPT, "--prior", pair[0], "-n", "2", "--steps", "2"]
    assert main([*words, "--out", str(out), "--json", "--device", "cpu"]) == 0
    captured = capsys.readouterr()
    metrics = json.loads(captured.out)
    assert metrics["frames"] == 8 and metrics["scale"] == 2.0 and "sampling" in captured.err
    with Image.open(out) as gif:
        assert gif.n_frames == 8 and gif.size == (2 * 66 + 2, 66 + 2)  # type: ignore[attr-defined]
    with Image.open(metrics["strips"]) as sheet:
        assert sheet.size == (8 * 66 - 2 + 4, 2 * 66 + 2)


def test_text_to_video_with_an_adapter(
    pair: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["text-to-video", PROMPT, "--prior", pair[0], "--adapter", pair[1], "-n", "1", "--json"]
    words += ["--steps", "2", "--quiet", "--device", "cpu"]
    assert main([*words, "--out", str(tmp_path / "a.gif")]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert (metrics["adapter"], metrics["variant"]) == ("narrow", "guided")
    assert metrics["prior_strength"] == 10 and "inverse_temperature" not in metrics
    for variant in ("algorithm-1", "normalized"):
        chosen = ["--adapter-variant", variant, "--inverse-temperature", "2"]
        assert main([*words, "--out", str(tmp_path / f"{variant}.gif"), *chosen]) == 0
        metrics = json.loads(capsys.readouterr().out)
        strength = {"algorithm-1": 0.1, "normalized": 0.3}[variant]
        assert (metrics["prior_strength"], metrics["inverse_temperature"]) == (strength, 2)
    assert len({path.read_bytes() for path in tmp_path.glob("*.gif")}) > 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["  "], "the prompt is empty"),
        (["a red sqare moving left"], "'sqare' (nearest: square"),
        ([PROMPT, "--out", "clip.png"], "--out must end in one of .gif, .mp4; got clip.png"),
        ([PROMPT, "--fps", "0"], "--fps must be above 0; got 0"),
        ([PROMPT, "-n", "0"], "--n must be at least 1; got 0"),
        ([PROMPT, "--frames", "9"], "makes clips of 8 frames of 16 pixels only; got 9"),
        ([PROMPT, "--prior", "nowhere"], "nowhere: no such folder"),
        ([PROMPT, "--prior-strength", "1"], "give --adapter, such as motion-narrow"),
        ([PROMPT, "--adapter", "NARROW", "--scale", "2"], "give --prior-strength"),
        ([PROMPT, "--adapter", "NARROW", "--inverse-temperature", "2"], "give one of them"),
        (
            [
                PROMPT,
                "--adapter",
                "NARROW",
                "--prior-strength",
                "-1",
                "--adapter-variant",
                "normalized",
            ],
            "prior_strength must be >= 0",
        ),
        ([PROMPT, "--adapter", "NARROW", "--prior-strength", "nan"], "must be a finite number"),
        ([PROMPT, "--adapter", "SHORT"], "their videos have 4 and 8 (latent) frames"),
        ([PROMPT, "--adapter", "IMAGES"], "makes images, not videos"),
        ([PROMPT, "--prior", "IMAGES"], "makes images, not videos"),
    ],
)
def test_refusals_are_one_line_and_write_nothing(
    words: list[str],
    message: str,
    pair: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "priors"
    known = {"NARROW": lambda: pair[1], "SHORT": lambda: untrained_clips(folder, "short", 4)}
    known["IMAGES"] = lambda: str(untrained_shapes(folder / "tiny"))
    words = [known[word]() if word in known else word for word in words]
    if "--prior" not in words:
        words += ["--prior", pair[0]]
    assert message in refused(capsys, "text-to-video", *words, "--device", "cpu")
    assert {path.name for path in tmp_path.iterdir()} <= {"priors"}
