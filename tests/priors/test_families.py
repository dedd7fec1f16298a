"""Every family: its samples are those of diffusers' pipeline, and its traps are avoided."""

import copy
import json
import shutil
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import pytest
import tiny_models
import torch
from tiny_models import SIZES, TINY
from torch import Tensor

from scorefield.priors.codec import LatentCodec, PixelCodec, VideoCodec
from scorefield.priors.experts import predict_together
from scorefield.priors.families import FAMILIES, from_pipeline
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.loading import PriorError, _quiet, load_prior
from scorefield.priors.noise import keyed_noise
from scorefield.priors.sampling import sample
from scorefield.priors.schedule import DiscreteSchedule, FlowSchedule

# A prompt that each can take.
PROMPTS = {"ddpm": "", "ddpm-classes": "star", "dit": "goldfish"}
STEPS = 5
FLOWS = ("sd3", "flux", "flux-schnell", "flux2-klein", "qwen-image", "z-image", "sana")
VIDEO_FLOWS = ("ltx", "wan", "wan-two-experts", "wan-per-token")

Tiny = Callable[[str], Path]


@cache
def _loaded(folder: Path) -> FrozenPrior:
    return load_prior(folder, **SIZES.get(folder.name, {}))


def load(tiny: Tiny, name: str, **options: Any) -> FrozenPrior:
    """The prior of a family; without options it is shared and must not be changed."""
    if not options:
        return _loaded(tiny(name))
    return load_prior(tiny(name), **{**SIZES.get(name, {}), **options})


def prompt_of(name: str) -> str:
    return PROMPTS.get(name, "a red cup")


def pipeline_of(tiny: Tiny, name: str) -> Any:
    folder = tiny(name)
    index = json.loads((folder / "model_index.json").read_text())
    with _quiet():
        pipeline = getattr(diffusers, index["_class_name"]).from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def start_of(prior: FrozenPrior) -> Tensor:
    return keyed_noise(3, range(1), 0, prior.latent_shape)


def eps_scheduler(pipeline: Any) -> Any:
    """DDIM that takes eps, along the pipeline's chain."""
    return diffusers.DDIMScheduler.from_config(
        {**pipeline.scheduler.config, "variance_type": "fixed_small"},
        clip_sample=False,
        thresholding=False,
        timestep_spacing="trailing",
        prediction_type="epsilon",
    )


