"""`scorefield energy`: a row per picture and method, and refusals before anything starts."""

import json
from pathlib import Path

import pytest
import torch
from untrained import untrained_shapes

from scorefield.cli.main import main
from scorefield.images import save_image


def test_energy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    prior = untrained_shapes(tmp_path / "p")
    pictures = [str(save_image(tmp_path / f"{i}.png", torch.rand(3, 64, 64))) for i in range(2)]
    few = ["--ode-steps", "1", "--probes", "1", "--ito-steps", "1", "--paths", "2", "--points", "1"]
    options = ["--prior", str(prior), "--prompt", "a red mushroom", "--quiet", "--device", "cpu"]
    assert main(["energy", *pictures, *options, *few, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["dimensions"] == 4 * 16 * 16 and told["prompt"] == "a red mushroom"
    first, second = told["pictures"]
    assert [first["picture"], second["picture"]] == pictures
    assert first["line_integral_from_first"] == 0 != second["line_integral_from_first"]
    for row in (first, second):
        assert row["ode"]["standard_error"] is None and row["ito"]["standard_error"] > 0
        bits = row["ode"]["energy"] / (1024 * 0.6931471805599453)
        assert row["ode"]["bits_per_dim"] == pytest.approx(bits, rel=1e-5)
        assert row["asymmetry"] > 0


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ([], "no picture is given"),
        (["missing.png"], "missing.png: there is no such file"),
        ([__file__, "--probes", "0"], "--probes must be at least 1; got 0"),
    ],
)
def test_refusals(words: list[str], match: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["energy", *words]) == 2
    assert match in capsys.readouterr().err
