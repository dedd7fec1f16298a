"""A mesh of the user's, painted: what is kept of it, what is refused, and that paint gets there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh

from scorefield.cameras import Cameras
from scorefield.cli.main import main
from scorefield.priors.codec import PixelCodec
from scorefield.priors.exact.empirical import EmpiricalPrior
from scorefield.priors.prior import ImagePrior
from scorefield.runs.job import begin
from scorefield.sds.nerf.assets.asset import unwrap
from scorefield.sds.nerf.assets.settings import AssetSettings
from scorefield.sds.nerf.fields import VoxelGrid
from scorefield.sds.nerf.lights import Lights
from scorefield.sds.nerf.texture.distillation import TextureDistillation, texture_mesh
from scorefield.sds.nerf.texture.settings import TextureSettings
from scorefield.sds.nerf.texture.user_mesh import UserMesh, is_unwrapped, load_mesh

RED = (0.9, 0.2, 0.1)
SMALL = AssetSettings(texture=64, frames=2, render_size=16)
VIEWS = ("front", "side", "back", "overhead")


@pytest.fixture
def prior() -> ImagePrior:
    """Knows a red image only."""
    image = torch.tensor(RED)[:, None, None].expand(len(VIEWS), 3, 8, 8)
    labels = [f"a red box {view} view" for view in VIEWS]
    return ImagePrior(EmpiricalPrior(2 * image - 1, labels), PixelCodec(), image_size=8)


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """Somewhere else and large, y up."""
    mesh = trimesh.creation.box([2.0, 6.0, 4.0])
    mesh.apply_translation([10.0, 3.0, -7.0])
    path = tmp_path / "box.glb"
    mesh.export(path)
    return path


def painted_box(detail: int = 16) -> TextureDistillation:
    labels = [f"a box {view} view" for view in VIEWS]
    prior = ImagePrior(EmpiricalPrior(torch.zeros(4, 3, 8, 8), labels), PixelCodec(), image_size=8)
    mesh = unwrap(trimesh.creation.box([1.0, 1.0, 1.0]), 64)
    return TextureDistillation(
        prior, TextureSettings("a box", detail=detail), UserMesh(mesh, np.eye(4))
    )


@pytest.mark.parametrize(("suffix", "up"), [("glb", None), ("ply", None), ("ply", "y")])
def test_a_mesh_comes_into_our_axes_and_goes_back(tmp_path: Path, suffix: str, up: Any) -> None:
    mesh = trimesh.creation.cone(1.0, 5.0)  # its tip is up in z
    mesh.apply_translation([3.0, 2.0, 1.0])
    y_up = suffix == "glb" or up == "y"
    turned = mesh.copy().apply_transform(np.eye(4)[[1, 2, 0, 3]]) if y_up else mesh
    turned.export(tmp_path / f"cone.{suffix}")
    given = load_mesh(tmp_path / f"cone.{suffix}", up)
    assert np.linalg.norm(given.mesh.vertices, axis=1).max() == pytest.approx(0.8)
    tip = given.mesh.vertices[given.mesh.vertices[:, 2].argmax()]
    np.testing.assert_allclose(tip[:2], 0, atol=1e-6)
    np.testing.assert_allclose(
        given.mesh.copy().apply_transform(given.back).bounds, mesh.bounds, atol=1e-5
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.glb", None, "there is no such file"),
        ("a.glb", b"glTF", "cannot be read as a mesh"),
        ("a.png", b"", "a mesh ends in one of .glb"),
        ("a.obj", b"v 0 0 0\nv 1 0 0\nv 2 0 0\n", "cannot be read|has no surface"),
        ("a.obj", b"v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n", "has no surface"),
        ("a.off", b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 9\n", "cannot be read|has no surface"),
    ],
)
def test_what_is_no_mesh_is_refused_in_a_line(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_mesh(tmp_path / name)


def test_a_mesh_without_depth_is_named(tmp_path: Path) -> None:
    (path := tmp_path / "flat.obj").write_text("v 0 0\nv 1 0\nv 0 1\nf 1 2 3\n")
    with pytest.raises(ValueError, match=r"flat\.obj: cannot be read as a mesh"):
        load_mesh(path)


def test_texture_coordinates_are_kept_if_nothing_overlaps() -> None:
    mesh = unwrap(trimesh.creation.icosphere(2), 256)
    assert is_unwrapped(mesh)
    mesh.visual.uv = mesh.visual.uv % 0.5  # folded
    assert not is_unwrapped(mesh)
    assert not is_unwrapped(trimesh.creation.box())


def test_parts_without_a_place_in_the_texture_are_unwrapped() -> None:
    whole, box = unwrap(trimesh.creation.icosphere(2), 256), trimesh.creation.box()
    faces = np.concatenate([whole.faces, box.faces + len(whole.vertices)])
    uv = np.concatenate([whole.visual.uv, np.full((len(box.vertices), 2), 0.5)])
    visual = trimesh.visual.TextureVisuals(uv=uv)
    vertices = np.concatenate([whole.vertices, box.vertices])
    assert not is_unwrapped(trimesh.Trimesh(vertices, faces, visual=visual, process=False))


def test_colours_have_gradients_and_light_scales_them() -> None:
    task = painted_box()
    camera, dark = Cameras.at([30.0], [20.0]), torch.zeros(3, 1, 1)
    unlit = task.render(camera, 16, dark)
    torch.testing.assert_close(unlit.max(), torch.tensor(0.5))  # a new grid is grey
    half = Lights.at(camera.position, ambient=0.5, diffuse=0.0)
    torch.testing.assert_close(task.render(camera, 16, dark, half), 0.5 * unlit)
    unlit.sum().backward()
    grads = [level.grad for level in task.field.levels]
    assert all(grad[1:].abs().sum() > 0 and (grad[0] == 0).all() for grad in grads)


def test_paint_takes_the_priors_colour_and_the_mesh_stays(
    tmp_path: Path, prior: ImagePrior, box: Path
) -> None:
    settings = TextureSettings("a red box", steps=60, views=1, detail=16, learning_rate=0.05)
    folder = texture_mesh(prior, box, settings, tmp_path / "run", progress=False, asset=SMALL)
    names = {path.name for path in folder.iterdir()}
    assert {"mesh.glb", "mesh.obj", "mesh.mtl", "mesh.png", "mesh.ply"} <= names
    assert {"views.png", "turntable.gif", "config.json", "metrics.jsonl"} <= names
    before, after = trimesh.load_scene(box).to_mesh(), trimesh.load_scene(folder / "mesh.glb")
    np.testing.assert_allclose(after.bounds, before.bounds, atol=1e-4)
    mesh = after.to_mesh()
    assert len(mesh.faces) == len(before.faces)
    colours = np.asarray(mesh.visual.to_color().vertex_colors)[:, :3] / 255
    assert np.abs(colours - 0.5).max() > 0.2, "it started grey"
    # Lit, the paint looks darker than it is; what stands out is the hue.
    assert (colours[:, 0] > colours[:, 1] + 0.3).all() and (colours[:, 0] > 0.6).all()


def test_an_open_mesh_is_seen_from_both_sides(tmp_path: Path, prior: ImagePrior) -> None:
    sheet = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [1, 1, 0]], [[0, 1, 2]])
    for name, mesh in {"box": trimesh.creation.box(), "sheet": sheet}.items():
        mesh.export(tmp_path / f"{name}.glb")
        settings = TextureSettings("a red box", steps=1, views=1, detail=16)
        source, out = tmp_path / f"{name}.glb", tmp_path / name
        folder = texture_mesh(prior, source, settings, out, progress=False, asset=SMALL)
        material = trimesh.load_scene(folder / "mesh.glb").to_mesh().visual.material
        assert bool(material.doubleSided) == (name == "sheet")


def test_an_interrupted_run_resumes_to_the_same_bits(
    tmp_path: Path, prior: ImagePrior, box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = TextureSettings("a red box", steps=4, views=1, detail=16)
    options: dict[str, Any] = {"progress": False, "checkpoint_every": 2, "asset": SMALL}
    whole = texture_mesh(prior, box, settings, tmp_path / "whole", **options)
    step = TextureDistillation.step

    def killed(self: TextureDistillation, number: int) -> Mapping[str, float]:
        if number == 3:
            raise KeyboardInterrupt
        return step(self, number)

    monkeypatch.setattr(TextureDistillation, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        texture_mesh(prior, box, settings, tmp_path / "parts", **options)
    monkeypatch.setattr(TextureDistillation, "step", step)
    parts = texture_mesh(prior, box, settings, tmp_path / "parts", resume=True, **options)
    for name in ("metrics.jsonl", "checkpoint/state.safetensors", "mesh.glb", "turntable.gif"):
        assert (whole / name).read_bytes() == (parts / name).read_bytes(), name

    other = load_mesh(box)
    other.mesh.apply_scale(0.5)
    with pytest.raises(ValueError, match="made with surface"):
        begin(TextureDistillation(prior, settings, other, SMALL), whole, resume=True)


def test_a_field_of_the_surface_is_what_is_painted() -> None:
    field = VoxelGrid(resolution=16)
    with torch.no_grad():
        field.levels[0][1] = 5.0
    task = painted_box()
    task.field = field
    seen = task.render(Cameras.at([0.0]), 8, torch.zeros(3, 1, 1))[0, :, 4, 4]
    torch.testing.assert_close(seen, torch.tensor([1.0, 0.5, 0.5]), atol=1e-3, rtol=0)


def test_the_command_refuses_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n")
    words = ["texture", str(tmp_path / "a.obj"), "a red cup", "--out", str(tmp_path / "run")]
    assert main(words) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main([*words, "--texture", "100000"]) == 2
    assert "--texture must be between 16 and 4096" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