def theirs(pipeline: Any, name: str, start: Tensor, scale: float, monkeypatch: Any) -> Tensor:
    """The sample of diffusers' pipeline from a start, as latents in our layout, or as images."""
    options: dict[str, Any] = {"num_inference_steps": STEPS, "guidance_scale": scale}
    sigmas = [1 - i / STEPS for i in range(STEPS)]
    match name:
        case "sdxl":
            pipeline.scheduler = eps_scheduler(pipeline)
            latents = pipeline("a red cup", latents=start, output_type="latent", **options).images
        case "if":
            pipeline.scheduler = eps_scheduler(pipeline)
            monkeypatch.setattr(pipeline, "prepare_intermediate_images", lambda *_: start)
            options |= {"output_type": "pt", "clean_caption": False}
            latents = pipeline("a red cup", **options).images
        case "ddpm":
            pipeline.scheduler = eps_scheduler(pipeline)
            module = diffusers.pipelines.ddpm.pipeline_ddpm
            monkeypatch.setattr(module, "randn_tensor", lambda *_, **__: start)
            images = pipeline(num_inference_steps=STEPS, output_type="np").images
            latents = 2 * torch.from_numpy(images).permute(0, 3, 1, 2) - 1
        case "dit":
            pipeline.scheduler = eps_scheduler(pipeline)
            module = diffusers.pipelines.dit.pipeline_dit
            monkeypatch.setattr(module, "randn_tensor", lambda *_, **__: start)
            labels = pipeline.get_label_ids(["goldfish"])
            images = pipeline(labels, output_type="np", **options).images
            return torch.from_numpy(images).permute(0, 3, 1, 2)
        case "sd3":
            latents = pipeline(
                "a red cup", latents=start, sigmas=sigmas, output_type="latent", **options
            ).images
        case "flux" | "flux-schnell":
            packed = pipeline._pack_latents(start, 1, *start.shape[1:])
            size = 2 * start.shape[-1]
            options |= {"guidance_scale": 3.5, "height": size, "width": size, "sigmas": sigmas}
            packed = pipeline("a red cup", latents=packed, output_type="latent", **options).images
            latents = pipeline._unpack_latents(packed, size, size, 2)
        case "text-to-video" | "animate-diff":
            pipeline.scheduler = eps_scheduler(pipeline)
            options |= {"num_frames": start.shape[1], "height": 16, "width": 16}
            latents = pipeline(
                "a red cup", latents=start.transpose(1, 2), output_type="latent", **options
            ).frames
            latents = latents.transpose(1, 2)
        case "pixart" | "pixart-alpha":
            pipeline.scheduler = eps_scheduler(pipeline)
            options |= {"clean_caption": False, "use_resolution_binning": False}
            options |= {"height": 16, "width": 16}
            latents = pipeline("a red cup", latents=start, output_type="latent", **options).images
        case "wan":
            pipeline.scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
            # their pipeline takes no sigmas; without this the shift would be applied twice
            set_timesteps = pipeline.scheduler.set_timesteps
            monkeypatch.setattr(
                pipeline.scheduler, "set_timesteps", lambda *_, **__: set_timesteps(sigmas=sigmas)
            )
            options |= {"num_frames": 5, "height": 16, "width": 16}
            latents = pipeline(
                "a red cup", latents=start.transpose(1, 2), output_type="latent", **options
            ).frames
            latents = latents.transpose(1, 2)
    return latents


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("sdxl", 1.0),
        ("sdxl", 5.0),
        ("if", 1.0),
        ("if", 7.0),
        ("ddpm", 1.0),
        ("dit", 1.0),
        ("sd3", 1.0),
        ("sd3", 7.0),
        ("flux", 1.0),
        ("flux-schnell", 1.0),
        ("text-to-video", 9.0),
        ("animate-diff", 7.5),
        ("wan", 5.0),
        ("pixart", 4.5),
        ("pixart-alpha", 4.5),
    ],
)
def test_samples_are_the_pipelines(
    tiny: Tiny, name: str, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, prior = pipeline_of(tiny, name), load(tiny, name)
    start = start_of(prior)
    scheduler = prior.scheduler
    if isinstance(prior.schedule, DiscreteSchedule):
        config = eps_scheduler(pipeline).config
        scheduler = diffusers.DDIMScheduler.from_config(config, prediction_type="v_prediction")
    ours = sample(
        prior.guided(prompt_of(name), scale),
        prior.latent_shape,
        scheduler=scheduler,
        steps=STEPS,
        seed=3,
    )
    expected = theirs(pipeline, name, start, scale, monkeypatch)
    if name == "dit":
        ours = prior.decode(ours)
    if name == "ddpm":
        ours = ours.clamp(-1, 1)
    assert float(expected.std()) > 0.01
    # float32 over five steps, divided by alpha = 0.07 or less in the first
    tolerance = 2e-3 * float(expected.abs().max())
    torch.testing.assert_close(ours, expected, rtol=1e-3, atol=tolerance)


@pytest.mark.parametrize("name", TINY)
def test_generates_from_noise(tiny: Tiny, name: str) -> None:
    prior = load(tiny, name)
    images = prior.generate(prompt_of(name), 1.0, steps=2)
    size = (3, prior.image_size, prior.image_size)
    assert images.shape == (1, *(size if prior.frames is None else (prior.frames, *size)))
    assert images.dtype == torch.float32
    assert bool(((images >= 0) & (images <= 1)).all())


@pytest.mark.parametrize("name", TINY)
def test_everything_is_frozen_and_in_eval_mode(tiny: Tiny, name: str) -> None:
    """diffusers' freshly built models are in train mode, where DiT drops labels."""
    prior = load(tiny, name)
    modules = [prior.network, *getattr(prior.text, "modules", list)()]
    modules += [prior.codec.vae] if isinstance(prior.codec, LatentCodec | VideoCodec) else []
    for module in modules:
        assert not any(m.training for m in module.modules())
        assert not any(p.requires_grad for p in module.parameters())


def test_a_pipeline_that_was_training_is_frozen(tiny: Tiny) -> None:
    pipeline = pipeline_of(tiny, "dit")
    pipeline.transformer.train()
    prior = from_pipeline(pipeline)
    assert not prior.network.training
    z = start_of(prior).repeat(64, 1, 1, 1)
    level = prior.schedule.at_timestep(500)
    # in train mode a tenth of the labels would be dropped
    value = prior.condition("goldfish")(z, level).eps
    torch.testing.assert_close(value, value[:1].expand_as(value), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", TINY)
def test_half_precision(tiny: Tiny, name: str) -> None:
    prior = load(tiny, name, dtype=torch.bfloat16)
    assert prior.dtype == torch.bfloat16
    if isinstance(prior.codec, LatentCodec | VideoCodec):
        kept = torch.bfloat16 if name == "sd" else torch.float32
        assert {p.dtype for p in prior.codec.vae.parameters()} == {kept}
    z = start_of(prior)
    prediction = prior.condition(prompt_of(name))(z, prior.schedule.at_timestep(300))
    assert prediction.v.dtype == torch.float32
    full = load(tiny, name).condition(prompt_of(name))(z, prior.schedule.at_timestep(300))
    error = (prediction.eps - full.eps).norm() / full.eps.norm()
    # eight bits of significand, through some ten layers
    assert float(error) < 0.1


def test_the_hidden_texts_of_an_empty_prompt_are_zeros_for_sdxl(tiny: Tiny) -> None:
    prior = load(tiny, "sdxl")
    none = prior.condition(None).condition.tensors
    assert not bool(none["encoder_hidden_states"].any() | none["text_embeds"].any())
    some = prior.condition("a red cup").condition.tensors
    assert some["encoder_hidden_states"].shape == (1, 77, 64)
    assert some["text_embeds"].shape == (1, 32)
    assert some["time_ids"].tolist() == [[16, 16, 0, 0, 16, 16]]


def test_sdxl_is_told_the_size_it_makes(tiny: Tiny) -> None:
    prior = load(tiny, "sdxl", image_size=32)
    assert prior.latent_shape == (4, 16, 16)
    assert prior.condition("a").condition.tensors["time_ids"][0, -1] == 32


def test_the_learned_variance_is_left_out(tiny: Tiny) -> None:
    for name in ("if", "dit"):
        pipeline, prior = pipeline_of(tiny, name), load(tiny, name)
        z, level = start_of(prior), prior.schedule.at_timestep(500)
        denoiser = prior.condition(prompt_of(name))
        network = pipeline.unet if name == "if" else pipeline.transformer
        with torch.no_grad():
            raw = network(z, timestep=torch.tensor([500]), **denoiser.condition.tensors).sample
        assert raw.shape[1] == 2 * z.shape[1]
        torch.testing.assert_close(denoiser(z, level).eps, raw[:, : z.shape[1]])


def test_classes_have_names(tiny: Tiny) -> None:
    prior = load(tiny, "dit")

    def label(prompt: str | None) -> int:
        return int(prior.condition(prompt).condition.tensors["class_labels"])

    assert label("tench") == label("Tinca tinca") == 0
    assert label("Snow Leopard") == label(" ounce ") == 2
    assert label(None) == 3  # the null class
    with pytest.raises(ValueError, match=r"no class 'gold fish' \(nearest: goldfish\); it has 5"):
        prior.condition("gold fish")
    assert prior.condition(["ounce", "tench"]).condition.tensors["class_labels"].tolist() == [2, 0]


def test_classes_of_a_card(tiny: Tiny, tmp_path: Path) -> None:
    prior = load(tiny, "ddpm-classes")
    assert prior.condition(["star", ""]).condition.tensors["class_labels"].tolist() == [2, 3]
    folder = Path(shutil.copytree(tiny("ddpm-classes"), tmp_path / "copy"))
    (folder / "scorefield.json").write_text(json.dumps({"labels": ["a", "b"]}))
    with pytest.raises(PriorError, match=r"the unet has 4 classes; .* got 2"):
        load_prior(folder)
    (folder / "scorefield.json").unlink()
    prior = load_prior(folder)
    assert prior.condition("3").condition.tensors["class_labels"].tolist() == [3]
    # no null class: nothing to be guided away from, and scale 1 does not ask for it
    prior.guided("3", 1.0)
    with pytest.raises(ValueError, match="no null class"):
        prior.guided("3", 2.0)


def test_an_unconditional_prior_takes_no_prompt(tiny: Tiny) -> None:
    prior = load(tiny, "ddpm")
    with pytest.raises(ValueError, match="unconditional and takes no prompt; leave 'a cup' out"):
        prior.condition("a cup")
    assert prior.generate(["", ""], steps=1).shape == (2, 3, 8, 8)


def test_flows_are_sampled_along_their_own_shift(tiny: Tiny) -> None:
    """FlowMatchEuler left to itself applies its shift twice."""
    steps = 4
    plain = torch.tensor([1 - i / steps for i in range(steps)])
    for name, shift in (("sd3", 3.0), ("wan", 3.0), ("flux-schnell", 3.0)):
        prior = load(tiny, name)
        assert prior.scheduler is not None
        visited: list[float] = []
        sample(
            prior.condition("a"),
            prior.latent_shape,
            scheduler=prior.scheduler,
            steps=steps,
            callback=lambda _, __, p, v=visited: v.append(float(p.level.flow_sigma)),
        )
        expected = shift * plain / (1 + (shift - 1) * plain)
        torch.testing.assert_close(torch.tensor(visited), expected, rtol=1e-6, atol=1e-6)


def test_the_shift_of_flux_grows_with_the_image(tiny: Tiny) -> None:
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    for size in (16, 64):
        prior = load(tiny, "flux", image_size=size)
        mu = calculate_shift((size // 4) ** 2)
        assert prior.scheduler.config.shift == pytest.approx(torch.tensor(mu).exp().item())


def test_timesteps_and_packing_of_flux(tiny: Tiny) -> None:
    """Its transformer takes timesteps from 0 to 1 and 2x2 latents as one token."""
    pipeline, prior = pipeline_of(tiny, "flux"), load(tiny, "flux", image_size=16)
    seen: dict[str, Tensor] = {}
    inner = prior.network.model
    forward = inner.forward  # type: ignore[union-attr]

    def spy(hidden_states: Tensor, **options: Any) -> Any:
        seen.update(hidden_states=hidden_states, **options)
        return forward(hidden_states, **options)

    inner.forward = spy  # type: ignore[union-attr, assignment]
    z = keyed_noise(0, range(2), 0, prior.latent_shape)
    velocity = prior.condition("a cup")(z, prior.schedule.at_timestep(250.0)).velocity
    assert torch.equal(seen["hidden_states"], pipeline._pack_latents(z, *z.shape))
    torch.testing.assert_close(seen["timestep"], torch.tensor([0.25, 0.25]))
    assert seen["guidance"].tolist() == [3.5, 3.5]
    ids = pipeline._prepare_latent_image_ids(2, 4, 4, "cpu", torch.float32)
    assert torch.equal(seen["img_ids"], ids)
    packed = forward(**seen).sample
    assert torch.equal(pipeline._unpack_latents(packed, 16, 16, 2), velocity)
    with pytest.raises(ValueError, match="even height and width; got 8x7"):
        prior.condition("a")(z[..., :7], prior.schedule.at_timestep(250.0))


def test_frames_know_of_each_other(tiny: Tiny) -> None:
    """A change of the first frame changes the prediction of the last."""
    for name in ("clip", "text-to-video", "animate-diff", "wan"):
        prior = load(tiny, name)
        denoiser, level = prior.condition("a red cup"), prior.schedule.at_timestep(500)
        z = start_of(prior)
        other = z.clone()
        other[:, 0] += 1
        change = (denoiser(other, level).eps - denoiser(z, level).eps)[:, -1]
        assert float(change.abs().max()) > 1e-4


def test_videos_of_the_wrong_length(tiny: Tiny) -> None:
    prior = load(tiny, "wan")
    assert (prior.frames, prior.latent_shape) == (5, (3, 4, 8, 8))
    with pytest.raises(ValueError, match=r"4 frames does not divide.* give 1 \+ 2 n frames"):
        prior.encode(torch.zeros(1, 4, 3, 16, 16))
    with pytest.raises(ValueError, match=r"encodes videos \(b, frames, 3, h, w\); got shape"):
        prior.encode(torch.zeros(1, 3, 16, 16))
    with pytest.raises(PriorError, match=r"frames must be 1 \+ 2 n for wan; got 4"):
        load(tiny, "wan", frames=4)
    with pytest.raises(PriorError, match="clips of 4 frames of 8 pixels only; got 7"):
        load(tiny, "clip", frames=7)
    with pytest.raises(PriorError, match="image_size must be a positive multiple of 2"):
        load(tiny, "sd3", image_size=15)


def test_the_video_autoencoder_standardises_its_latents(tiny: Tiny) -> None:
    pipeline, prior = pipeline_of(tiny, "wan"), load(tiny, "wan")
    videos = torch.rand(2, 5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    latents = prior.encode(videos)
    with torch.no_grad():
        mean = pipeline.vae.encode(2 * videos.transpose(1, 2) - 1).latent_dist.mean
    config = pipeline.vae.config
    for c in range(4):
        expected = (mean[:, c] - config.latents_mean[c]) / config.latents_std[c]
        torch.testing.assert_close(latents[:, :, c], expected)
    decoded = pipeline.vae.decode(mean).sample.transpose(1, 2) / 2 + 0.5
    torch.testing.assert_close(prior.decode(latents), decoded.detach().clamp(0, 1))


def test_guidance_shares_a_pass(tiny: Tiny) -> None:
    """Conditional and unconditional of one prior run in one batch, in every family."""
    for name in TINY:
        prior = load(tiny, name)
        if name == "ddpm":
            continue
        calls: list[int] = []
        hook = prior.network.register_forward_hook(lambda *_, c=calls: c.append(1))
        # bytes are tokens here: none and a word of Qwen's fill numbers of tokens too different
        other = "a red bed" if name == "qwen-image" else None
        pair = [prior.condition(prompt_of(name)), prior.condition(other)]
        z, level = start_of(prior), prior.schedule.at_timestep(500)
        together = predict_together(pair, z, level)
        assert len(calls) == 1
        hook.remove()
        for denoiser, joint in zip(pair, together, strict=True):
            torch.testing.assert_close(joint.v, denoiser(z, level).v, rtol=1e-3, atol=1e-4)


def test_a_scheduler_gives_its_schedule_only(tiny: Tiny) -> None:
    """Schedulers are stateful and some add noise in other amplitudes; nothing of that is used.

    SDXL ships EulerDiscrete, whose add_noise leaves x0 unscaled.
    """
    pipeline = pipeline_of(tiny, "sdxl")
    prior = from_pipeline(pipeline)
    x, eps = torch.ones(1, 4, 8, 8), torch.zeros(1, 4, 8, 8)
    assert prior.schedule.at_timestep(261).add_noise(x, eps)[0, 0, 0, 0].item() == pytest.approx(
        0.8097, abs=1e-4
    )
    with warnings.catch_warnings():
        # diffusers converts tensors in a way numpy 2 means to drop
        warnings.filterwarnings("ignore", "__array__", DeprecationWarning)
        pipeline.scheduler.set_timesteps(7)
    stepped = from_pipeline(pipeline)
    assert isinstance(prior.schedule, DiscreteSchedule)
    assert isinstance(stepped.schedule, DiscreteSchedule)
    assert torch.equal(prior.schedule.alphas_cumprod, stepped.schedule.alphas_cumprod)
    prior = load(tiny, "sd3")
    before = copy.deepcopy(prior.scheduler.__dict__)
    images = prior.generate("a", steps=2)
    assert torch.equal(images, prior.generate("a", steps=2))
    assert str(prior.scheduler.__dict__) == str(before)


def test_epsilon_at_zero_terminal_snr_is_refused(tiny: Tiny) -> None:
    """diffusers' DDIM stays finite there because it clips; eps says nothing about x0."""
    pipeline = pipeline_of(tiny, "sd")
    pipeline.scheduler = diffusers.DDIMScheduler.from_config(
        pipeline.scheduler.config, rescale_betas_zero_snr=True, timestep_spacing="trailing"
    )
    prior = from_pipeline(pipeline)
    with pytest.raises(ValueError, match="alpha = 0 here"):
        prior.generate("a cup", steps=2)


def test_schedules_of_the_families(tiny: Tiny) -> None:
    for name in TINY:
        prior = load(tiny, name)
        is_flow = name in FLOWS + VIDEO_FLOWS
        assert isinstance(prior.schedule, FlowSchedule if is_flow else DiscreteSchedule)
        assert isinstance(prior.codec, PixelCodec) == (
            name in ("if", "ddpm", "ddpm-classes", "clip")
        )


def test_prompts_for_t5_may_be_longer_than_clip_takes(tiny: Tiny) -> None:
    prior = load(tiny, "sd3")
    prior.condition("a " * 90)
    with pytest.warns(UserWarning, match="longer than 255 tokens; dropped"):
        prior.condition("a " * 300)


def test_sd3_without_t5(tiny: Tiny) -> None:
    pipeline = pipeline_of(tiny, "sd3")
    pipeline.register_modules(text_encoder_3=None, tokenizer_3=None)
    prior = from_pipeline(pipeline)
    hidden = prior.condition("a cup").condition.tensors["encoder_hidden_states"]
    assert hidden.shape == (1, 77 + 256, 64)
    assert not bool(hidden[:, 77:].any())
    with pytest.warns(UserWarning, match="longer than 75 tokens"):
        prior.condition("a " * 90)


def test_an_inpainting_unet_is_refused(tiny: Tiny) -> None:
    pipeline = pipeline_of(tiny, "sd")
    pipeline.unet.register_to_config(in_channels=9)
    with pytest.raises(ValueError, match="the unet takes 9 channels and the latents have 4"):
        from_pipeline(pipeline)


def test_other_pipelines_make_no_prior() -> None:
    with pytest.raises(ValueError, match=r"a dict makes no prior; give one of .*WanPipeline"):
        from_pipeline({})


def test_every_family_is_tested(tiny: Tiny) -> None:
    built = {
        json.loads((tiny(name) / "model_index.json").read_text())["_class_name"] for name in TINY
    }
    # which is shown an image: test_stable_video.py
    assert built | {"StableVideoDiffusionPipeline"} == set(FAMILIES)


@pytest.mark.parametrize(
    "config", [{"clip_sample": True}, {"thresholding": True, "sample_max_value": 1.5}]
)
def test_priors_of_pixels_clip_samples_as_their_scheduler_says(
    config: dict[str, Any], tmp_path: Path
) -> None:
    """As DDIM of diffusers that goes on from the clipped sample; without either, as it is."""
    pipeline = tiny_models.ddpm()
    plain = {"clip_sample": False, "thresholding": False, "dynamic_thresholding_ratio": 0.9}

    def prior_of(**more: Any) -> FrozenPrior:
        pipeline.scheduler = diffusers.DDPMScheduler(**{**plain, **more})
        return from_pipeline(pipeline)

    prior, free = prior_of(**config), prior_of()
    assert free.scheduler is None
    settings = {**plain, **config, "prediction_type": "epsilon"}
    ddim = prior.schedule.scheduler(diffusers.DDIMScheduler, **settings)
    ddim.set_timesteps(STEPS)
    z = start_of(prior)
    for t in ddim.timesteps:
        with torch.no_grad():
            eps = pipeline.unet(z, t).sample
        z = ddim.step(eps, t, z, use_clipped_model_output=True).prev_sample
    ours, without = (one.generate_latents("", steps=STEPS, seed=3) for one in (prior, free))
    torch.testing.assert_close(ours, z, atol=1e-4, rtol=1e-4)
    assert (without - z).abs().max() > 0.1


def test_another_range_than_that_of_pixels_is_refused() -> None:
    pipeline = tiny_models.ddpm()
    pipeline.scheduler = diffusers.DDPMScheduler(clip_sample_range=2.0)
    with pytest.raises(ValueError, match=r"clip_sample_range = 2\.0; pixels are in \[-1, 1\]"):
        from_pipeline(pipeline)
