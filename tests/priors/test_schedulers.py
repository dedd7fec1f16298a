"""Schedulers of other people's folders: their levels are used, or they are refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from tiny_models import SIZES

from scorefield.priors.codec import LatentCodec
from scorefield.priors.composition.compose import compose
from scorefield.priors.families import from_pipeline
from scorefield.priors.families.schedules import path_of
from scorefield.priors.loading import PriorError, load_prior
from scorefield.priors.sampling import sample
from scorefield.priors.schedule import DiscreteSchedule, FlowSchedule

Tiny = Callable[[str], Path]
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}

# diffusers converts tensors in a way numpy 2 means to drop
pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("EDMDPMSolverMultistepScheduler", {"prediction_type": "sample"}, "prediction_type 'sample'"),
    ("CMStochasticIterativeScheduler", {}, "is a CMStochasticIterativeScheduler"),
    ("IPNDMScheduler", {}, "is a IPNDMScheduler"),
    ("KarrasVeScheduler", {}, "is a KarrasVeScheduler"),
    ("ScoreSdeVeScheduler", {}, "is a ScoreSdeVeScheduler"),
    ("EulerDiscreteScheduler", {"timestep_type": "continuous"}, "prediction_type 'epsilon' and"),
    ("HeunDiscreteScheduler", {"beta_schedule": "exp"}, "has beta_schedule = 'exp'"),
    ("FlowMatchEulerDiscreteScheduler", {"invert_sigmas": True}, "has invert_sigmas = True"),
    ("DDPMScheduler", {"warp": 2.0}, "DDPMScheduler has warp = 2.0"),
]


@pytest.mark.parametrize(("kind", "options", "why"), REFUSED)
def test_what_is_no_known_path_is_refused(kind: str, options: dict[str, Any], why: str) -> None:
    scheduler = getattr(diffusers, kind).from_config({"sigma_max": 80.0, **options})
    with pytest.raises(ValueError, match=why):
        path_of(scheduler)


@pytest.mark.parametrize(
    "kind",
    [
        "DDIMScheduler",
        "DDPMScheduler",
        "DEISMultistepScheduler",
        "DPMSolverMultistepScheduler",
        "DPMSolverSinglestepScheduler",
        "EulerAncestralDiscreteScheduler",
        "EulerDiscreteScheduler",
        "HeunDiscreteScheduler",
        "KDPM2DiscreteScheduler",
        "LCMScheduler",
        "LMSDiscreteScheduler",
        "PNDMScheduler",
        "TCDScheduler",
        "UniPCMultistepScheduler",
    ],
)
def test_chains_have_the_alphas_of_their_config(kind: str) -> None:
    scheduler = getattr(diffusers, kind).from_config(
        # what the folder kept of the class that it had before
        {**diffusers.EulerDiscreteScheduler(**BETAS).config, "skip_prk_steps": True}
    )
    path = path_of(scheduler)
    assert isinstance(path.schedule, DiscreteSchedule)
    torch.testing.assert_close(
        path.schedule.alphas_cumprod, scheduler.alphas_cumprod.double(), rtol=1e-6, atol=0
    )


@pytest.mark.parametrize("zero_snr", [False, True])
def test_a_shifted_chain_has_its_own_alphas(zero_snr: bool) -> None:
    scheduler = diffusers.CogVideoXDDIMScheduler(
        snr_shift_scale=3.0, rescale_betas_zero_snr=zero_snr
    )
    schedule = path_of(scheduler).schedule
    assert isinstance(schedule, DiscreteSchedule)
    torch.testing.assert_close(schedule.alphas_cumprod, scheduler.alphas_cumprod.double())
    plain = path_of(diffusers.DDIMScheduler(beta_end=0.012, beta_schedule="scaled_linear")).schedule
    assert isinstance(plain, DiscreteSchedule)
    assert float(schedule.alphas_cumprod[500]) < float(plain.alphas_cumprod[500])


@pytest.mark.parametrize(
    "kind", ["DPMSolverMultistepScheduler", "UniPCMultistepScheduler", "DEISMultistepScheduler"]
)
def test_flow_sigmas_are_a_flow(kind: str) -> None:
    scheduler = getattr(diffusers, kind)(
        use_flow_sigmas=True, flow_shift=3.0, prediction_type="flow_prediction"
    )
    path = path_of(scheduler)
    assert isinstance(path.schedule, FlowSchedule)
    assert (path.prediction_type, path.schedule.shift) == ("flow_prediction", 3.0)


def test_a_unet_of_a_flow_samples_as_its_pipeline(tiny: Tiny) -> None:
    """Stable Diffusion with the scheduler of a flow, which was read as a chain of DDPM."""
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(tiny("sd"))
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = diffusers.DPMSolverMultistepScheduler(
        solver_order=1, use_flow_sigmas=True, flow_shift=2.0, prediction_type="flow_prediction"
    )
    prior = from_pipeline(pipeline)
    z = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    options: dict[str, Any] = {"guidance_scale": 1.0, "output_type": "latent"}
    theirs = pipeline("a red cup", latents=z, num_inference_steps=4, **options).images
    scheduler = pipeline.scheduler
    for t, here, there in zip(
        scheduler.timesteps, scheduler.sigmas, scheduler.sigmas[1:], strict=False
    ):
        velocity = prior.condition("a red cup")(z, prior.schedule.at_timestep(t)).velocity
        z = z + (there - here) * velocity  # of first order it is Euler's step
    torch.testing.assert_close(z, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "expected"), [("sd3", [1000, 900, 750, 500]), ("wan", [1000, 900, 750, 500])]
)
def test_the_shift_is_followed_without_the_priors_scheduler(
    tiny: Tiny, name: str, expected: list[float]
) -> None:
    prior = load_prior(tiny(name), **SIZES.get(name, {}))
    alone = prior.guided("a", 2.0)
    denoisers = [alone, compose([(prior.condition("a"), 0.5), (prior.condition("b"), 0.5)])]
    for denoiser in denoisers:
        seen: list[float] = []
        sample(
            denoiser,
            prior.latent_shape,
            steps=4,
            callback=lambda _, __, p, s=seen: s.append(float(prior.schedule.timestep(p.level))),
        )
        assert seen == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["UniPCMultistepScheduler", "FlowMatchEulerDiscreteScheduler"])
def test_schedulers_made_of_a_shifted_flow_have_its_shift(kind: str) -> None:
    made = FlowSchedule(shift=3.0).scheduler(getattr(diffusers, kind))
    assert made.config.get("shift", made.config.get("flow_shift")) == 3.0
    with pytest.raises(ValueError, match="shift must be positive"):
        FlowSchedule(shift=0.0)


def test_a_flow_network_with_a_chain_is_refused(tiny: Tiny) -> None:
    pipeline = diffusers.StableDiffusion3Pipeline.from_pretrained(tiny("sd3"))
    pipeline.scheduler = diffusers.DDIMScheduler()
    with pytest.raises(ValueError, match="is a DDIMScheduler of 'epsilon' and the network that of"):
        from_pipeline(pipeline)


def test_a_folder_is_refused_for_its_scheduler(tiny: Tiny, tmp_path: Path) -> None:
    pipeline = diffusers.StableDiffusionXLPipeline.from_pretrained(tiny("sdxl"))
    pipeline.scheduler = diffusers.IPNDMScheduler()
    pipeline.save_pretrained(tmp_path)
    with pytest.raises(PriorError, match="IPNDMScheduler, which is no chain, flow or EDM"):
        load_prior(tmp_path)


def test_standardised_latents(tiny: Tiny) -> None:
    """The mean and deviation per channel that Playground 2.5 gives, as diffusers uses them."""
    vae = diffusers.AutoencoderKL.from_pretrained(tiny("sdxl") / "vae")
    mean, std = [-1.6, 1.1, 0.3, -0.2], [8.4, 6.0, 7.3, 5.2]
    vae.register_to_config(latents_mean=mean, latents_std=std, scaling_factor=0.5)
    codec = LatentCodec(vae)
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    m, s = (torch.tensor(v).reshape(1, 4, 1, 1) for v in (mean, std))
    with torch.no_grad():
        found = vae.encode(2 * images - 1).latent_dist
        latents, spread = codec.posterior(images)
        torch.testing.assert_close(latents, (found.mean - m) * 0.5 / s)
        torch.testing.assert_close(spread, found.std * 0.5 / s)
        decoded = vae.decode(latents * s / 0.5 + m).sample / 2 + 0.5
        torch.testing.assert_close(codec.decode_unclamped(latents), decoded)
    vae.register_to_config(latents_mean=mean[:3])
    with pytest.raises(ValueError, match="latents_mean must have 4 values; it has 3"):
        LatentCodec(vae)


@pytest.mark.parametrize(
    ("kind", "options", "few"),
    [
        ("EulerAncestralDiscreteScheduler", {"timestep_spacing": "trailing"}, True),
        ("EulerAncestralDiscreteScheduler", {}, False),
        ("EulerDiscreteScheduler", {"timestep_spacing": "trailing"}, False),
        ("LCMScheduler", {}, True),
    ],
)
def test_few_step_folders_are_known_by_their_scheduler(
    tiny: Tiny, tmp_path: Path, kind: str, options: dict[str, Any], few: bool
) -> None:
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(tiny("sd"))
    pipeline.scheduler = getattr(diffusers, kind)(**BETAS, **options)
    pipeline.save_pretrained(tmp_path)
    assert load_prior(tmp_path).guidance_scale == (1.0 if few else 7.5)
    (tmp_path / "scorefield.json").write_text(json.dumps({"guidance_scale": 3.0}))
    assert load_prior(tmp_path).guidance_scale == 3.0
