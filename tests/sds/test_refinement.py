"""The texture of a finished scene, refined: the shape stays, the colours follow the prior."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from small_scenes import small_scenes

from scorefield.cli.main import main
from scorefield.priors.codec import PixelCodec
from scorefield.priors.exact.empirical import EmpiricalPrior
from scorefield.priors.prior import ImagePrior
from scorefield.sds.levels import DreamTime
from scorefield.sds.nerf.assets.settings import AssetSettings
from scorefield.sds.nerf.fields import VoxelGrid
from scorefield.sds.nerf.scene_distillation import text_to_3d
from scorefield.sds.nerf.settings import TextTo3DSettings
from scorefield.sds.nerf.texture import refinement
from scorefield.sds.nerf.texture.refinement import Refined, Refinement, refinement_settings

SMALL = AssetSettings(mesh_resolution=24, texture=64, frames=2, render_size=16)
SETTINGS = TextTo3DSettings("a red cup", steps=1, views=1, samples=8, learning_rate=0.15)


@pytest.fixture(autouse=True)
def few_voxels(monkeypatch: pytest.MonkeyPatch) -> None:
    small_scenes(monkeypatch)
    monkeypatch.setattr(
        refinement,
        "refinement_settings",
        lambda *given: replace(refinement_settings(*given), detail=16),
    )


@pytest.fixture
def prior() -> ImagePrior:
    """Knows a red image only."""
    image = torch.tensor([0.9, 0.2, 0.1])[:, None, None].expand(4, 3, 8, 8)
    labels = [f"a red cup {view} view" for view in ("front", "side", "back", "overhead")]
    return ImagePrior(EmpiricalPrior(2 * image - 1, labels), PixelCodec(), image_size=8)


def vertex_colours(path: Path) -> tuple[np.ndarray, np.ndarray]:
    mesh = trimesh.load_mesh(path)
    return mesh.vertices, np.asarray(mesh.visual.vertex_colors)[:, :3] / 255


def test_it_starts_as_the_field_and_leaves_it_alone() -> None:
    given = VoxelGrid(resolution=16)
    with torch.no_grad():
        for level in given.levels:
            level.normal_(generator=torch.Generator().manual_seed(0))
    refined = Refined(given, 16)
    points = torch.rand(50, 3, generator=torch.Generator().manual_seed(1)) - 0.5
    for mine, before in zip(refined(points), given(points), strict=True):
        torch.testing.assert_close(mine, before, atol=1e-4, rtol=0)  # what logit clamps
    refined(points)[1].sum().backward()
    assert all(level.grad is None for level in given.levels)
    learnt = [name for name, one in refined.named_parameters() if one.requires_grad]
    assert learnt and all(name.startswith("learnt.") for name in learnt)


def test_views_are_twice_as_large_up_to_the_priors_own() -> None:
    small = TextTo3DSettings("a cup", size=32, later_sizes=(64,), scale=3.0, levels=DreamTime())
    settings = refinement_settings(small, 7, 512)
    assert (settings.size, settings.steps, settings.scale) == (128, 7, 3.0)
    assert settings.size_at(0.0, 512) == settings.size_at(1.0, 512)
    assert refinement_settings(TextTo3DSettings("a cup"), 7, 64).size == 64


def test_the_colours_go_to_the_priors_and_the_shape_stays(
    tmp_path: Path, prior: ImagePrior
) -> None:
    out = text_to_3d(prior, SETTINGS, tmp_path / "run", progress=False, refine=40, asset=SMALL)
    names = {path.name for path in (out / "refined").iterdir()}
    assert {"mesh.glb", "mesh.obj", "mesh.mtl", "mesh.png", "mesh.ply"} <= names
    assert {"views.png", "turntable.gif", "config.json", "metrics.jsonl", "previews"} <= names
    places, before = vertex_colours(out / "mesh.ply")
    again, after = vertex_colours(out / "refined" / "mesh.ply")
    np.testing.assert_array_equal(again, places)
    redder = (after[:, 0] - after[:, 1]) - (before[:, 0] - before[:, 1])
    assert redder.mean() > 0.3


def test_an_interrupted_refinement_resumes_to_the_same_bits(
    tmp_path: Path, prior: ImagePrior, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {
        "progress": False, "checkpoint_every": 2, "asset": SMALL, "refine": 4,
    }  # fmt: skip
    whole = text_to_3d(prior, SETTINGS, tmp_path / "whole", **options)
    step = Refinement.step

    def killed(self: Refinement, number: int) -> Mapping[str, float]:
        if number == 3:
            raise KeyboardInterrupt
        return step(self, number)

    monkeypatch.setattr(Refinement, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        text_to_3d(prior, SETTINGS, tmp_path / "parts", **options)
    assert (tmp_path / "parts" / "mesh.glb").exists(), "the scene is finished before"
    monkeypatch.setattr(Refinement, "step", step)
    parts = text_to_3d(prior, SETTINGS, tmp_path / "parts", resume=True, **options)
    for name in ("metrics.jsonl", "checkpoint/state.safetensors", "mesh.glb", "turntable.gif"):
        one, other = (folder / "refined" / name for folder in (whole, parts))
        assert one.read_bytes() == other.read_bytes(), name


def test_another_number_of_updates_is_refused_before_anything_is_loaded(
    tmp_path: Path, prior: ImagePrior, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "run" / "refined"
    made.mkdir(parents=True)
    (made / "config.json").write_text('{"steps": 4}')
    with pytest.raises(ValueError, match="made with refine = 4, now refine = 5; give 4 again"):
        text_to_3d(prior, SETTINGS, tmp_path / "run", resume=True, refine=5)
    words = ["text-to-3d", "a red cup", "--prior", "nowhere", "--out", str(tmp_path / "run")]
    assert main([*words, "--resume", "--refine", "5"]) == 2
    assert "made with refine = 4" in capsys.readouterr().err
    assert main([*words, "--resume", "--refine", "4"]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_a_negative_number_of_updates_is_refused(tmp_path: Path, prior: ImagePrior) -> None:
    with pytest.raises(ValueError, match="refine must be at least 0"):
        text_to_3d(prior, SETTINGS, tmp_path / "run", refine=-1)
    assert not (tmp_path / "run").exists()
