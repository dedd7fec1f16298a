"""From a prompt to files: what is written, what is refused, and that a resumed run is the same."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from jaxtyping import Float
from PIL import Image
from small_scenes import small_scenes
from torch import Tensor, nn

from scorefield.priors.codec import PixelCodec
from scorefield.priors.exact.empirical import EmpiricalPrior
from scorefield.priors.prior import ImagePrior
from scorefield.runs.job import Job, begin, run
from scorefield.sds.nerf.assets.export import export_scene
from scorefield.sds.nerf.assets.mesh import EmptySceneError
from scorefield.sds.nerf.assets.settings import AssetSettings
from scorefield.sds.nerf.fields import Field, VoxelGrid
from scorefield.sds.nerf.radiance_field import RadianceField
from scorefield.sds.nerf.scene_distillation import TextTo3D, text_to_3d
from scorefield.sds.nerf.settings import TextTo3DSettings

SMALL = AssetSettings(mesh_resolution=24, texture=64, frames=3, render_size=16)
SETTINGS = TextTo3DSettings("a red cup", steps=4, views=1, samples=8, seed=3)


@pytest.fixture(autouse=True)
def few_voxels(monkeypatch: pytest.MonkeyPatch) -> None:
    small_scenes(monkeypatch)


@pytest.fixture
def prior() -> ImagePrior:
    views = ("front", "side", "back", "overhead")
    labels = [f"a {color} cup {view} view" for color in ("red", "blue") for view in views]
    images = torch.rand(len(labels), 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return ImagePrior(EmpiricalPrior(2 * images - 1, labels), PixelCodec(), image_size=8)


def ball(density: float = 0.0) -> RadianceField:
    """A scene at its start, `density` added before softplus."""
    field = VoxelGrid(resolution=8, levels=2)
    with torch.no_grad():
        field.levels[0][0] = density / field.gain[0]
    scene = RadianceField(field, cells=16)
    scene.update_occupancy()
    return scene


def test_finish_writes_mesh_turntable_and_views(tmp_path: Path) -> None:
    written = export_scene(ball(), tmp_path / "new", SMALL)
    assert sorted(written) == ["glb", "mtl", "obj", "ply", "png", "turntable", "views"]
    assert all(path.parent == tmp_path / "new" and path.is_file() for path in written.values())
    with Image.open(written["turntable"]) as turntable:
        assert (turntable.n_frames, turntable.size) == (3, (16, 16))
    mesh = trimesh.load_mesh(written["ply"])
    assert mesh.is_watertight and mesh.volume > 0


def test_an_empty_scene_is_an_error_but_its_images_are_written(tmp_path: Path) -> None:
    with pytest.raises(EmptySceneError, match="the images are in") as caught:
        export_scene(ball(density=-50.0), tmp_path, SMALL)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["turntable.gif", "views.png"]
    written = {"views": tmp_path / "views.png", "turntable": tmp_path / "turntable.gif"}
    assert caught.value.written == written


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mesh_resolution": 2}, "mesh_resolution must be between 8 and 1024; got 2"),
        ({"mesh_resolution": 100_000}, "mesh_resolution must be between 8 and 1024"),
        ({"render_size": 100_000}, "render_size must be between 1 and 4096"),
        ({"faces": 3}, "faces must be at least 100; got 3"),
        ({"texture": 100_000}, "texture must be between 16 and 4096; got 100000"),
    ],
)
def test_impossible_assets_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AssetSettings(**change)


def test_an_interrupted_run_resumes_to_the_same_bits(
    tmp_path: Path, prior: ImagePrior, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"progress": False, "checkpoint_every": 2, "asset": SMALL}
    whole = text_to_3d(prior, SETTINGS, tmp_path / "whole", **options)

    step = TextTo3D.step

    def killed(self: TextTo3D, number: int) -> Mapping[str, float]:
        if number == 3:
            raise KeyboardInterrupt
        return step(self, number)

    monkeypatch.setattr(TextTo3D, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        text_to_3d(prior, SETTINGS, tmp_path / "parts", **options)
    monkeypatch.setattr(TextTo3D, "step", step)
    parts = text_to_3d(prior, SETTINGS, tmp_path / "parts", resume=True, **options)

    names = [
        "metrics.jsonl",
        "checkpoint/state.safetensors",
        "mesh.ply",
        "mesh.glb",
        "turntable.gif",
    ]
    for name in names:
        assert (whole / name).read_bytes() == (parts / name).read_bytes(), name


class Dice(Field):
    """A cube whose colour is learnt: a field of one's own."""

    def __init__(self) -> None:
        super().__init__()
        self.colour = nn.Parameter(torch.zeros(3))

    def forward(
        self, points: Float[Tensor, "points 3"]
    ) -> tuple[Float[Tensor, " points"], Float[Tensor, "points 3"]]:
        density = 50.0 * (points.abs().amax(dim=1) < 0.4)
        return density.to(points), torch.sigmoid(self.colour).expand_as(points)


