from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, PNDMScheduler, StableDiffusionPipeline
from torch import Tensor

from scorefield.priors.codec import LatentCodec, PixelCodec
from scorefield.priors.exact.empirical import EmpiricalPrior
from scorefield.priors.families import from_pipeline
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.guidance.classifier_free import ClassifierFreeGuidance
from scorefield.priors.loading import _quiet
from scorefield.priors.noise import keyed_noise
from scorefield.priors.prior import Guidance, ImagePrior
from scorefield.priors.sampling import sample
from scorefield.priors.schedule import DiscreteSchedule

# What the pipeline predicts, and on which schedule.
KINDS: dict[str, dict[str, Any]] = {
    "epsilon": {},
    "v": {"prediction_type": "v_prediction"},
    "v to zero SNR": {
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
    },
}
SHAPE = (4, 16, 16)
PROMPTS = ["a red mushroom", "a photo of a blue cup"]


def pipeline_of(folder: Path, kind: str = "epsilon") -> StableDiffusionPipeline:
    with _quiet():
        pipeline = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, **KINDS[kind])
    return pipeline


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def pipeline(tiny_sd: Path, kind: str) -> StableDiffusionPipeline:
    return pipeline_of(tiny_sd, kind)


@pytest.fixture
def prior(pipeline: StableDiffusionPipeline) -> FrozenPrior:
    return from_pipeline(pipeline)


@pytest.fixture
def epsilon_prior(tiny_sd: Path) -> FrozenPrior:
    return from_pipeline(pipeline_of(tiny_sd))


@pytest.fixture(scope="module")
def z() -> Tensor:
    return keyed_noise(0, range(2), 0, SHAPE)


def embeddings(pipeline: StableDiffusionPipeline, prompts: list[str]) -> Tensor:
    with torch.no_grad():
        return pipeline.encode_prompt(prompts, "cpu", 1, False)[0]


def test_prediction_is_the_networks(
    pipeline: StableDiffusionPipeline, prior: FrozenPrior, kind: str, z: Tensor
) -> None:
    timesteps = torch.tensor([17, 999])
    with torch.no_grad():
        output = pipeline.unet(z, timesteps, embeddings(pipeline, PROMPTS)).sample
    prediction = prior.condition(PROMPTS)(z, prior.schedule.at_timestep(timesteps))
    value = prediction.eps if kind == "epsilon" else prediction.v
    assert torch.equal(value, output)


def test_schedule_is_the_schedulers(pipeline: StableDiffusionPipeline, prior: FrozenPrior) -> None:
    # float32 in diffusers, float64 here
    expected = pipeline.scheduler.alphas_cumprod
    assert isinstance(prior.schedule, DiscreteSchedule)
    torch.testing.assert_close(prior.schedule.alphas_cumprod.float(), expected, rtol=0, atol=0)
    assert prior.schedule.is_zero_terminal_snr == bool(expected[-1] == 0)


def test_any_scheduler_contributes_its_schedule(tiny_sd: Path) -> None:
    pipeline = pipeline_of(tiny_sd)
    before = from_pipeline(pipeline).schedule
    pipeline.scheduler = PNDMScheduler.from_config(pipeline.scheduler.config)
    after = from_pipeline(pipeline).schedule
    assert isinstance(before, DiscreteSchedule)
    assert isinstance(after, DiscreteSchedule)
    assert torch.equal(before.alphas_cumprod, after.alphas_cumprod)


def test_native_timesteps_reach_the_network_exactly(prior: FrozenPrior) -> None:
    seen: list[Tensor] = []

    class Recorder(torch.nn.Linear):
        def forward(self, z: Tensor, timestep: Tensor, **condition: Tensor) -> Tensor:
            seen.append(timestep)
            return z

    prior.network = Recorder(1, 1)
    every = torch.arange(1000)
    prior.condition("")(torch.zeros(1000, *SHAPE), prior.schedule.at_timestep(every))
    assert seen[0].shape == (1000,)
    assert torch.equal(seen[0], every.float())
    half = prior.schedule.at_timestep(500.5)
    prior.condition("")(torch.zeros(1, *SHAPE), half)
    torch.testing.assert_close(seen[1], torch.tensor([500.5]), rtol=0, atol=1e-3)


