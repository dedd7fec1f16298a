"""nerfstudio's method: what of it holds without nerfstudio, and the whole in an environment of it.

The tests that need nerfstudio are skipped without it; the slow one makes an environment with it and
runs them there.
"""

import ast
import importlib.util
import json
import os
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from torch import Tensor

from scorefield.cameras import orbit
from scorefield.cli.main import main
from scorefield.cli.nerfstudio.train import NerfstudioTrain
from scorefield.sds.nerf.camera_distribution import CameraDistribution
from scorefield.sds.nerf.fields import Field
from scorefield.sds.nerf.nerfstudio.settings import MethodSettings
from scorefield.sds.nerf.settings import TextTo3DSettings
from scorefield.torchvision_operators import declare_missing_operators

ROOT = Path(__file__).parents[2]
ROOM = "sds/nerf/nerfstudio/"
installed = importlib.util.find_spec("nerfstudio") is not None
needs_nerfstudio = pytest.mark.skipif(not installed, reason="nerfstudio is not installed")
if installed:
    declare_missing_operators()


@pytest.mark.parametrize("words", [["train", "a red cup"], ["export", __file__]])
def test_without_nerfstudio_the_extra_is_named(
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["nerfstudio", *words, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "pip install 'scorefield[nerfstudio]'" in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_nothing_else_imports_nerfstudio() -> None:
    """Neither the packages nor the commands, whose help must be quick, and not even late."""
    found = set()
    for path in ROOT.glob("**/*.py"):
        place = path.relative_to(ROOT).as_posix()
        if not place.startswith(("priors/", "sds/", "perception/", "control/", "src/scorefield/")):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if {name.partition(".")[0] for name in names} & {"nerfstudio", "torchvision"}:
                found.add(place.removeprefix("src/scorefield/"))
    names = ("adapters", "method", "model", "pipeline", "training")
    assert found == {f"{ROOM}{name}.py" for name in names}


def test_the_entry_point_and_the_extra_are_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["nerfstudio.method_configs"] == {
        "scorefield": "scorefield.sds.nerf.nerfstudio.method:METHOD"
    }
    assert project["optional-dependencies"]["nerfstudio"] == ["nerfstudio==1.1.5"]


def test_the_settings_are_options_and_those_of_a_scene() -> None:
    names = {one.name for one in fields(MethodSettings)}
    assert names <= {one.name for one in fields(NerfstudioTrain)}
    of_scenes = {one.name for one in fields(TextTo3DSettings)}
    assert names - of_scenes == {"low", "high"}  # its levels


VISION = """
import torch

for name in ("nms", "qnms"):
    if not hasattr(torch.ops.torchvision, name):
        raise RuntimeError(f"operator torchvision::{name} does not exist")
"""


@pytest.mark.skipif(installed, reason="torchvision is installed")
def test_torchvision_without_its_operators_is_imported(tmp_path: Path) -> None:
    """A package that fails like PyPI's beside a CPU's torch, with and without the declaration."""
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(VISION)
    (tmp_path / "torchvision" / "_C.so").write_bytes(b"no library")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    ended = {
        before: subprocess.run(
            [sys.executable, "-c", f"import {before}; import torchvision"],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
        )
        for before in ("scorefield", "scorefield.priors")
    }
    assert "torchvision::nms does not exist" in ended["scorefield"].stderr
    assert ended["scorefield.priors"].returncode == 0, ended["scorefield.priors"].stderr


class Tinted(Field):
    """A density and colours with a closed form, outside of the unit sphere nothing."""

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        radius = points.norm(dim=-1)
        return 3 * torch.exp(-radius) * (radius <= 1), 0.5 + 0.5 * points.clamp(-1, 1)


@needs_nerfstudio
def test_rays_are_nerfstudios_own() -> None:
    from scorefield.sds.nerf.nerfstudio.adapters import cameras_for

    cameras = CameraDistribution.dreamfusion().draw(5, torch.Generator().manual_seed(0))
    theirs = cameras_for(cameras, 6, 6)
    origins, directions = cameras.origins_and_directions(6, 6)
    for k in range(len(cameras)):
        rays = theirs.generate_rays(camera_indices=k).flatten()
        torch.testing.assert_close(rays.origins, origins[k], atol=1e-6, rtol=0)
        torch.testing.assert_close(rays.directions, directions[k], atol=1e-6, rtol=0)


@needs_nerfstudio
def test_cameras_come_back_from_nerfstudio() -> None:
    from scorefield.sds.nerf.nerfstudio.adapters import cameras_for, cameras_of

    cameras = CameraDistribution.dreamfusion().draw(5, torch.Generator().manual_seed(1))
    back = cameras_of(cameras_for(cameras, 4, 4))
    for found, expected in zip(
        back.origins_and_directions(4, 4), cameras.origins_and_directions(4, 4), strict=True
    ):
        torch.testing.assert_close(found.float(), expected, atol=1e-6, rtol=0)
    theirs = cameras_for(cameras, 4, 4)
    theirs.cx = theirs.cx + 1
    with pytest.raises(ValueError, match="the axis in the middle"):
        cameras_of(theirs)


@needs_nerfstudio
def test_random_cameras_are_named_by_their_views() -> None:
    """The front is on +x, wherever nerfstudio begins to count its angles."""
    from scorefield.sds.nerf.nerfstudio.adapters import cameras_of
    from scorefield.sds.nerf.nerfstudio.pipeline import OrbitDataManagerConfig

    config = OrbitDataManagerConfig(train_images_per_batch=64, horizontal_rotation_warmup=1000)
    manager = config.setup(device="cpu", test_mode="val", world_size=1, local_rank=0)
    first = cameras_of(manager.next_cameras(0, seed=3))
    assert set(first.views) <= {"front view", "overhead view"}
    torch.testing.assert_close(
        (first.azimuth + 180) % 360, torch.full((64,), 180.0).double(), atol=5.0, rtol=0
    )
    later = cameras_of(manager.next_cameras(1000, seed=3))
    assert {"front view", "side view", "back view"} <= set(later.views)
    assert torch.equal(later.azimuth, cameras_of(manager.next_cameras(1000, seed=3)).azimuth)
    assert ((later.elevation > -12) & (later.elevation < 63)).all()


@needs_nerfstudio
def test_fields_are_the_same_in_nerfstudio_and_back() -> None:
    from nerfstudio.cameras.rays import Frustums, RaySamples
    from nerfstudio.field_components.field_heads import FieldHeadNames

    from scorefield.sds.nerf.nerfstudio.adapters import FieldForNerfstudio, FieldOfNerfstudio

    points = 2 * torch.rand(50, 3, generator=torch.Generator().manual_seed(0)) - 1
    density, albedo = Tinted()(points)
    one = torch.ones(50, 1)
    there = FieldForNerfstudio(Tinted())
    samples = RaySamples(Frustums(points - 2, torch.ones(50, 3), 2 * one, 2 * one, one))
    out = there(samples)
    torch.testing.assert_close(out[FieldHeadNames.DENSITY][:, 0], density)
    torch.testing.assert_close(out[FieldHeadNames.RGB], albedo)
    back = FieldOfNerfstudio(there)
    for found, expected in zip(back(points), (density, albedo), strict=True):
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(back.density(points), density)
    # twice the radius in half the unit: the optical depth of a chord stays
    half = FieldOfNerfstudio(there, radius=0.5)
    torch.testing.assert_close(
        half.density(points), 0.5 * Tinted()(0.5 * points)[0] * (points.norm(dim=-1) <= 1)
    )
    ball = FieldOfNerfstudio(there, blob_density=10.0).density(points)
    radius = points.norm(dim=-1)
    expected = torch.log1p(torch.exp(10 * (1 - radius / 0.5)) * torch.expm1(density))
    torch.testing.assert_close(ball, expected * (radius <= 1), atol=1e-4, rtol=1e-4)


@needs_nerfstudio
def test_nerfstudio_renders_a_scene_as_this_library_does() -> None:
    """Its own sampler, weights and renderer along its own rays through the same field."""
    from nerfstudio.field_components.field_heads import FieldHeadNames
    from nerfstudio.model_components.ray_samplers import UniformSampler
    from nerfstudio.model_components.renderers import AccumulationRenderer, RGBRenderer
    from nerfstudio.model_components.scene_colliders import SphereCollider

    from scorefield.sds import RadianceField
    from scorefield.sds.nerf.nerfstudio.adapters import FieldForNerfstudio, cameras_for

    camera = orbit(1)
    rays = SphereCollider(torch.zeros(3), 1.0)(cameras_for(camera, 8, 8).generate_rays(0).flatten())
    samples = UniformSampler(num_samples=512).eval()(rays)
    out = FieldForNerfstudio(Tinted())(samples)
    weights = samples.get_weights(out[FieldHeadNames.DENSITY])
    colour = RGBRenderer(background_color="white")(out[FieldHeadNames.RGB], weights)
    opacity = AccumulationRenderer()(weights)
    seen = RadianceField(Tinted()).render(camera, 8, 8, samples=512, background=torch.ones(3))
    torch.testing.assert_close(opacity.view(8, 8), seen.opacity[0, 0], atol=0.01, rtol=0)
    torch.testing.assert_close(
        colour.view(8, 8, 3).permute(2, 0, 1), seen.images[0], atol=0.01, rtol=0
    )


@needs_nerfstudio
def test_a_killed_run_goes_on_to_the_same_bits_without_the_prior_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checkpoints load as safe ones do, hold no prior, and VSD's own field is part of them."""
    from scorefield.sds.nerf.nerfstudio.pipeline import ScorefieldPipeline

    def train(name: str, *more: str) -> int:
        words = ["nerfstudio", "train", "a red mushroom", "--out", str(tmp_path / name)]
        words += ["--field", "voxels", "--views", "1", "--size", "16", "--samples", "16"]
        words += ["--objective", "vsd", "--steps", "4", "--checkpoint-every", "2", "--quiet"]
        return main([*words, "--device", "cpu", *more])

    learn = ScorefieldPipeline._learn

    def killed(pipeline: ScorefieldPipeline, step: int) -> None:
        if step == 3:
            raise KeyboardInterrupt
        learn(pipeline, step)

    assert train("whole") == 0
    with monkeypatch.context() as patch:
        patch.setattr(ScorefieldPipeline, "_learn", killed)
        assert train("killed") == 130
    assert train("killed") == 2  # it is not empty
    assert train("killed", "--resume") == 0
    scene, again = (
        torch.load(
            tmp_path / name / "scorefield/run/nerfstudio_models/step-000000003.ckpt",
            weights_only=True,
        )["pipeline"]
        for name in ("whole", "killed")
    )
    assert set(scene) == set(again)
    for name, value in scene.items():
        if isinstance(value, Tensor):
            assert name.startswith(("_model.scene.", "_model.device"))
            assert torch.equal(value, again[name]), name
    phi, resumed = (state["_model._extra_state"]["phi"]["parameters"] for state in (scene, again))
    assert phi and all(torch.equal(value, resumed[name]) for name, value in phi.items())
    assert list((tmp_path / "whole").rglob("events.out.tfevents.*"))


@needs_nerfstudio
def test_a_word_the_prior_does_not_know_leaves_no_config(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["nerfstudio", "train", "a red bycicle", "--out", str(tmp_path / "out"), "--quiet"]
    assert main(words) == 2
    assert "'bycicle'" in capsys.readouterr().err
    assert not list(tmp_path.rglob("config.yml"))


@pytest.mark.slow
def test_the_extra_installs_trains_and_exports(tmp_path: Path) -> None:
    """In an environment of its own, kept in build/nerfstudio: minutes and three gigabytes."""
    place = ROOT / "build" / "nerfstudio"
    python = place / "bin" / "python"
    version = torch.__version__
    minor = int(version.split(".")[1])
    if not (place / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        (place / "constraints.txt").write_text(f"torch=={version}\n")
        install = [python, "-m", "pip", "install", "-q", "-c", str(place / "constraints.txt")]
        subprocess.run([*install, f"torch=={version}"], check=True)
        vision = f"torchvision==0.{minor + 15}.0"
        subprocess.run(
            [*install, f"{ROOT}[nerfstudio]", vision, "peft", "pytest", "beartype"], check=True
        )
        (place / "ready").touch()
    here = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    alone = [python, "-m", "pytest", "-q", "-W", "ignore", "-m", "not slow", __file__]
    subprocess.run(alone, check=True, env=here, cwd=ROOT)
    call = [python, "-W", "ignore", "-m", "scorefield", "nerfstudio"]
    out = tmp_path / "run"
    subprocess.run(
        [*call, "train", "a red mushroom", "--out", str(out), "--steps", "20", "--size", "32",
         "--field", "nerf", "--samples", "32", "--views", "2", "--quiet"],
        check=True, env=here,
    )  # fmt: skip
    config = out / "scorefield" / "run" / "config.yml"
    ended = subprocess.run(
        [*call, "export", str(config), "--out", str(tmp_path / "mesh"), "--json", "--quiet",
         "--texture", "64", "--frames", "2", "--render-size", "32", "--mesh-resolution", "48"],
        check=True, env=here, capture_output=True, text=True,
    )  # fmt: skip
    files = json.loads(ended.stdout)["files"]
    assert Path(files["glb"]).stat().st_size > 10_000
