"""The arms of the Video Adapter experiment: what is sampled, along which steps, at what cost."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from scorefield.priors.composition.pure_noise import FromPureNoise
from scorefield.priors.composition.video_adapter import (
    convex_video_adapter,
    guided_video_adapter,
    inverse_video_adapter,
    video_adapter,
)
from scorefield.priors.condition import Condition
from scorefield.priors.denoiser import Composition, ConditionedDenoiser, Denoiser
from scorefield.priors.energy.mcmc import ULA
from scorefield.priors.guidance.classifier_free import ClassifierFreeGuidance
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import noise_generator
from scorefield.priors.prediction import Prediction
from scorefield.priors.prior import ImagePrior
from scorefield.priors.steps import ddim_step, level_path

WINDOW = (-math.inf, 0.0)
"""Log-SNRs at which the windowed arm asks the prior: what moves where is settled there, and what is
left is style."""


@dataclass(frozen=True)
class Setting:
    """What is tuned.

    prior_strength: gamma of Algorithm 1; in the inverse arm, of the small model; in the convex arm,
        the small model's share; in the guided arm, beta.
    inverse_temperature: alpha of Algorithm 1; of one prior alone, its guidance scale; in the guided
        arm, 1 or 0 for the small model with or without the text.
    eta: 1 for DDPM's ancestral steps, 0 for DDIM's deterministic ones.
    """

    prior_strength: float
    inverse_temperature: float
    eta: float = 1.0


class Metered:
    """A prior that counts how many clips its network was asked about."""

    def __init__(self, inner: ImagePrior) -> None:
        source = inner.condition("")
        if not isinstance(source, ConditionedDenoiser):
            raise ValueError(f"{inner.name} cannot be asked row by row; give a prior of networks")
        self.inner = inner
        self.rows = 0
        self._source = source.prior

    def __getattr__(self, name: str) -> Any:
        # what composition checks: latent_shape, codec, text, name, schedule
        return getattr(self.inner, name)

    def condition(self, prompts: Sequence[str] | str | None) -> ConditionedDenoiser:
        """The denoiser under prompts."""
        conditioned = self.inner.condition(prompts)
        assert isinstance(conditioned, ConditionedDenoiser)
        return ConditionedDenoiser(self, conditioned.condition)

    def predict(self, z: Tensor, level: NoiseLevel, condition: Condition) -> Prediction:
        """The prior's prediction, counted."""
        self.rows += len(z)
        return self._source.predict(z, level, condition)


@dataclass(frozen=True)
class Experts:
    """The priors of the experiment.

    small: of one domain, two motions and two colours.
    prior: of the other domains, all motions and colours.
    finetuned: the prior, trained on with the clips of the small one.
    upper: of the small one's size, trained on all of its domain.
    """

    small: Metered
    prior: Metered
    finetuned: Metered
    upper: Metered

    @property
    def rows(self) -> int:
        """How many clips all networks together were asked about."""
        return self.small.rows + self.prior.rows + self.finetuned.rows + self.upper.rows


Build = Callable[[Experts, Sequence[str], Setting], Denoiser]


