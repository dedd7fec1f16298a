"""Families of transformers: sampled as by their pipelines from the same noise, and lawful."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
import torch.nn.functional as F
from tiny_models import SIZES
from torch import Tensor

from scorefield.priors.checks.conformance import check_prior
from scorefield.priors.families.base import Card
from scorefield.priors.families.flows import pack_cells, unpack_cells
from scorefield.priors.families.flux2 import flux2_klein
from scorefield.priors.features.extraction import extract_features
from scorefield.priors.features.network_cost import network_cost
from scorefield.priors.features.taps import layer_path
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.guidance.classifier_free import GuidanceInterval
from scorefield.priors.loading import PriorError, _quiet, load_prior
from scorefield.priors.noise import keyed_noise
from scorefield.priors.sampling import sample

Tiny = Callable[[str], Path]
STEPS = 5
PROMPT = "a red cup"


def load(tiny: Tiny, name: str, **options: Any) -> FrozenPrior:
    return load_prior(tiny(name), **{**SIZES.get(name, {}), **options})


def pipeline_of(folder: Path) -> Any:
    kind = json.loads((folder / "model_index.json").read_text())["_class_name"]
    with _quiet():
        pipeline = getattr(diffusers, kind).from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def walk_as_ours(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Euler's steps along the shift, which the pipelines of UniPC and DPM++ cannot be given."""
    pipeline.scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    set_timesteps = pipeline.scheduler.set_timesteps
    sigmas = [1 - i / STEPS for i in range(STEPS)]
    monkeypatch.setattr(
        pipeline.scheduler, "set_timesteps", lambda *_, **__: set_timesteps(sigmas=sigmas)
    )


