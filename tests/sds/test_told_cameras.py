"""Distillation from priors that are told cameras: every view is asked for exactly."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from torch import Tensor
from untrained import untrained_shapes, untrained_views

from scorefield.cameras import Cameras
from scorefield.cli.main import main
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.loading import load_prior
from scorefield.priors.noise import keyed_noise, noise_generator
from scorefield.priors.text import ClipTextConditioner
from scorefield.sds import CameraDistribution, TextTo3D, TextTo3DSettings
from scorefield.sds.nerf.assets.asset import unwrap
from scorefield.sds.nerf.fields import VoxelGrid
from scorefield.sds.nerf.presets import PRESETS
from scorefield.sds.nerf.radiance_field import RadianceField
from scorefield.sds.nerf.texture import presets as paint_presets
from scorefield.sds.nerf.texture.distillation import TextureDistillation
from scorefield.sds.nerf.texture.settings import TextureSettings
from scorefield.sds.nerf.texture.user_mesh import UserMesh
from scorefield.sds.objectives import VSD
from scorefield.sds.objectives.particle_score import LowRank, SmallNetwork
from scorefield.sds.presets import settings_for
from scorefield.views import CameraRanges, camera_vector

PROMPT = "a red chair"
KNOWN = CameraDistribution(overhead_share=0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_views(tmp_path_factory.mktemp("told") / "views")


@pytest.fixture(scope="module")
def prior(folder: Path) -> FrozenPrior:
    return load_prior(folder)


def scene(prior: FrozenPrior, **changes: Any) -> TextTo3D:
    given: dict[str, Any] = {"scale": 2.0, "steps": 4, "samples": 8, "views": 2, "cameras": KNOWN}
    settings = TextTo3DSettings(PROMPT, **{**given, **changes})
    return TextTo3D(prior, settings, RadianceField(VoxelGrid(resolution=8, levels=1), cells=8))


def paint(prior: FrozenPrior, **changes: Any) -> TextureDistillation:
    mesh = unwrap(trimesh.creation.box([1.0, 1.0, 1.0]), 64)
    settings = TextureSettings(
        PROMPT, scale=2.0, steps=4, views=2, cameras=KNOWN, detail=16, **changes
    )
    return TextureDistillation(prior, settings, UserMesh(mesh, np.eye(4)))


@pytest.mark.parametrize("make", [scene, paint])
def test_every_view_is_asked_for_from_its_camera(
    make: Callable[..., Any], prior: FrozenPrior, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a prompt and without one, and no word of a view is said."""
    asked: list[tuple[Any, Any]] = []
    condition = FrozenPrior.condition

    def heard(self: FrozenPrior, prompts: Any = None, cameras: Any = None) -> Any:
        asked.append((prompts, cameras))
        return condition(self, prompts, cameras)

    run = make(prior)
    monkeypatch.setattr(FrozenPrior, "condition", heard)
    run.step(0)
    drawn = KNOWN.draw(2, noise_generator(0, 0))
    assert [prompts for prompts, _ in asked] == [[PROMPT] * 2, None]
    for _, cameras in asked:
        torch.testing.assert_close(camera_vector(cameras), camera_vector(drawn))