@dataclass(frozen=True)
class Arm:
    """One way to make clips.

    name: of its files.
    title: of its row in the tables.
    build: the denoiser of prompts at a setting.
    evaluations: network evaluations per clip and call of the denoiser.
    grid: the settings tried on the tuning prompts.
    same_as: instead of a grid, the arm whose chosen setting is taken over.
    eta: replaces that of the setting taken over.
    combines: whether the small model is combined with the prior, which the claim is about.
    corrector: run after each step at the level just reached.
    """

    name: str
    title: str
    build: Build
    evaluations: int
    grid: tuple[Setting, ...] = ()
    same_as: str | None = None
    eta: float | None = None
    combines: bool = False
    corrector: ULA | None = None

    def steps(self, budget: int) -> int:
        """Sampler steps that a budget of network evaluations per clip pays for."""
        calls = 1 if self.corrector is None else 1 + self.corrector.steps
        return max(1, budget // (self.evaluations * calls))


def _alone(which: str) -> Build:
    def build(experts: Experts, prompts: Sequence[str], setting: Setting) -> Denoiser:
        expert: Metered = getattr(experts, which)
        scale = setting.inverse_temperature
        return ClassifierFreeGuidance(expert.condition(prompts), expert.condition(""), scale)

    return build


def _literal(experts: Experts, prompts: Sequence[str], setting: Setting) -> Denoiser:
    """Algorithm 1; the first step, from pure noise, with weights that sum to one."""
    first, rest = (_adapted(experts, prompts, setting, normalize=n) for n in (True, False))
    return FromPureNoise(first, rest)


def _normalized(experts: Experts, prompts: Sequence[str], setting: Setting) -> Denoiser:
    return _adapted(experts, prompts, setting, normalize=True)


def _windowed(experts: Experts, prompts: Sequence[str], setting: Setting) -> Denoiser:
    return _adapted(experts, prompts, setting, normalize=True, window=WINDOW)


def _adapted(
    experts: Experts, prompts: Sequence[str], setting: Setting, **variant: Any
) -> Composition:
    return video_adapter(
        experts.small.condition(prompts),
        experts.small.condition(""),
        experts.prior.condition(prompts),
        setting.prior_strength,
        setting.inverse_temperature,
        **variant,
    )


def _inverse(experts: Experts, prompts: Sequence[str], setting: Setting) -> Denoiser:
    """The inverse adaptation; the first step as in `_literal`."""
    small = experts.small.condition(prompts)
    prior, uncond = experts.prior.condition(prompts), experts.prior.condition("")
    strength, temperature = setting.prior_strength, setting.inverse_temperature
    first, rest = (
        inverse_video_adapter(small, prior, uncond, strength, temperature, normalize=n)
        for n in (True, False)
    )
    return FromPureNoise(first, rest)


def _convex(experts: Experts, prompts: Sequence[str], setting: Setting) -> Denoiser:
    small, prior = experts.small.condition(prompts), experts.prior.condition(prompts)
    return convex_video_adapter(small, prior, setting.prior_strength)


def _guided(experts: Experts, prompts: Sequence[str], setting: Setting) -> Denoiser:
    """The small model with the text (inverse temperature 1) or without it (0)."""
    small = experts.small.condition(prompts if setting.inverse_temperature else "")
    prior, uncond = experts.prior.condition(prompts), experts.prior.condition("")
    return guided_video_adapter(small, prior, uncond, setting.prior_strength)


def _settings(
    strengths: Sequence[float], temperatures: Sequence[float], etas: Sequence[float] = (1.0,)
) -> tuple[Setting, ...]:
    return tuple(Setting(*setting) for setting in product(strengths, temperatures, etas))


_GUIDANCE = _settings((0.0,), (1.5, 2.5, 4.0), (1.0, 0.0))

ARMS = (
    Arm("small", "small model alone", _alone("small"), 2, _GUIDANCE),
    Arm("prior", "prior alone", _alone("prior"), 2, _GUIDANCE),
    Arm(
        "algorithm-1",
        "Algorithm 1, DDPM",
        _literal,
        3,
        _settings((0.1, 0.3, 1.0, 3.0), (1.5, 2.5, 4.0)),
        combines=True,
    ),
    Arm(
        "algorithm-1-ddim",
        "Algorithm 1, DDIM",
        _literal,
        3,
        same_as="algorithm-1",
        eta=0.0,
        combines=True,
    ),
    Arm(
        "algorithm-1-ula",
        "Algorithm 1, DDPM + ULA",
        _literal,
        3,
        same_as="algorithm-1",
        combines=True,
        corrector=ULA(1, 0.1),
    ),
    Arm(
        "normalized",
        "normalised, DDPM",
        _normalized,
        3,
        _settings((0.3, 1.0, 3.0), (1.5, 2.5, 4.0)),
        combines=True,
    ),
    Arm(
        "normalized-ddim",
        "normalised, DDIM",
        _normalized,
        3,
        same_as="normalized",
        eta=0.0,
        combines=True,
    ),
    Arm(
        "windowed",
        "normalised, prior only at high noise",
        _windowed,
        3,
        _settings((0.3, 1.0, 3.0), (1.5, 2.5)),
        combines=True,
    ),
    Arm(
        "convex",
        "convex (AVID)",
        _convex,
        2,
        _settings((0.2, 0.4, 0.6, 0.8), (1.0,)),
        combines=True,
    ),
    Arm(
        "inverse",
        "inverse",
        _inverse,
        3,
        _settings((0.1, 0.3, 1.0), (1.5, 2.5)),
        combines=True,
    ),
    Arm(
        "guided",
        "guidance by the prior, DDPM",
        _guided,
        3,
        _settings((2.5, 5.0, 10.0, 20.0), (0.0, 1.0)),
        combines=True,
    ),
    Arm(
        "guided-ddim",
        "guidance by the prior, DDIM",
        _guided,
        3,
        same_as="guided",
        eta=0.0,
        combines=True,
    ),
    Arm("finetuned", "prior fine-tuned on the clips", _alone("finetuned"), 2, _GUIDANCE),
    Arm("upper", "small model trained on all of its domain", _alone("upper"), 2, _GUIDANCE),
)
"""In the order of the table; an arm that takes over a setting comes after the one it is of."""


@torch.no_grad()
def draw(
    arm: Arm,
    experts: Experts,
    setting: Setting,
    prompts: Sequence[str],
    *,
    budget: int,
    seed: int,
    batch_size: int = 16,
    drawn: Callable[[int], object] = lambda count: None,
) -> UInt8[Tensor, "n frames 3 h w"]:
    """One clip per prompt, in bytes. Clip i depends on (seed, i), its prompt and the setting only.

    DDIM's and DDPM's steps (Song et al. 2021, equations 12 and 16) over equally spaced timesteps
    from pure noise.

    Args:
        arm: what to sample.
        experts: its models.
        setting: at which.
        prompts: one per clip.
        budget: network evaluations per clip, at most.
        seed: of the noise.
        batch_size: clips at once.
        drawn: called with the number of clips of every finished batch.
    """
    schedule, shape = experts.prior.schedule, tuple(experts.prior.latent_shape)
    path = level_path(schedule, arm.steps(budget))
    parts = []
    for first in range(0, len(prompts), batch_size):
        batch = prompts[first : first + batch_size]
        generators = [noise_generator(seed, first + i) for i in range(len(batch))]
        denoiser = arm.build(experts, batch, setting)
        z = normal(generators, shape)
        for here, there in pairwise(path):
            prediction = denoiser(z, here)
            noise = normal(generators, shape) if setting.eta and there is not path[-1] else None
            z = ddim_step(prediction, there, setting.eta if noise is not None else 0.0, noise)
            if arm.corrector is not None and there is not path[-1]:
                z, _ = arm.corrector(denoiser, z, there, generators)
        parts.append(to_bytes(experts.prior.decode(z)))
        drawn(len(batch))
    return torch.cat(parts)


def normal(generators: Sequence[torch.Generator], shape: Sequence[int]) -> Tensor:
    """Standard normal noise, a row per generator."""
    return torch.stack([torch.randn(*shape, generator=generator) for generator in generators])


def to_bytes(videos: Float[Tensor, "n frames 3 h w"]) -> UInt8[Tensor, "n frames 3 h w"]:
    """Videos in [0, 1], clamped, as bytes."""
    return (255 * videos.clamp(0, 1)).round().to(torch.uint8).cpu()
