"""`scorefield compose` and the example of composition, at toy size."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from untrained import untrained_shapes

from scorefield.cli.main import main
from scorefield.images import load_image

SHORT = ["-n", "1", "--steps", "2", "--device", "cpu", "--quiet"]


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a pipeline of random weights."""
    torch.manual_seed(0)
    return str(untrained_shapes(tmp_path_factory.mktemp("prior") / "tiny"))


def test_one_prompt_is_what_sample_does(
    prior: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "composed.png")
    assert main(["compose", "a table", "--prior", prior, "--out", out, "--json", *SHORT]) == 0
    metrics = json.loads(capsys.readouterr().out)
    (scale,) = metrics["weights"].values()
    sampled = str(tmp_path / "sampled.png")
    words = ["sample", "a table", "--prior", prior, "--scale", str(scale), "--out", sampled]
    assert main([*words, *SHORT]) == 0
    torch.testing.assert_close(load_image(out), load_image(sampled), rtol=0, atol=2 / 255)


def test_and_not_with_noise_and_corrections(
    prior: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "composed.png"
    words = ["compose", "a table", "red", "--weights", "2", "3", "--without", "blue"]
    words += ["--prior", prior, "--out", str(out), "--sampler", "ddpm", "--correct", "1", *SHORT]
    assert main(words) == 0
    assert load_image(out).shape[0] == 3
    told = capsys.readouterr().out
    assert "-3  expert 1" in told and "forward passes per evaluation: 1, for 4 experts" in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "error"),
        (["a table", "--weights", "1", "2"], "got 2 for 1 prompts"),
        (["red", "red"], "a prompt is given twice"),
        (["red", "--without", "zebra"], "does not know 'zebra'"),
        (["red", "--weights", "nan"], "--weights must be a finite number; got nan"),
        (["red", "--correct", "-1"], "--correct must be at least 0"),
    ],
)
def test_refused(
    words: list[str], message: str, prior: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compose", *words, "--prior", prior, *SHORT]) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1


def test_example(tmp_path: Path) -> None:
    path = Path(__file__).parents[1] / "examples" / "compose.py"
    spec = importlib.util.spec_from_file_location("compose_example", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(str(tmp_path / "compose.png"), columns=1, steps=2)
    assert (tmp_path / "compose.png").stat().st_size > 0
