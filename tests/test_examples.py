"""The examples run; at toy size, for what they show is looked at elsewhere."""

import importlib.util
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

from scorefield.perception.correspondence.dift import DiftPreset
from scorefield.sds import SDS, VSD, Objective

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_mixture_field(tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    load("mixture_field").main(str(tmp_path / "field.png"), points=12, steps=5)
    assert (tmp_path / "field.png").stat().st_size > 0


def test_score_field(tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    load("score_field").main(str(tmp_path / "field.png"), cells=8, ways=3, steps=4)
    assert (tmp_path / "field.png").stat().st_size > 0


def test_guidance(tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    load("guidance").main(str(tmp_path / "guidance.png"), points=8, steps=3)
    assert (tmp_path / "guidance.png").stat().st_size > 0


def test_energy_field(tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    load("energy_field").main(str(tmp_path / "energy.png"), side=4, chains=5)
    assert (tmp_path / "energy.png").stat().st_size > 0


def test_objectives(tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    load("objectives").main(str(tmp_path / "objectives.png"), points=6, steps=3)
    assert (tmp_path / "objectives.png").stat().st_size > 0


def test_correspondence(tmp_path: Path) -> None:
    example = load("correspondence")
    preset = DiftPreset(("up0",), log_snr=2.0, ensemble=1)  # the prior's own looks 16 times
    example.features = partial(example.features, preset=preset)
    example.match = partial(example.match, preset=preset)
    example.main(str(tmp_path), pairs=1)
    assert any(tmp_path.iterdir())


def test_segment(tmp_path: Path) -> None:
    load("segment").main(str(tmp_path), categories=("lamp",), steps=1, k=2)
    assert (tmp_path / "segment.png").stat().st_size > 0


def test_classify(capsys: pytest.CaptureFixture[str]) -> None:
    load("classify").main(count=1, confidence=0.5)
    assert "evaluations, confidence" in capsys.readouterr().out


def test_compose(tmp_path: Path) -> None:
    load("compose").main(str(tmp_path / "compose.png"), columns=1, steps=2)
    assert (tmp_path / "compose.png").stat().st_size > 0


def test_edit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example = load("edit")
    example.OBJECTS = example.OBJECTS[:1]
    example.main(str(tmp_path / "edit.png"), steps=2)
    assert float(capsys.readouterr().out.split()[-1]) < 1e-4  # latents come back exactly
    assert (tmp_path / "edit.png").stat().st_size > 0


def test_video_adapter(tmp_path: Path) -> None:
    load("video_adapter").main(str(tmp_path / "clips.png"), steps=2)
    assert (tmp_path / "clips.png").stat().st_size > 0


def test_prior_of_images(tmp_path: Path) -> None:
    load("prior_of_pictures").main(str(tmp_path / "house.png"), count=24, steps=2)
    assert (tmp_path / "house.png").stat().st_size > 0


def test_policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load("policy").main(str(tmp_path / "policy.png"), steps=2, episodes=2)
    assert "success 0.00" in capsys.readouterr().out
    assert (tmp_path / "policy.png").stat().st_size > 0


def test_check_your_prior(capsys: pytest.CaptureFixture[str]) -> None:
    load("check_your_prior").main()
    passes, _, fails, _ = capsys.readouterr().out.splitlines()
    assert passes.startswith("Plain passes: shapes, ")
    assert fails.startswith("Forgetful fails") and "items" in fails


@pytest.mark.slow
def test_text_to_3d(tmp_path: Path) -> None:
    load("text_to_3d").main(str(tmp_path / "duck"), steps=60)
    assert (tmp_path / "duck" / "mesh.glb").stat().st_size > 0


@pytest.mark.parametrize("objective", [SDS(), VSD()], ids=["sds", "vsd"])
def test_own_generator(tmp_path: Path, objective: Objective) -> None:
    """The second call finds all steps done and writes the same image again."""
    example, out = load("own_generator"), tmp_path / "run"
    example.main(str(out), steps=2, objective=objective)
    first = (out / "final.png").read_bytes()
    (out / "final.png").unlink()
    example.main(str(out), steps=2, objective=objective)
    assert (out / "final.png").read_bytes() == first
    assert (out / "previews" / "000002.png").exists()
