"""What a pipeline's scheduler says of its network: the levels of its timesteps, and no more.

Only the keys of a config that change what the network was trained on are read; those that steer
diffusers' own sampling are left alone. A class or key that is neither is refused: taken for
something it is not, it would give wrong images without a word.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from scorefield.priors.families.edm import EDMSchedule, read_preconditioned
from scorefield.priors.frozen_prior import Reader
from scorefield.priors.schedule import DiscreteSchedule, FlowSchedule, NoiseSchedule

_OWN_TABLE = ("CogVideoXDDIMScheduler", "CogVideoXDPMScheduler")  # they shift its log-SNR

_CHAINS = (
    *_OWN_TABLE,
    "DDIMScheduler",
    "DDIMParallelScheduler",
    "DDIMInverseScheduler",
    "DDPMScheduler",
    "DDPMParallelScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverMultistepInverseScheduler",
    "DPMSolverSDEScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LCMScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "SASolverScheduler",
    "TCDScheduler",
    "UniPCMultistepScheduler",
)
_FLOWS = (
    "FlowMatchEulerDiscreteScheduler",
    "FlowMatchHeunDiscreteScheduler",
    "FlowMatchLCMScheduler",
)

_CONTINUOUS = ("EDMDPMSolverMultistepScheduler", "EDMEulerScheduler")

# The betas of these are read as DDPM's are; others by name, as the "exp" of Heun, are not its.
_BETAS = ("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace")

# Keys that are read, and the values of those of which only some are understood.
_READ = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "rescale_betas_zero_snr",
    "snr_shift_scale",
    "prediction_type",
    "use_flow_sigmas",
    "flow_shift",
    "shift",
    "shift_terminal",
    "use_dynamic_shifting",
    "time_shift_type",
    "base_shift",
    "max_shift",
    "base_image_seq_len",
    "max_image_seq_len",
    "sigma_min",
    "sigma_max",
    "sigma_data",
)
_ONLY: Mapping[str, tuple[Any, ...]] = {
    "timestep_type": ("discrete", "continuous"),
    "invert_sigmas": (False,),
    "predict_epsilon": (True,),  # of old folders, before prediction_type
}

# Keys of the sampling in diffusers, which is not ours; those of all classes, for a folder keeps
# the keys of the class that it had before.
_SAMPLING = (
    "algorithm_type",
    "clip_sample",
    "clip_sample_range",
    "disable_corrector",
    "dynamic_thresholding_ratio",
    "euler_at_final",
    "final_sigmas_type",
    "interpolation_type",
    "lambda_min_clipped",
    "corrector_order",
    "lower_order_final",
    "noise_sampler_seed",
    "original_inference_steps",
    "predict_x0",
    "predictor_order",
    "rho",
    "sample_max_value",
    "scale_factors",
    "set_alpha_to_one",
    "sigma_schedule",
    "skip_prk_steps",
    "solver_order",
    "solver_p",
    "solver_type",
    "steps_offset",
    "stochastic_sampling",
    "tau_func",
    "tensor_format",
    "thresholding",
    "timestep_scaling",
    "timestep_spacing",
    "timestep_values",
    "upscale_mode",
    "use_beta_sigmas",
    "use_exponential_sigmas",
    "use_karras_sigmas",
    "use_lu_lambdas",
    "variance_type",
)


# Luo et al. 2023, "Latent consistency models": samples of 2 to 4 steps, diffusers' default.
_STEPS_OF_LCM = 4


@dataclass(frozen=True)
class Path:
    """What a scheduler says of a network.

    schedule: the levels of its timesteps.
    prediction_type: what it puts out, in diffusers' words, or what reads it.
    scheduler: to sample along; None is the default of `sample`.
    few_steps: in how many a network is sampled that was distilled to need no guidance; None is any
        other network.
    """

    schedule: NoiseSchedule
    prediction_type: str | Reader
    scheduler: Any = None
    few_steps: int | None = None


def levels_of_class(name: str) -> str:
    """What kind of noise levels a class of schedulers has; its own name where it is not known."""
    kinds = {"a table of its own": _OWN_TABLE, "a chain": _CHAINS, "a flow": _FLOWS}
    kinds |= {"EDM's": _CONTINUOUS}
    return next((kind for kind, names in kinds.items() if name in names), name)


def path_of(scheduler: Any, tokens: int | None = None) -> Path:
    """The path of a diffusers scheduler: a discrete chain, EDM's noise levels, or a rectified flow.

    tokens: of the network at the size that is made, on which a dynamic shift depends.

    Raises:
        ValueError: a class or a key of its config that is neither understood nor known not to
            matter.
    """
    kind, config = type(scheduler).__name__, scheduler.config
    _check_keys(kind, config)
    if kind in _FLOWS or config.get("use_flow_sigmas"):
        default = "flow_prediction"
        schedule = FlowSchedule(
            config.get("num_train_timesteps", 1000),
            _shift(config, tokens),
            config.get("shift_terminal"),
        )
        predicted = default if kind in _FLOWS else config.get("prediction_type", default)
        few = _STEPS_OF_LCM if kind == "FlowMatchLCMScheduler" else None
        return Path(schedule, predicted, schedule.scheduler(), few)
    if kind in _CONTINUOUS or config.get("timestep_type") == "continuous":
        return _continuous(scheduler)
    if kind not in _CHAINS:
        raise ValueError(
            f"the scheduler is a {kind}, which is no chain, flow or EDM whose levels are "
            "known; give the scheduler config that the network was trained with, of a class such "
            "as DDPMScheduler or FlowMatchEulerDiscreteScheduler"
        )
    few = _few_steps(kind, config)
    if few is None:
        return Path(*_chain(scheduler))
    # these networks are made for the steps of their own scheduler, its spacing and its noise
    own = type(scheduler).from_config(
        config, prediction_type="v_prediction", clip_sample=False, thresholding=False
    )
    return Path(*_chain(scheduler), own, few)


def clipped(path: Path, scheduler: Any) -> Any:
    """To sample a prior of pixels along its path; clean samples are clipped as its config says.

    The chains of Ho et al. 2020 clip to [-1, 1] (`clip_sample`), those of Saharia et al. 2022 to a
    quantile (`thresholding`); a step then leads along the clipped sample. None, the default of
    `sample`, where neither is asked for.

    Raises:
        ValueError: samples are clipped to another range than [-1, 1], which is that of pixels.
    """
    config, schedule = scheduler.config, path.schedule
    if path.scheduler is not None or not isinstance(schedule, DiscreteSchedule):
        return path.scheduler
    if config.get("thresholding"):
        quantile = config.get("dynamic_thresholding_ratio", 0.995)
        most = config.get("sample_max_value", 1.0)
    elif config.get("clip_sample"):
        if (reach := config.get("clip_sample_range", 1.0)) != 1.0:
            raise ValueError(
                f"the scheduler has clip_sample_range = {reach}; pixels are in [-1, 1]: give 1.0, "
                "or clip_sample = false"
            )
        quantile = most = 1.0
    else:
        return None
    from diffusers import DPMSolverMultistepScheduler

    return schedule.scheduler(
        DPMSolverMultistepScheduler,
        solver_order=1,  # DDIM (Lu et al. 2022, section 4.1)
        thresholding=True,
        dynamic_thresholding_ratio=quantile,
        sample_max_value=most,
    )


def flow_of(scheduler: Any, tokens: int | None = None) -> tuple[FlowSchedule, Any]:
    """The schedule of a rectified flow, and a scheduler to sample along it.

    Raises:
        ValueError: the scheduler is of no flow.
    """
    path = path_of(scheduler, tokens)
    if not isinstance(path.schedule, FlowSchedule) or path.prediction_type != "flow_prediction":
        raise ValueError(
            f"the scheduler is a {type(scheduler).__name__} of {path.prediction_type!r} and the "
            "network that of a flow; give a FlowMatchEulerDiscreteScheduler, or "
            "use_flow_sigmas=true with prediction_type 'flow_prediction'"
        )
    return path.schedule, path.scheduler


def _check_keys(kind: str, config: Mapping[str, Any]) -> None:
    if kind not in _CHAINS + _FLOWS + _CONTINUOUS:
        return  # refused by its class, or it has flow sigmas
    for key, value in config.items():
        if key.startswith("_") or key in _READ + _SAMPLING or value in (None, False):
            known = key not in _ONLY or value in (None, *_ONLY[key])
        else:
            known = value in _ONLY.get(key, ())
        if not known:
            raise ValueError(
                f"the {kind} has {key} = {value!r}, which is not understood and may change what "
                "the network was trained on; give a scheduler config without it"
            )
    shift = config.get("snr_shift_scale") or 1.0
    if shift != 1.0 and kind not in _OWN_TABLE:
        raise ValueError(
            f"the {kind} has snr_shift_scale = {shift}, which only {' and '.join(_OWN_TABLE)} "
            "follow; give the scheduler config that the network was trained with"
        )
    betas = config.get("beta_schedule")
    if betas not in (None, *_BETAS) and config.get("trained_betas") is None:
        raise ValueError(
            f"the {kind} has beta_schedule = {betas!r}; understood are {', '.join(_BETAS)}, and "
            "trained_betas for any other"
        )


def _chain(scheduler: Any) -> tuple[DiscreteSchedule, str]:
    """All is in its config, whatever the class.

    Nothing else is used: `add_noise` of some classes works in amplitudes of their own
    (EulerDiscrete's leaves x0 unscaled).
    """
    from diffusers import DDPMScheduler

    own = type(scheduler).__name__ in _OWN_TABLE
    chain = (type(scheduler) if own else DDPMScheduler).from_config(scheduler.config)
    return DiscreteSchedule(chain.alphas_cumprod), chain.config.prediction_type


def _continuous(scheduler: Any) -> Path:
    """The noise levels of EDM; sampled as its folder says, in the spacing that it was made for."""
    config, kind = scheduler.config, type(scheduler).__name__
    least, most = config.get("sigma_min"), config.get("sigma_max")
    # diffusers has the third case in EulerDiscrete alone, where the data have deviation one
    predicted = config.get("prediction_type")
    edm = kind in _CONTINUOUS
    if predicted not in ("epsilon", "v_prediction")[0 if edm else 1 :] or None in (least, most):
        raise ValueError(
            f"the {kind} of continuous timesteps has prediction_type {predicted!r} and sigmas from "
            f"{least} to {most}; understood is 'v_prediction'{', epsilon' if edm else ''} with "
            "sigma_min and sigma_max"
        )
    spread = config.get("sigma_data", 1.0) if edm else 1.0
    sign = 1.0 if predicted == "epsilon" else -1.0
    reader = partial(read_preconditioned, sigma_data=spread, sign=sign)
    # what sigma_data does to the states cancels; with 1 the sampler takes v
    sampler = type(scheduler).from_config(config, prediction_type="v_prediction", **(
        {"sigma_data": 1.0} if edm else {}
    ))  # fmt: skip
    return Path(EDMSchedule(least, most, spread), reader, sampler)


def _shift(config: Mapping[str, Any], tokens: int | None) -> float:
    """By which sampling spends more of its steps at high noise.

    A dynamic one grows with the number of tokens: mu is linear in it, the shift exp(mu) or mu.
    """
    if config.get("use_dynamic_shifting") and tokens is not None:
        low, high = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
        least, most = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
        mu = least + (most - least) * (tokens - low) / (high - low)
        return float(mu) if config.get("time_shift_type") == "linear" else math.exp(mu)
    # UniPC and its like call it flow_shift
    return float(config.get("shift") or config.get("flow_shift") or 1.0)


def _few_steps(kind: str, config: Mapping[str, Any]) -> int | None:
    """As the folders of LCM, TCD and of the turbo models are published, and sampled there.

    The turbo models take ancestral steps from the last timestep down, which no other published
    model does (model cards of stabilityai/sd-turbo and sdxl-turbo: one step, no guidance).
    """
    if kind in ("LCMScheduler", "TCDScheduler"):
        return _STEPS_OF_LCM
    turbo = kind == "EulerAncestralDiscreteScheduler"
    return 1 if turbo and config.get("timestep_spacing") == "trailing" else None
