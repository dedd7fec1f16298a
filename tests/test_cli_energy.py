"""`scorefield energy`: a row per image and method, and refusals before anything starts."""

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
    first, second = told["images"]
    assert [first["image"], second["image"]] == pictures
    assert first["line_integral_from_first"] == 0 != second["line_integral_from_first"]
    for row in (first, second):
        assert row["ode"]["standard_error"] is None and row["ito"]["standard_error"] > 0
        bits = row["ode"]["energy"] / (1024 * 0.6931471805599453)
        assert row["ode"]["bits_per_dim"] == pytest.approx(bits, rel=1e-5)
        assert row["asymmetry"] > 0
        apart = row["ito"]["bits_per_dim"] - row["ode"]["bits_per_dim"]
        assert row["quote"] == "ode" and row["apart_bits_per_dim"] == pytest.approx(apart)
    # one at a time, for want of memory: the same figures; what is needed is said before
    words = ["energy", *pictures, *options[:-3], "--device", "cpu", *few, "--json"]
    assert main([*words, "--memory", "0.003"]) == 0
    said = capsys.readouterr()
    assert "GiB beside the weights, 1 images at once" in said.err
    for row, alone in zip(told["images"], json.loads(said.out)["images"], strict=True):
        for method in ("ode", "ito"):
            assert alone[method]["energy"] == pytest.approx(row[method]["energy"], rel=1e-4)
        assert alone["line_integral_from_first"] == pytest.approx(
            row["line_integral_from_first"], rel=1e-3, abs=1e-3
        )
    assert main([*words, "--memory", "0.001"]) == 2
    assert "--memory is 0.001; give more" in capsys.readouterr().err
    assert main(["energy", pictures[0], *options, *few]) == 0
    assert "quote the ODE's" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ([], "no image is given"),
        (["missing.png"], "missing.png: there is no such file"),
        ([__file__, "--probes", "0"], "--probes must be at least 1; got 0"),
    ],
)
def test_refusals(words: list[str], match: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["energy", *words]) == 2
    assert match in capsys.readouterr().err