def test_frozen(prior: FrozenPrior, z: Tensor) -> None:
    assert isinstance(prior.codec, LatentCodec)
    for module in (prior.network, prior.text.model, prior.codec.vae):
        assert not any(m.training for m in module.modules())
        assert not any(p.requires_grad for p in module.parameters())
    z = z.clone().requires_grad_()
    level = prior.schedule.at_timestep(500)
    prediction = prior.condition(PROMPTS)(z, level)
    for read in ("eps", "x0", "v", "velocity", "score"):
        assert not getattr(prediction, read).requires_grad
    assert not prior.guided(PROMPTS, 3.0)(z, level).v.requires_grad


def test_network_gradient_agrees_with_finite_differences(
    epsilon_prior: FrozenPrior, z: Tensor
) -> None:
    prior = epsilon_prior.with_network_gradient()
    prior.network.double()
    prior.text.model.double()  # type: ignore[attr-defined]
    denoiser = prior.condition(PROMPTS)
    level = prior.schedule.at_timestep(500)
    z = z.double().requires_grad_()
    direction, cotangent = (keyed_noise(1, range(2), k, SHAPE, torch.float64) for k in (0, 1))
    (gradient,) = torch.autograd.grad((denoiser(z, level).eps * cotangent).sum(), z)
    h = 1e-5
    with torch.no_grad():
        ahead, behind = (denoiser(z + s * h * direction, level).eps for s in (1, -1))
        assert not denoiser(z, level).eps.requires_grad
    difference = ((ahead - behind) / (2 * h) * cotangent).sum()
    # central differences: an error of the order of h^2 and of the rounding over h
    torch.testing.assert_close((gradient * direction).sum(), difference, rtol=1e-6, atol=1e-6)
    # the prior it was made from stays without
    assert not epsilon_prior.condition(PROMPTS)(z, level).eps.requires_grad


def test_gradients_flow_through_encode(epsilon_prior: FrozenPrior) -> None:
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    epsilon_prior.encode(images).square().sum().backward()
    assert images.grad is not None
    assert bool((images.grad != 0).any())


def test_each_prompt_is_encoded_once(epsilon_prior: FrozenPrior, z: Tensor) -> None:
    calls: list[int] = []
    epsilon_prior.text.model.register_forward_hook(lambda *_: calls.append(1))
    level = epsilon_prior.schedule.at_timestep(500)
    for _ in range(2):
        epsilon_prior.guided(PROMPTS, 3.0)(z, level)
        epsilon_prior.condition([PROMPTS[1], PROMPTS[0]])(z, level)
        epsilon_prior.condition(None)(z, level)
    assert len(calls) == 3  # two prompts and the empty one
    epsilon_prior.to("cpu").condition(PROMPTS[0])
    assert len(calls) == 4


def test_items_do_not_depend_on_their_batch(prior: FrozenPrior, z: Tensor) -> None:
    level = prior.schedule.at_timestep(torch.tensor([17, 900]))
    together = prior.guided(PROMPTS, 3.0)(z, level).v
    for i in range(2):
        alone = prior.guided(PROMPTS[i], 3.0)(z[i : i + 1], level[i : i + 1]).v
        # rounding of float32 convolutions
        torch.testing.assert_close(alone, together[i : i + 1], rtol=1e-4, atol=1e-5)


def test_guided(prior: FrozenPrior, z: Tensor) -> None:
    level = prior.schedule.at_timestep(400)
    cond, uncond = prior.condition(PROMPTS)(z, level).v, prior.condition(None)(z, level).v
    negative = prior.condition("a chair")(z, level).v

    def close(actual: Tensor, expected: Tensor) -> None:
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)

    assert torch.equal(prior.guided(PROMPTS, 1.0)(z, level).v, cond)
    close(prior.guided(PROMPTS, 3.0)(z, level).v, uncond + 3 * (cond - uncond))
    close(prior.guided(PROMPTS)(z, level).v, uncond + 7.5 * (cond - uncond))
    guided = prior.guided(PROMPTS, Guidance(3.0, negative="a chair"))
    close(guided(z, level).v, negative + 3 * (cond - negative))


