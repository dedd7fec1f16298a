"""Continuous noise levels, and the many ways in which diffusers spaces those of a chain."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from scorefield.priors.checks.conformance import check_prior
from scorefield.priors.families import from_pipeline
from scorefield.priors.families.edm import EDMSchedule, read_preconditioned
from scorefield.priors.loading import load_prior
from scorefield.priors.noise import keyed_noise
from scorefield.priors.sampling import sample

Tiny = Callable[[str], Path]
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
STEPS = 5
SCHEDULE = EDMSchedule(0.002, 80.0, 0.5)

# diffusers converts tensors in a way numpy 2 means to drop
pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")


@given(s=st.floats(0.002, 80.0))
def test_the_names_of_a_level_are_inverted(s: float) -> None:
    level = SCHEDULE.at_log_snr(torch.tensor(-2 * math.log(s), dtype=torch.float64))
    assert float(level.sigma / level.alpha) == pytest.approx(s)
    # of data of that deviation, z has variance one
    assert float(level.alpha**2 * 0.25 + level.sigma**2) == pytest.approx(1)
    assert float(SCHEDULE.timestep(level)) == pytest.approx(math.log(s) / 4)
    for again in (
        SCHEDULE.at_timestep(SCHEDULE.timestep(level)),
        SCHEDULE.at_fraction(SCHEDULE.fraction(level).clamp(0, 1)),
    ):
        assert float(again.log_snr) == pytest.approx(float(level.log_snr), abs=1e-9)


def test_the_ends_survive_single_precision() -> None:
    for u, s in ((0.0, 0.002), (1.0, 80.0)):
        level = SCHEDULE.at_fraction(torch.tensor(u))
        assert float(SCHEDULE.at_timestep(SCHEDULE.timestep(level)).log_snr) == pytest.approx(
            -2 * math.log(s), abs=1e-5
        )
    with pytest.raises(ValueError, match="timestep must lie in"):
        SCHEDULE.at_timestep(2.0)
    with pytest.raises(ValueError, match="0 < sigma_min < sigma_max"):
        EDMSchedule(1.0, 1.0)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_the_network_is_read_as_diffusers_reads_it(kind: Any) -> None:
    scheduler = diffusers.EDMEulerScheduler(prediction_type=kind)
    x, eps, value = (keyed_noise(0, range(3), key, (2, 4, 4)).double() for key in range(3))
    for s in (0.002, 0.5, 80.0):
        level = SCHEDULE.at_log_snr(torch.tensor(-2 * math.log(s), dtype=torch.float64))
        z = level.add_noise(x, eps)
        torch.testing.assert_close(z, scheduler.precondition_inputs(x + s * eps, s))
        sign = 1.0 if kind == "epsilon" else -1.0
        found = read_preconditioned(z, level, value, 0.5, sign)
        clean = scheduler.precondition_outputs(x + s * eps, value, torch.tensor(s).double())
        torch.testing.assert_close(found.x0, clean, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(s * found.eps, x + s * eps - clean, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("EDMEulerScheduler", {}),
        # Playground 2.5
        ("EDMDPMSolverMultistepScheduler", {"solver_order": 2}),
        # CosXL
        (
            "EDMEulerScheduler",
            {"sigma_data": 1.0, "sigma_max": 120.0, "prediction_type": "v_prediction",
             "sigma_schedule": "exponential"},
        ),
        # Stable Video Diffusion
        (
            "EulerDiscreteScheduler",
            {**BETAS, "timestep_type": "continuous", "prediction_type": "v_prediction",
             "sigma_min": 0.002, "sigma_max": 700.0, "use_karras_sigmas": True},
        ),
    ],
)  # fmt: skip
def test_samples_are_the_pipelines(
    tiny: Tiny, tmp_path: Path, kind: str, options: dict[str, Any]
) -> None:
    pipeline = diffusers.StableDiffusionXLPipeline.from_pretrained(tiny("sdxl"))
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = getattr(diffusers, kind)(**options)
    pipeline.save_pretrained(tmp_path)
    prior = load_prior(tmp_path)
    ours = sample(
        prior.guided("a red cup", 5.0),
        prior.latent_shape,
        scheduler=prior.scheduler,
        steps=STEPS,
        seed=3,
    )
    _same(ours, _theirs(pipeline, 5.0))


@pytest.mark.filterwarnings("ignore:the predictions of .* do not fit")  # untrained
def test_a_prior_of_continuous_levels_keeps_the_laws(tiny: Tiny) -> None:
    pipeline = diffusers.StableDiffusionXLPipeline.from_pretrained(tiny("sdxl"))
    pipeline.scheduler = diffusers.EDMEulerScheduler()
    prior = from_pipeline(pipeline)
    assert {"decode", "samples"} <= set(check_prior(prior, ["a red cup", "a bed"]))
    for name in ("EDMDPMSolverMultistepScheduler", "EulerDiscreteScheduler"):
        made = prior.schedule.scheduler(getattr(diffusers, name))
        assert bool(sample(prior.condition("a"), prior.latent_shape, scheduler=made, steps=3).any())
    with pytest.raises(ValueError, match="DDIMScheduler cannot follow a schedule of continuous"):
        prior.schedule.scheduler(diffusers.DDIMScheduler)


SPACINGS: list[tuple[str, dict[str, Any]]] = [
    ("EulerDiscreteScheduler", {"use_karras_sigmas": True}),
    ("EulerDiscreteScheduler", {"use_exponential_sigmas": True}),
    ("EulerDiscreteScheduler", {"use_beta_sigmas": True}),
    ("EulerDiscreteScheduler", {"timestep_spacing": "linspace"}),
    ("EulerDiscreteScheduler", {"timestep_spacing": "leading", "steps_offset": 1}),
    ("HeunDiscreteScheduler", {"use_karras_sigmas": True}),
    ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    ("DPMSolverMultistepScheduler", {"use_lu_lambdas": True}),
    ("DPMSolverMultistepScheduler", {"use_exponential_sigmas": True}),
    ("UniPCMultistepScheduler", {"use_beta_sigmas": True}),
    ("DDIMScheduler", {"timestep_spacing": "linspace", "clip_sample": False}),
    (
        "DDIMScheduler",
        {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "clip_sample": False,
         "prediction_type": "v_prediction"},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "options"), SPACINGS)
def test_every_spacing_of_a_chain_is_walked_as_in_diffusers(
    tiny: Tiny, kind: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(tiny("sd"))
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = scheduler = getattr(diffusers, kind)(**BETAS, **options)
    prior = from_pipeline(pipeline)
    walked = type(scheduler).from_config(scheduler.config, prediction_type="v_prediction")
    ours = sample(
        prior.guided("a red cup", 3.0), prior.latent_shape, scheduler=walked, steps=STEPS, seed=3
    )
    if kind in ("DPMSolverMultistepScheduler", "UniPCMultistepScheduler"):
        _unround(scheduler, monkeypatch)
    _same(ours, _theirs(pipeline, 3.0))


def _unround(scheduler: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The multistep classes step by their sigmas and tell the network a rounded timestep."""
    chain = 0.5 * ((1 - scheduler.alphas_cumprod) / scheduler.alphas_cumprod).log().numpy()
    set_timesteps = scheduler.set_timesteps

    def exactly(*args: Any, **kwargs: Any) -> None:
        set_timesteps(*args, **kwargs)
        log_sigmas = scheduler.sigmas[:-1].log().numpy()
        exact = np.interp(log_sigmas, chain, np.arange(len(chain)))
        scheduler.timesteps = torch.from_numpy(exact)

    monkeypatch.setattr(scheduler, "set_timesteps", exactly)


def _theirs(pipeline: Any, scale: float) -> Tensor:
    start = keyed_noise(3, range(1), 0, (4, 8, 8))
    found: Tensor = pipeline(
        "a red cup",
        latents=start,
        num_inference_steps=STEPS,
        guidance_scale=scale,
        output_type="latent",
    ).images
    return found


def _same(ours: Tensor, theirs: Tensor) -> None:
    assert float(theirs.std()) > 0.1
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3 * float(theirs.abs().max()))