def test_views_on_white_say_so(prior: FrozenPrior, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    run = scene(prior, views=8, on_white=0.5)
    rendered: list[Tensor] = []
    render = run.scene.render

    def seen(*args: Any, **kwargs: Any) -> Any:
        rendered.append(kwargs["background"])
        return render(*args, **kwargs)

    condition = FrozenPrior.condition

    def heard(self: FrozenPrior, prompts: Any = None, cameras: Any = None) -> Any:
        asked.append(prompts)
        return condition(self, prompts, cameras)

    monkeypatch.setattr(run.scene, "render", seen)
    monkeypatch.setattr(FrozenPrior, "condition", heard)
    run.step(0)
    white = (rendered[0] == 1).all(1).tolist()
    assert 0 < sum(white) < 8
    assert asked[0] == [f"{PROMPT}, white background" if one else PROMPT for one in white]
    with pytest.raises(ValueError, match="on_white puts views on white"):
        TextTo3DSettings(PROMPT, on_white=0.5, background="sky")


def test_a_prior_that_is_told_cameras_has_settings_of_its_own(prior: FrozenPrior) -> None:
    assert isinstance(prior.text, ClipTextConditioner)
    usual, found = TextTo3DSettings(PROMPT), settings_for(TextTo3DSettings, PROMPT, prior, PRESETS)
    assert (found.scale, found.on_white, found.smoothness) == (20.0, 0.7, 500.0)
    assert (found.steps, found.opacity) == (usual.steps, usual.opacity)
    painted = settings_for(TextureSettings, PROMPT, prior, paint_presets.PRESETS)
    assert painted.scale == TextureSettings(PROMPT).scale
    words = prior.text.vocabulary
    assert words is not None and "background" in words
    prior.text.vocabulary = words - {"background"}
    try:
        assert settings_for(TextTo3DSettings, PROMPT, prior, PRESETS).on_white == 0
    finally:
        prior.text.vocabulary = words


def test_the_prior_answers_to_the_camera(prior: FrozenPrior) -> None:
    run, z = scene(prior), keyed_noise(0, range(2), 0, prior.latent_shape)
    level = prior.schedule.at_timestep(800)

    def seen(azimuth: float) -> Tensor:
        return run.denoisers(Cameras.at([azimuth, 0.0])).guided(z, level).eps

    front, side = seen(10.0), seen(35.0)  # both are called a front view in words
    assert float((front[0] - side[0]).abs().max()) > 1e-3
    torch.testing.assert_close(front[1], side[1])


@pytest.mark.parametrize("phi", [LowRank(), SmallNetwork(8)])
def test_vsd_learns_what_each_camera_sees(prior: FrozenPrior, phi: LowRank | SmallNetwork) -> None:
    run = scene(prior, objective=VSD(phi))
    assert all(np.isfinite(float(value)) for value in run.step(0).values())


def test_negatives_of_view_words_are_refused(prior: FrozenPrior) -> None:
    with pytest.raises(ValueError, match="views is told the camera itself; leave it out"):
        scene(prior, perp_neg=1.0)


def test_cameras_within_ranges() -> None:
    ranges = CameraRanges((-5.0, 60.0), (2.9, 3.1), (40.0, 40.0))
    given = CameraDistribution(elevation=(-10.0, 50.0), fov=(30.0, 60.0))
    moved = given.within(ranges)
    assert moved.elevation == (-5.0, 50.0)
    assert moved.overhead == (60.0, 60.0)
    assert moved.distance == (2.9, 3.1)
    assert moved.fov == (40.0, 40.0)
    assert moved.outside(ranges) == []
    assert given.outside(ranges) == [
        "elevation -10 to 50, trained on -5 to 60",
        "overhead 60 to 90, trained on -5 to 60",
        "distance 2.8 to 3.2, trained on 2.9 to 3.1",
        "fov 30 to 60, trained on 40 to 40",
    ]


@pytest.mark.parametrize("make", [scene, paint])
def test_cameras_it_was_not_trained_on_are_told_of(
    make: Callable[..., Any], prior: FrozenPrior, monkeypatch: pytest.MonkeyPatch
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(prior)
        usual = settings_for(TextTo3DSettings, PROMPT, prior, PRESETS)
    assert usual.cameras.overhead == (60.0, 60.0)
    monkeypatch.setitem(globals(), "KNOWN", CameraDistribution())
    with pytest.warns(UserWarning, match="views was not .*: overhead 60 to 90, trained on -10 to"):
        make(prior)


TINY = ["--steps", "1", "--views", "1", "--size", "16", "--device", "cpu", "--quiet"]
ASSET = ["--render-size", "16", "--frames", "2", "--texture", "64"]


@pytest.mark.slow
def test_commands_ask_for_views(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["text-to-3d", PROMPT, "--prior", str(folder), *TINY, *ASSET, "--samples", "8"]
    words += ["--mesh-resolution", "24"]
    assert main([*words, "--out", str(tmp_path / "a"), "--refine", "1"]) in (0, 1)  # may be empty
    assert "note" not in capsys.readouterr().err
    far = ["--out", str(tmp_path / "b"), "--cameras.distance", "1", "2"]
    assert main([*words, *far]) in (0, 1)
    assert "note: views was not trained on all of these cameras" in capsys.readouterr().err
    assert main([*words, "--out", str(tmp_path / "c"), "--perp-neg", "1"]) == 2
    box = tmp_path / "box.glb"
    trimesh.creation.box([1.0, 2.0, 3.0]).export(box)
    words = ["texture", str(box), PROMPT, "--prior", str(folder), *TINY, *ASSET]
    assert main([*words, "--out", str(tmp_path / "d"), "--detail", "16"]) == 0


def test_a_prior_without_views_paints_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = tmp_path / "box.glb"
    trimesh.creation.box([1.0, 2.0, 3.0]).export(box)
    assert (
        main(["texture", str(box), "a fox", "--prior", "icons", "--out", str(tmp_path / "a")]) == 2
    )
    assert "the prior icons knows no views such as 'front view'" in capsys.readouterr().err


def test_samples_are_seen_from_cameras(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.png"
    words = ["sample", PROMPT, "a blue boat", "--prior", str(folder), "-n", "2", "--steps", "1"]
    words += ["--out", str(out), "--device", "cpu", "--quiet"]
    assert main([*words, "--azimuth", "-90", "0", "90", "--json"]) == 0
    told = capsys.readouterr()
    assert '"azimuth": [\n    -90.0,\n    0.0,\n    90.0\n  ]' in told.out
    assert told.err == ""
    with Image.open(out) as sheet:
        assert sheet.size == (2 * 64 + 6, 6 * 64 + 14)
    assert main([*words, "--elevation", "80"]) == 0
    assert "note: views was trained on elevations from -10 to 60 degrees" in capsys.readouterr().err
    assert main([*words, "--azimuth", "0", "1", "2", "--elevation", "0", "1"]) == 2
    assert "--azimuth has 3 numbers and --elevation 2" in capsys.readouterr().err
    plain = untrained_shapes(tmp_path / "plain")
    assert main(["sample", PROMPT, "--prior", str(plain), "--azimuth", "0"]) == 2
    assert "are for priors that are told cameras; shapes is told" in capsys.readouterr().err


def test_info_says_the_cameras(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(folder), "--device", "cpu"]) == 0
    told = capsys.readouterr().out
    assert "cameras: any azimuth, elevation -10 to 60, distance 2.8 to 3.2, fov 40 to 40" in told