@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_samples_are_the_pipelines(
    pipeline: StableDiffusionPipeline, prior: FrozenPrior, scale: float
) -> None:
    """Its DDIM and ours are one map, in eps or in v, once both start from the same latents."""
    start = keyed_noise(3, range(2), 0, SHAPE)
    theirs = pipeline(
        PROMPTS,
        latents=start,
        num_inference_steps=10,
        guidance_scale=scale,
        output_type="latent",
    ).images
    config = {**pipeline.scheduler.config, "prediction_type": "v_prediction"}
    scheduler = DDIMScheduler.from_config(config)
    denoiser = prior.guided(PROMPTS, scale)
    ours = sample(denoiser, SHAPE, 2, scheduler=scheduler, steps=10, seed=3)
    # rounding of float32 over ten steps, divided by alpha = 0.07 in the first
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3 * theirs.abs().max().item())


def test_latent_shape_and_image_size(epsilon_prior: FrozenPrior) -> None:
    assert epsilon_prior.latent_shape == SHAPE
    assert epsilon_prior.image_size == 128
    images = torch.rand(1, 3, 128, 128)
    latents = epsilon_prior.encode(images)
    assert latents.shape == (1, *SHAPE)
    assert epsilon_prior.decode(latents).shape == images.shape


def test_every_setting_of_a_guidance_counts(epsilon_prior: FrozenPrior) -> None:
    """`guided` is what its denoisers make by hand, inside the interval and outside."""
    prior = epsilon_prior
    guidance = Guidance(3.0, "a chair", rescale=0.5, interval=(-2.0, 2.0))
    guided = prior.guided(PROMPTS, guidance)
    cond, uncond = prior.condition(PROMPTS), prior.condition("a chair")
    inside = ClassifierFreeGuidance(cond, uncond, 3.0, 0.5)
    for log_snr, expected in ((0.0, inside), (3.0, cond)):
        level = prior.schedule.at_log_snr(log_snr)
        z = keyed_noise(0, range(len(PROMPTS)), 0, prior.latent_shape)
        assert torch.equal(guided(z, level).v, expected(z, level).v)
    latents = prior.generate_latents(PROMPTS, guidance, steps=2, seed=1)
    drawn = sample(
        guided, prior.latent_shape, len(PROMPTS), steps=2, seed=1, scheduler=prior.scheduler
    )
    assert torch.equal(latents, drawn)


def test_a_guidance_takes_the_priors_scale_or_needs_one(epsilon_prior: FrozenPrior) -> None:
    assert Guidance.of(None, 7.5) == Guidance.of(Guidance(), 7.5) == Guidance(7.5)
    assert Guidance.of(2.0, 7.5) == Guidance(2.0)
    cond = epsilon_prior.condition("a chair")
    with pytest.raises(ValueError, match="without a scale"):
        Guidance().between(cond, cond)


def test_generate(epsilon_prior: FrozenPrior) -> None:
    prompts = ["a red cup", "a blue chair", "a green duck"]
    images = epsilon_prior.generate(prompts, guidance=2.0, steps=2, seed=1)
    assert images.shape == (3, 3, 128, 128)
    assert bool(((images >= 0) & (images <= 1)).all())
    assert not images.requires_grad
    assert torch.equal(images, epsilon_prior.generate(prompts, guidance=2.0, steps=2, seed=1))
    other = epsilon_prior.generate(prompts, guidance=2.0, steps=2, seed=2)
    assert not torch.allclose(images, other, atol=0.01)
    split = epsilon_prior.generate(prompts, guidance=2.0, steps=2, seed=1, batch_size=2)
    # rounding of float32, well under the eighth of a grey level
    torch.testing.assert_close(images, split, rtol=0, atol=5e-4)


def test_generate_takes_one_prompt(epsilon_prior: FrozenPrior) -> None:
    one = epsilon_prior.generate("a red cup", steps=1)
    assert one.shape == (1, 3, 128, 128)
    assert torch.equal(one, epsilon_prior.generate(["a red cup"], steps=1))
    with pytest.raises(ValueError, match="at least one"):
        epsilon_prior.generate([], steps=1)


