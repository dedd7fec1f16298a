"""Priors that are told cameras: what they answer, with what they combine, and what is refused."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from untrained import untrained_shapes, untrained_views

from scorefield.cameras import Cameras
from scorefield.integrity import write_seal
from scorefield.priors import Guidance, check_prior, load_prior
from scorefield.priors.checks.conformance import _CHECKS
from scorefield.priors.denoiser import Denoiser
from scorefield.priors.experts import predict_together
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.loading import PriorError, check_folder
from scorefield.priors.noise import keyed_noise
from scorefield.views import CAMERA_WIDTH, CameraRanges, camera_vector

RED, BLUE = "a red chair", "a blue boat"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_views(tmp_path_factory.mktemp("told") / "views")


@pytest.fixture(scope="module")
def prior(folder: Path) -> FrozenPrior:
    return load_prior(folder)


def eps(denoiser: Denoiser, count: int = 2, timestep: int = 700) -> Tensor:
    z = keyed_noise(0, range(count), 0, (4, 16, 16))
    return denoiser(z, denoiser.schedule.at_timestep(timestep)).eps


def apart(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


def test_the_vector_of_a_camera() -> None:
    cameras = Cameras.at(
        [0.0, 90.0, -120.0], [0.0, 30.0, 90.0], [3.0, 2.5, 3.2], [40.0, 60.0, 20.0]
    )
    r = 3**0.5 / 2
    expected = [[1, 0, 1, 0, 0, 0, 1], [0, 1, r, 0.5, -0.5, 1, 1], [-0.5, -r, 0, 1, 0.2, -1, 1]]
    torch.testing.assert_close(camera_vector(cameras), torch.tensor(expected), atol=1e-6, rtol=0)
    around = Cameras.at([360.0, 450.0, 240.0], cameras.elevation.tolist())
    found = camera_vector(around)[:, :4]
    torch.testing.assert_close(found, torch.tensor(expected)[:, :4], atol=1e-6, rtol=0)


def test_names_of_views_load_without_torch() -> None:
    code = "import sys, scorefield.views; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_cameras_of_no_use_are_refused() -> None:
    one = torch.zeros(1)
    pose: dict[str, Any] = {"azimuth": one, "elevation": one, "distance": one, "fov": one}
    for wrong, why in (
        ({"fov": torch.zeros(2)}, r"one shape \(batch,\); got \(1,\), \(1,\), \(1,\), \(2,\)"),
        ({"azimuth": torch.zeros(1, 1)}, r"one shape \(batch,\)"),
        ({"distance": one / 0}, "finite"),
    ):
        with pytest.raises(ValueError, match=why):
            camera_vector(SimpleNamespace(**{**pose, **wrong}))


def test_ranges_of_a_card() -> None:
    cameras = Cameras.at([0.0, 170.0], [-10.0, 60.0], [2.8, 3.2], 40.0)
    found = CameraRanges.of_vectors(camera_vector(cameras))
    assert found == CameraRanges((-10.0, 60.0), (2.8, 3.2), (40.0, 40.0))
    good = {"elevation": [-10, 60], "distance": [2.8, 3.2], "fov": [40, 40]}
    assert CameraRanges.of_card(good) == found
    for wrong in ({}, [], {**good, "roll": [0, 0]}, {**good, "fov": [50, 40]}, {**good, "fov": 40}):
        with pytest.raises(ValueError, match="cameras"):
            CameraRanges.of_card(wrong)


def test_every_camera_is_answered_in_its_own_way(prior: FrozenPrior) -> None:
    assert prior.cameras == CameraRanges((-10.0, 60.0), (2.8, 3.2), (40.0, 40.0))
    front, side = Cameras.at(0.0, 20.0), Cameras.at(90.0, 20.0)
    seen = [eps(prior.condition(RED, one)) for one in (front, side, None)]
    assert apart(seen[0], seen[1]) > 1e-3
    assert apart(seen[0], seen[2]) > 1e-3
    assert apart(seen[0], eps(prior.condition(RED, Cameras.at(360.0, 20.0)))) < 1e-5
    assert torch.equal(seen[2], eps(prior.condition(RED, torch.zeros(1, CAMERA_WIDTH))))
    assert torch.equal(seen[0], eps(prior.condition(RED, camera_vector(front))))
    each = eps(prior.condition([RED, BLUE], Cameras.at([0.0, 90.0], 20.0)))
    assert apart(each[0], seen[0][0]) < 1e-5
    assert apart(each[1], eps(prior.condition(BLUE, side))[1]) < 1e-5
    both = eps(prior.condition(RED, Cameras.at([0.0, 90.0], 20.0)))  # one prompt, two cameras
    assert apart(both[1], seen[1][1]) < 1e-5


def test_guidance_is_on_the_text_alone(prior: FrozenPrior) -> None:
    """Both halves see the same camera, with a negative prompt, too."""
    cameras = Cameras.at([10.0, 200.0])
    for negative in (None, BLUE):
        cond, away = (prior.condition(words, cameras) for words in (RED, negative))
        expected = eps(away) + 3.0 * (eps(cond) - eps(away))
        guided = prior.guided(RED, Guidance(3.0, negative=negative), cameras)
        assert apart(eps(guided), expected) < 1e-4
    assert apart(eps(prior.guided(RED, 3.0)), eps(prior.guided(RED, 3.0, cameras))) > 1e-3


def test_cameras_in_compositions(prior: FrozenPrior) -> None:
    """One pass for several cameras of the same noisy sample, equal to one pass each."""
    front, back = (prior.condition(RED, Cameras.at(a)) for a in (0.0, 180.0))
    free = prior.condition(None)
    z, level = keyed_noise(0, range(2), 0, prior.latent_shape), prior.schedule.at_timestep(700)
    together = predict_together([front, back, free], z, level)
    for found, alone in zip(together, (front, back, free), strict=True):
        assert apart(found.eps, eps(alone)) < 1e-5
    assert apart(eps(front * back / free), eps(front) + eps(back) - eps(free)) < 1e-4
    halves = (front * back / free).rows([1])
    assert apart(eps(halves, 1), eps(front, 1) + eps(back, 1) - eps(free, 1)) < 1e-4


def test_items_do_not_see_each_other(prior: FrozenPrior) -> None:
    cameras = Cameras.at([0.0, 90.0, 180.0], 15.0)
    every = prior.generate([RED, BLUE, RED], 2.0, cameras, steps=2, seed=3)
    parts = prior.generate([RED, BLUE, RED], 2.0, cameras, steps=2, seed=3, batch_size=2)
    assert apart(every, parts) < 1e-4
    other = prior.generate(
        [RED, BLUE, RED], 2.0, Cameras.at([0.0, 0.0, 180.0], 15.0), steps=2, seed=3
    )
    assert apart(every[[0, 2]], other[[0, 2]]) < 1e-4 < apart(every[1], other[1])


@pytest.mark.filterwarnings("ignore:the predictions of .* do not fit")  # untrained
def test_it_is_a_prior_like_any_other(prior: FrozenPrior) -> None:
    assert set(_CHECKS) - set(check_prior(prior, (RED, BLUE))) <= {"prediction"}


@pytest.mark.filterwarnings("ignore:the predictions of .* do not fit")
def test_a_network_that_does_not_hear_of_cameras_is_found(folder: Path) -> None:
    deaf = load_prior(folder)
    torch.nn.init.zeros_(deaf.model.class_embedding.linear_2.weight)
    with pytest.raises(AssertionError, match="does not hear of the camera") as found:
        check_prior(deaf, (RED, BLUE))
    assert list(found.value.failures) == ["cameras"]  # type: ignore[attr-defined]


def test_half_precision_takes_cameras(folder: Path) -> None:
    half = load_prior(folder, dtype=torch.bfloat16)
    seen = eps(half.condition(RED, Cameras.at([0.0, 90.0])))
    assert bool(seen.isfinite().all())


def test_cameras_that_do_not_fit_are_refused(prior: FrozenPrior) -> None:
    for cameras, why in (
        (Cameras.at([0.0, 1.0, 2.0]), "3 cameras do not fit 2 prompts; give one camera or 2"),
        (torch.zeros(2, 6), r"\(batch, 7\), .* got \(2, 6\)"),
        (torch.full((2, 7), torch.nan), "finite"),
        (Cameras.at([0.0, torch.inf]), "finite"),
    ):
        with pytest.raises(ValueError, match=why):
            prior.condition([RED, BLUE], cameras)


def test_a_prior_without_cameras_says_so(tmp_path: Path) -> None:
    plain = load_prior(untrained_shapes(tmp_path / "tiny"))
    assert plain.cameras is None
    for ask in (plain.condition, plain.guided, plain.generate):
        with pytest.raises(ValueError, match="shapes takes no cameras, only words"):
            ask(RED, cameras=Cameras.at(0.0))


def refused(folder: Path, card: dict[str, Any] | None, **config: Any) -> str:
    """What is said of a folder with another card and U-Net config, before weights are read."""
    path, told = folder / "unet" / "config.json", folder / "scorefield.json"
    before = path.read_text(), told.read_text()
    content = json.loads(before[1])
    content.pop("cameras")
    told.write_text(json.dumps(content if card is None else content | {"cameras": card}))
    path.write_text(json.dumps({**json.loads(before[0]), **config}))
    try:
        with pytest.raises(PriorError) as caught:
            check_folder(folder)
    finally:
        path.write_text(before[0])
        told.write_text(before[1])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_folders_whose_card_and_network_disagree(tmp_path: Path) -> None:
    folder = untrained_views(tmp_path / "views")
    good = json.loads((folder / "scorefield.json").read_text())["cameras"]
    assert "class_embed_type = 'projection', which loads where the card" in refused(folder, None)
    said = refused(folder, good, projection_class_embeddings_input_dim=8)
    assert "'projection' of 8 numbers" in said
    assert "class_embed_type = None of" in refused(folder, good, class_embed_type=None)
    assert "and what loads has None or 'proj" in refused(folder, good, class_embed_type="identity")
    assert "fov of cameras must be [low, high]" in refused(folder, {**good, "fov": 40})
    write_seal(folder)
    assert load_prior(folder).cameras is not None
