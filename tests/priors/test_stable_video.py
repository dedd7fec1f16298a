"""Stable Video Diffusion: videos of an image, as by diffusers' pipeline."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import tiny_models
import torch
from PIL import Image

from scorefield.cli.main import main
from scorefield.images import load_image, save_image
from scorefield.priors.checks.conformance import check_prior
from scorefield.priors.loading import _quiet, load_prior
from scorefield.priors.noise import keyed_noise, noise_generator
from scorefield.priors.sampling import sample

STEPS = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("video") / "svd"
    place.mkdir()
    with torch.random.fork_rng(), _quiet():
        torch.manual_seed(0)
        tiny_models.stable_video().save_pretrained(place)
    return place


@pytest.fixture
def picture(tmp_path: Path) -> Callable[..., Path]:
    def make(seed: int = 0, size: int = 16) -> Path:
        pixels = torch.rand(3, size, size, generator=torch.Generator().manual_seed(seed))
        return save_image(tmp_path / f"{seed}-{size}.png", pixels)

    return make


def theirs(folder: Path, picture: Path, start: torch.Tensor, scale: float) -> torch.Tensor:
    with _quiet():
        pipeline = diffusers.StableVideoDiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    with Image.open(picture) as image:
        found: Any = pipeline(
            image,
            height=16,
            width=16,
            num_inference_steps=STEPS,
            max_guidance_scale=scale,
            latents=start,
            generator=noise_generator(0, 0, 0),  # of the noise on the image
            output_type="latent",
        )
    latents: torch.Tensor = found.frames
    return latents


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # of diffusers, with numpy 2
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_samples_are_the_pipelines(
    folder: Path, picture: Callable[..., Path], scale: float
) -> None:
    prior = load_prior(folder)
    assert prior.latent_shape == (3, 4, 8, 8) and prior.guidance_scale == 3.0
    start = keyed_noise(3, range(1), 0, prior.latent_shape)
    ours = sample(
        prior.guided(str(picture()), scale),
        prior.latent_shape,
        scheduler=prior.scheduler,
        steps=STEPS,
        seed=3,
    )
    expected = theirs(folder, picture(), start, scale)
    assert float(expected.std()) > 0.01
    torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-3)
    with _quiet():
        pipeline = diffusers.StableVideoDiffusionPipeline.from_pretrained(folder)
    decoded = pipeline.decode_latents(expected, 3).transpose(1, 2) / 2 + 0.5
    torch.testing.assert_close(prior.decode(expected), decoded.detach().clamp(0, 1))


@pytest.mark.filterwarnings("ignore:the predictions of .* do not fit")  # untrained
def test_it_keeps_the_laws(folder: Path, picture: Callable[..., Path]) -> None:
    prior = load_prior(folder)
    passed = check_prior(prior, [str(picture(0)), str(picture(1))])
    assert {"conditions", "decode", "samples"} <= set(passed)


def test_the_first_frame_is_guided_by_one(folder: Path, picture: Callable[..., Path]) -> None:
    prior = load_prior(folder)
    z = keyed_noise(3, range(2), 0, prior.latent_shape)
    level = prior.schedule.at_fraction(0.6)
    guided, plain, none = (
        denoiser(z, level).v
        for denoiser in (
            prior.guided(str(picture()), 4.0), prior.condition(str(picture())), prior.condition()
        )
    )  # fmt: skip
    torch.testing.assert_close(guided[:, 0], plain[:, 0])
    torch.testing.assert_close(guided[:, 1], none[:, 1] + 2.5 * (plain - none)[:, 1])
    torch.testing.assert_close(guided[:, 2], none[:, 2] + 4.0 * (plain - none)[:, 2])


def test_a_large_image_gives_its_middle_square(
    folder: Path, picture: Callable[..., Path], tmp_path: Path
) -> None:
    prior = load_prior(folder)
    small = save_image(tmp_path / "small.png", load_image(picture(2, 64), 16))
    large, other = (prior.text.encode([str(path)]).tensors for path in (picture(2, 64), small))
    for name, tensor in large.items():
        torch.testing.assert_close(tensor, other[name])


def test_the_command_line_takes_a_path_and_names_what_is_none(
    folder: Path, picture: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--prior", str(folder), "--steps", "2", "-n", "1", "--device", "cpu", "--quiet"]
    out = tmp_path / "video.gif"
    assert main(["text-to-video", str(picture()), *words, "--out", str(out)]) == 0
    assert out.is_file()
    capsys.readouterr()
    assert main(["text-to-video", "a red cup", *words, "--out", str(out)]) == 2
    assert "makes a video of an image and takes its path for a prompt" in capsys.readouterr().err
    assert main(["info", str(folder)]) == 0
    assert "prompts: paths of images" in capsys.readouterr().out


def test_another_image_of_the_same_name_is_looked_at(
    folder: Path, picture: Callable[..., Path]
) -> None:
    prior = load_prior(folder)
    first, second = picture(0), picture(1)
    shown = [prior.text.encode([str(path)]).tensors["image_latents"] for path in (first, second)]
    first.write_bytes(second.read_bytes())
    again = prior.text.encode([str(first)]).tensors["image_latents"]
    assert torch.equal(again, shown[1]) and not torch.equal(again, shown[0])