def test_unknown_prediction_type(epsilon_prior: FrozenPrior) -> None:
    p = epsilon_prior
    with pytest.raises(ValueError, match=r"prediction_type must be one of epsilon, .*'eps'"):
        FrozenPrior("p", p.network, p.text, p.codec, p.schedule, "eps", shape=SHAPE)
    with pytest.raises(ValueError, match=r"shape must be \(4, side, side\).*got \(3, 16, 16\)"):
        FrozenPrior("p", p.network, p.text, p.codec, p.schedule, "epsilon", shape=(3, 16, 16))


def test_half_precision_stays_inside_the_network(epsilon_prior: FrozenPrior, z: Tensor) -> None:
    epsilon_prior.network.to(torch.bfloat16)
    epsilon_prior.text.model.to(torch.bfloat16)
    level = epsilon_prior.schedule.at_timestep(500)
    assert epsilon_prior.condition(PROMPTS)(z, level).eps.dtype == torch.float32
    assert epsilon_prior.condition(PROMPTS)(z.double(), level).eps.dtype == torch.float64


COLORS = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 1.0, 0.0]])


@pytest.fixture
def flags() -> ImagePrior:
    """Four plain 4x4 flags."""
    exemplars = COLORS[:, :, None, None].expand(4, 3, 4, 4).double()
    labels = ["red flag", "blue flag", "green flag", "yellow flag"]
    prior = EmpiricalPrior(2 * exemplars - 1, labels, DiscreteSchedule.cosine())
    return ImagePrior(prior, PixelCodec(), image_size=4)


def test_images_as_a_prior(flags: ImagePrior) -> None:
    assert flags.latent_shape == (3, 4, 4)
    x = flags.encode(COLORS[:, :, None, None].expand(4, 3, 4, 4).double())
    z = keyed_noise(0, range(2), 0, (3, 4, 4), torch.float64)
    level = flags.schedule.at_timestep(torch.tensor([300, 800]))
    alpha, sigma = level.like(z)
    distance = (z[:, None] - alpha[:, None] * x).square().flatten(2).sum(2)
    weights = torch.softmax(-distance / (2 * sigma.reshape(2, 1).square()), 1)
    mean = torch.einsum("bn,nchw->bchw", weights, x)
    torch.testing.assert_close(flags.condition()(z, level).x0, mean)
    assert torch.equal(flags.guided("flag")(z, level).x0, flags.condition("flag")(z, level).x0)


def test_images_generate_exemplars(flags: ImagePrior) -> None:
    images = flags.generate(["red", "blue", "flag"], steps=20, seed=0)
    expected = COLORS[:, :, None, None].expand(4, 3, 4, 4)
    # the last level before clean has sigma = 0.03, where the posterior is one exemplar
    torch.testing.assert_close(images[:2], expected[:2], rtol=0, atol=1e-3)
    distances = (images[2] - expected).abs().amax((1, 2, 3))
    assert float(distances.min()) < 1e-3


def test_clips_as_a_prior() -> None:
    clips = torch.zeros(2, 5, 3, 4, 4)
    clips[0, :, 0] = 1
    prior = ImagePrior(
        EmpiricalPrior(2 * clips - 1, ["red", "black"]), PixelCodec(), image_size=4, frames=5
    )
    assert prior.is_video and prior.latent_shape == (5, 3, 4, 4)
    videos = prior.generate(["red", "black"], steps=20)
    torch.testing.assert_close(videos, clips, rtol=0, atol=1e-3)
    with pytest.raises(ValueError, match=r"encodes videos \(b, frames, 3, h, w\)"):
        prior.encode(clips[0])


def test_sizes_that_the_codec_does_not_divide(epsilon_prior: FrozenPrior) -> None:
    with pytest.raises(ValueError, match=r"positive multiple of 8 pixels.* got 60"):
        ImagePrior(epsilon_prior, epsilon_prior.codec, image_size=60)
    with pytest.raises(ValueError, match=r"frames must be 1 \+ 1 n for this codec; got 0"):
        ImagePrior(epsilon_prior, epsilon_prior.codec, image_size=64, frames=0)