def theirs(pipeline: Any, name: str, z: Tensor, size: int, scale: float) -> Tensor:
    """The sample of diffusers' pipeline from a start, in our layout."""
    options: dict[str, Any] = {"prompt": PROMPT, "num_inference_steps": STEPS}
    options |= {"output_type": "latent", "height": size, "width": size}
    match name:
        case "qwen-image":
            tokens = pipeline(
                latents=pack_cells(z), true_cfg_scale=scale, negative_prompt="", **options
            ).images
            return unpack_cells(tokens, z.shape[-2] // 2, z.shape[-1] // 2)
        case "z-image":  # guidance is added to the prompt's own prediction
            return pipeline(latents=z.clone(), guidance_scale=scale - 1, **options).images
        case "flux2-klein":
            found = pipeline(latents=z, guidance_scale=scale, **options).images
            norm = pipeline.vae.bn
            std = (norm.running_var + pipeline.vae.config.batch_norm_eps).sqrt()
            patches = F.pixel_unshuffle(found, 2)
            return (patches - norm.running_mean[:, None, None]) / std[:, None, None]
        case "sana":
            options["use_resolution_binning"] = False
            return pipeline(latents=z, guidance_scale=scale, **options).images
        case "cog-video-x":
            options["num_frames"] = 5
            return pipeline(latents=z, guidance_scale=scale, **options).frames
        case "ltx":
            packed = pipeline._pack_latents(z.transpose(1, 2))
            options["num_frames"] = 5
            tokens = pipeline(latents=packed, guidance_scale=scale, **options).frames
            frames, _, height, width = z.shape[1:]
            return pipeline._unpack_latents(tokens, frames, height, width).transpose(1, 2)
        case _:  # Wan
            options["num_frames"] = 5
            start = z.transpose(1, 2)
            return pipeline(latents=start, guidance_scale=scale, **options).frames.transpose(1, 2)


@pytest.mark.filterwarnings("ignore:the predictions of .* do not fit")  # untrained
@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("qwen-image", 1.0),
        ("qwen-image", 12.0),
        ("z-image", 4.0),
        ("flux2-klein", 4.0),
        ("sana", 4.5),
        ("cog-video-x", 6.0),
        ("ltx", 3.0),
        ("wan-two-experts", 5.0),
        ("wan-per-token", 5.0),
    ],
)
def test_samples_are_the_pipelines(
    tiny: Tiny, name: str, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, prior = pipeline_of(tiny(name)), load(tiny, name)
    if name == "flux2-klein":  # its shift depends on the steps
        prior = flux2_klein(pipeline, Card(steps=STEPS, **SIZES[name]))
    if name.startswith("wan") or name == "sana":
        walk_as_ours(pipeline, monkeypatch)
    start = keyed_noise(3, range(1), 0, prior.latent_shape)
    ours = sample(prior.guided(PROMPT, scale), prior.latent_shape, steps=STEPS, seed=3)
    expected = theirs(pipeline, name, start, prior.image_size, scale)
    assert float((expected - start).std()) > 0.1
    torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    assert {"decode", "samples"} <= set(check_prior(prior, [PROMPT, "a bed"]))


@pytest.mark.parametrize("name", ["qwen-image", "z-image"])
def test_prompts_of_several_lengths_do_not_see_each_other(tiny: Tiny, name: str) -> None:
    """They are padded to the longest, and what was padded is left out."""
    prior = load(tiny, name)
    prompts = ["a red cup", "a red cup on a table that stands in the garden of a house by the sea"]
    z = keyed_noise(0, range(1), 0, prior.latent_shape)
    level = prior.schedule.at_timestep(600.0)
    together = prior.condition(prompts)(z.expand(2, -1, -1, -1), level).velocity
    for prompt, value in zip(prompts, together, strict=True):
        alone = prior.condition(prompt)(z, level).velocity[0]
        torch.testing.assert_close(value, alone, rtol=1e-4, atol=1e-5)
    assert float((together[0] - together[1]).abs().max()) > 1e-4


def test_two_experts_share_a_batch_of_mixed_levels(tiny: Tiny) -> None:
    prior = load(tiny, "wan-two-experts")
    z = keyed_noise(0, range(3), 0, prior.latent_shape)
    denoiser = prior.condition(["a red cup", "a bed", "a red"])
    times = torch.tensor([900.0, 700.0, 850.0])  # the boundary is at 800
    mixed = denoiser(z, prior.schedule.at_timestep(times)).velocity
    for i, t in enumerate(times):
        alone = denoiser.rows([i])(z[i : i + 1], prior.schedule.at_timestep(t)).velocity
        torch.testing.assert_close(mixed[i : i + 1], alone, rtol=1e-4, atol=1e-5)


def test_two_experts_are_guided_at_a_scale_each(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As their pipeline's guidance_scale and guidance_scale_2."""
    name = "wan-two-experts"
    pipeline, prior = pipeline_of(tiny(name)), load(tiny, name)
    walk_as_ours(pipeline, monkeypatch)
    boundary = float(prior.schedule.at_timestep(800.0).log_snr)
    cleaner, noisier = prior.guided(PROMPT, 30.0), prior.guided(PROMPT, 5.0)
    guided = GuidanceInterval(cleaner, noisier, boundary + 1e-6, math.inf)
    start = keyed_noise(3, range(1), 0, prior.latent_shape)
    ours = sample(guided, prior.latent_shape, steps=STEPS, seed=3)
    options = {"guidance_scale": 5.0, "guidance_scale_2": 30.0, "output_type": "latent"}
    size = {"height": prior.image_size, "width": prior.image_size, "num_frames": 5}
    expected = pipeline(
        PROMPT, latents=start.transpose(1, 2), num_inference_steps=STEPS, **options, **size
    ).frames.transpose(1, 2)
    torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    one_scale = sample(noisier, prior.latent_shape, steps=STEPS, seed=3)
    assert float((ours - one_scale).abs().max()) > 1e-2


def test_images_survive_the_codecs_as_in_diffusers(tiny: Tiny) -> None:
    """Encoded and decoded with the means and deviations that their pipelines use."""
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for name in ("qwen-image", "flux2-klein", "sana"):
        prior = load(tiny, name, image_size=32)
        vae: Any = prior.codec.vae  # type: ignore[attr-defined]
        latents = prior.encode(images)
        assert latents.shape == (2, *prior.latent_shape)
        with torch.no_grad():
            pictures = 2 * images - 1
            if name == "qwen-image":
                mean = vae.encode(pictures[:, :, None]).latent_dist.mean
                decoded = vae.decode(mean).sample[:, :, 0]
            elif name == "sana":
                decoded = vae.decode(vae.encode(pictures).latent).sample
            else:
                decoded = vae.decode(vae.encode(pictures).latent_dist.mean).sample
        expected = (decoded / 2 + 0.5).clamp(0, 1)
        torch.testing.assert_close(prior.decode(latents), expected, rtol=1e-3, atol=1e-4)


def test_the_decoder_of_ltx_that_is_told_of_noise(tiny: Tiny) -> None:
    prior = load(tiny, "ltx")
    videos = torch.rand(1, 5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    vae: Any = prior.codec.vae  # type: ignore[attr-defined]
    latents = prior.encode(videos)
    with torch.no_grad():
        mean = vae.encode(2 * videos.transpose(1, 2) - 1).latent_dist.mean
        shaped = (1, -1, 1, 1, 1)
        scaled = (mean - vae.latents_mean.view(shaped)) / vae.latents_std.view(shaped)
        torch.testing.assert_close(latents, scaled.transpose(1, 2), rtol=1e-4, atol=1e-5)
        decoded = (vae.decode(mean).sample / 2 + 0.5).clamp(0, 1).transpose(1, 2)
    torch.testing.assert_close(prior.decode(latents), decoded, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "name",
    ["z-image", "flux2-klein", "qwen-image", "sana", "cog-video-x", "ltx", "wan-two-experts"],
)
def test_the_cost_of_every_network_is_counted(tiny: Tiny, name: str) -> None:
    """As `scorefield info` does, with the layers whose maps can be taken."""
    prior = load(tiny, name)
    cost = network_cost(prior, PROMPT)
    assert cost.flops > 0
    assert "block0" in [layer.name for layer in cost.layers]
    z = keyed_noise(0, range(1), 0, prior.latent_shape)
    after = prior.condition(PROMPT)(z, prior.schedule.at_fraction(0.5)).v
    before = load(tiny, name).condition(PROMPT)(z, prior.schedule.at_fraction(0.5)).v
    torch.testing.assert_close(after, before)  # counting left nothing behind


@pytest.mark.parametrize(
    ("name", "layer", "side"), [("flux2-klein", "single0", 8), ("z-image", "block0", 4)]
)
def test_maps_of_layers_where_words_and_places_are_one_sequence(
    tiny: Tiny, name: str, layer: str, side: int
) -> None:
    """A token of FLUX.2 is one cell, after the text's; one of Z-Image is 2x2 cells, before it."""
    prior = load(tiny, name)
    size = prior.image_size
    images = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    level, seen = prior.schedule.at_timestep(100.0), []
    block = prior.model.get_submodule(layer_path(prior.model, layer))
    handle = block.register_forward_hook(lambda *_args: seen.append(_args[-1]))
    maps = extract_features(prior, images, [layer], level, PROMPT, ensemble=1)[layer]
    handle.remove()
    tokens, places = seen[0][0], side * side
    assert len(tokens) > places
    own = tokens[-places:] if name == "flux2-klein" else tokens[:places]
    torch.testing.assert_close(maps[0], own.T.reshape(-1, side, side))


@pytest.mark.parametrize(
    ("name", "part", "key", "value"),
    [
        ("qwen-image", "transformer", "zero_cond_t", True),  # of images that are edited
        ("cog-video-x", "transformer", "patch_size_t", 2),  # of CogVideoX 1.5
        ("ltx", "transformer", "patch_size", 2),
        ("flux2-klein", "transformer", "guidance_embeds", True),
    ],
)
def test_relatives_that_are_shown_or_told_more_are_refused(
    tiny: Tiny, tmp_path: Path, name: str, part: str, key: str, value: Any
) -> None:
    import shutil

    folder = Path(shutil.copytree(tiny(name), tmp_path / "copy"))
    path = folder / part / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(PriorError, match=f"config.json: has {key} = {value}, and what loads has"):
        load_prior(folder)


def test_steps_and_scales_of_the_few_step_models(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "z-image-turbo").symlink_to(tiny("z-image"))
    turbo = load_prior(tmp_path / "z-image-turbo", image_size=16)
    assert (turbo.guidance_scale, turbo.steps) == (1.0, 8)
    pipeline = pipeline_of(tiny("flux2-klein"))
    pipeline.register_to_config(is_distilled=True)
    klein = flux2_klein(pipeline, Card(image_size=32))
    assert (klein.guidance_scale, klein.steps) == (1.0, 4)


def test_z_image_is_told_the_time_in_float32_whatever_it_computes_in(tiny: Tiny) -> None:
    """In bfloat16 the times of 1000 would be rounded to one in 256."""
    prior = load(tiny, "z-image", dtype=torch.bfloat16)
    told: list[Tensor] = []
    prior.model.register_forward_pre_hook(lambda module, given: told.append(given[1]))
    times = torch.tensor([5.0, 123.0, 777.0])
    z = torch.zeros(3, *prior.latent_shape)
    prior.condition(PROMPT)(z, prior.schedule.at_timestep(times))
    torch.testing.assert_close(told[0], 1 - times / 1000, rtol=0, atol=1e-6)