def test_a_field_of_ones_own_ends_as_a_mesh_and_no_other_goes_on_with_it(
    tmp_path: Path, prior: ImagePrior
) -> None:
    task = TextTo3D(prior, SETTINGS, RadianceField(Dice(), cells=16), SMALL)
    mesh = trimesh.load_mesh(run(task, tmp_path, progress=False)["ply"])
    np.testing.assert_allclose(mesh.bounds, [[-0.4] * 3, [0.4] * 3], atol=2 / 23)  # a cell
    assert not torch.equal(task.scene.field.colour, torch.zeros(3)), "the colour is learnt"
    with pytest.raises(ValueError, match='made with field = "Dice", now field = "voxels"'):
        run(TextTo3D(prior, SETTINGS), tmp_path, resume=True, progress=False)


def test_a_finished_run_is_not_run_again(
    tmp_path: Path, prior: ImagePrior, monkeypatch: pytest.MonkeyPatch
) -> None:
    text_to_3d(prior, SETTINGS, tmp_path, progress=False, asset=SMALL)
    (tmp_path / "mesh.glb").unlink()

    def again(self: TextTo3D, number: int) -> Mapping[str, float]:
        raise AssertionError("the steps are done")

    monkeypatch.setattr(TextTo3D, "step", again)
    text_to_3d(prior, SETTINGS, tmp_path, progress=False, resume=True, asset=SMALL)
    assert (tmp_path / "mesh.glb").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": "a green cup"}, "no exemplar has all the words of 'a green cup'"),
        ({"negative": "a green cup"}, "no exemplar has all the words of 'a green cup'"),
        ({"size": 1}, "size must be at least 2 pixels"),
    ],
)
def test_what_cannot_be_made_is_refused_and_nothing_is_written(
    tmp_path: Path, prior: ImagePrior, change: dict[str, Any], message: str
) -> None:
    settings = TextTo3DSettings(**{"prompt": "a red cup", **change})
    with pytest.raises(ValueError, match=message):
        text_to_3d(prior, settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_begin_refuses_a_run_with_other_steps(tmp_path: Path, prior: ImagePrior) -> None:
    """The annealing spans the steps: with other steps it is another run."""
    begin(TextTo3D(prior, SETTINGS), tmp_path)
    other = TextTo3D(prior, replace(SETTINGS, steps=9))
    with pytest.raises(ValueError, match="made with steps = 4, now steps = 9"):
        begin(other, tmp_path, resume=True)


def test_begin_refuses_a_damaged_checkpoint(tmp_path: Path, prior: ImagePrior) -> None:
    task = TextTo3D(prior, SETTINGS)
    assert isinstance(task, Job)
    begin(task, tmp_path).save_checkpoint(1, task.state())
    (tmp_path / "checkpoint" / "state.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        begin(task, tmp_path, resume=True)
