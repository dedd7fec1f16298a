"""The commands of drawings: files, JSON, errors in one line."""

import json
from pathlib import Path

import pytest
import torch
from untrained import untrained_shapes

from scorefield.cli.main import main

pytest.importorskip("resvg_py")
TINY = [
    "--steps",
    "2",
    "--trace-steps",
    "2",
    "--views",
    "1",
    "--paths",
    "3",
    "--preview-every",
    "0",
]
TINY += ["--samples", "1", "--render-size", "16", "--device", "cpu", "--quiet"]


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a prior that is quick and has learnt nothing."""
    torch.manual_seed(0)
    return str(untrained_shapes(tmp_path_factory.mktemp("prior") / "tiny"))


def test_a_drawing_and_its_json(
    tmp_path: Path, untrained: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "duck"
    assert main(["text-to-svg", "a yellow duck", *TINY, "--json", "--out", str(out)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["asked"] == "a flat icon of a yellow duck, white background"
    assert 1 <= told["shapes"] <= 3 and told["steps"] == 2
    assert set(told["files"]) == {"svg", "png", "traced"}
    assert all(Path(path).stat().st_size > 0 for path in told["files"].values())
    # The drawing is a start for another one.
    again = ["text-to-svg", "a red duck", *TINY, "--start", str(out / "final.svg")]
    again += ["--prior", untrained]
    assert main([*again, "--out", str(tmp_path / "red")]) == 0


def test_a_list_is_drawn_and_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("# two\na red cup\na blue boat\n")
    command = ["evaluate", "text-to-svg", "--prompts", str(prompts), *TINY]
    assert main([*command, "--json", "--out", str(tmp_path / "all")]) == 0
    totals = json.loads(capsys.readouterr().out)["totals"]
    assert totals["done"] == 2 and totals["category"]["of"] == 2
    assert (tmp_path / "all" / "sheet.png").stat().st_size > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a yellow dragon"], "dragon"),
        (["a duck", "--style", "pixel-art", "--paths", "3"], "give --grid"),
        (["a duck", "--start", "missing.svg"], "no such file"),
        (["a duck", "--steps", "-1"], "steps must be at least 0"),
        (["a duck", "--rasteriser", "diffvg"], "pydiffvg"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    out = tmp_path / "none"
    assert main(["text-to-svg", *words, "--device", "cpu", "--quiet", "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
    assert not out.exists()
