"""Video Adapter: a small model of a domain, and a large prior that lends it breadth.

Algorithm 1 of Yang et al. 2023, "Probabilistic adaptation of text-to-video models", what others
made of it, and a guidance by the prior, as compositions: weights on the scores of the two, with and
without the text. Neither network is changed or differentiated, and the two may have different noise
schedules.
"""

import math

from scorefield.priors.denoiser import Composition, Denoiser, combine
from scorefield.priors.expert_weights import Weight, Window, plus, reciprocal, times

Range = tuple[float | int, float | int]


def video_adapter(
    small: Denoiser,
    small_uncond: Denoiser,
    prior: Denoiser,
    prior_strength: float | int,
    inverse_temperature: float | int,
    *,
    normalize: bool = False,
    window: Range | None = None,
) -> Composition:
    """Algorithm 1: the small model and the prior under one guidance, away from the small model.

    With gamma = ``prior_strength`` and a = ``inverse_temperature``,

        eps_text = eps_small(z | text) + gamma eps_prior(z | text)
        eps      = eps_small(z) + a (eps_text - eps_small(z)).

    The weights (a, a gamma, 1 - a) sum to 1 + a gamma, not to one: sampled without noise (DDIM) the
    samples collapse as gamma grows, with noise (DDPM) much less so. ``normalize`` divides eps_text
    by 1 + gamma, and they sum to one.

    Args:
        small: the small model under the text.
        small_uncond: the small model without text.
        prior: the prior under the text.
        prior_strength: gamma >= 0; 0 is the small model alone, under guidance of scale a.
        inverse_temperature: a; 1 is unguided.
        normalize: False is the algorithm as printed.
        window: (low, high): the prior counts where low <= log-SNR < high only, and is not evaluated
            elsewhere; e.g. (-inf, 0) for the noisy part of the way.

    Raises:
        ValueError: a number that is not finite, gamma < 0, or experts that do not combine.
    """
    _check_finite(inverse_temperature=inverse_temperature, prior_strength=prior_strength)
    if prior_strength < 0:
        raise ValueError(f"prior_strength must be >= 0, got {prior_strength}")
    gamma = _within(window, prior_strength)
    text = times(inverse_temperature, reciprocal(plus(1.0, gamma)) if normalize else 1.0)
    return combine(
        [
            (small, text),
            (prior, times(gamma, text)),
            (small_uncond, 1 - inverse_temperature),
        ]
    )


def inverse_video_adapter(
    small: Denoiser,
    prior: Denoiser,
    prior_uncond: Denoiser,
    small_strength: float | int,
    inverse_temperature: float | int,
    *,
    normalize: bool = False,
    window: Range | None = None,
) -> Composition:
    """`video_adapter` with the roles exchanged: the prior leads, away from the prior without text.

    The inverse adaptation of Luo et al. 2024, "Solving new tasks by adapting internet video
    knowledge".

    Args:
        small: the small model under the text.
        prior: the prior under the text.
        prior_uncond: the prior without text.
        small_strength: gamma, now of the small model.
        inverse_temperature: a.
        normalize: whether eps_text is divided by 1 + gamma.
        window: (low, high): the log-SNRs at which the small model counts.

    Raises:
        ValueError: as `video_adapter`.
    """
    return video_adapter(
        prior,
        prior_uncond,
        small,
        small_strength,
        inverse_temperature,
        normalize=normalize,
        window=window,
    )


def convex_video_adapter(
    small: Denoiser,
    prior: Denoiser,
    small_weight: float | int,
    *,
    window: Range | None = None,
) -> Composition:
    """eps = (1 - w) eps_prior + w eps_small: the mix that AVID compares itself to.

    Rigter et al. 2024, "AVID: adapting video diffusion models to world models". Both under the
    text, or each under a guidance of its own; `video_adapter` normalised at a = 1 is the same with
    w = 1 / (1 + gamma).

    Args:
        small: the small model.
        prior: the prior.
        small_weight: w in [0, 1].
        window: (low, high): where the small model counts; elsewhere the prior is alone, as theirs
            is in the last, cleanest steps.

    Raises:
        ValueError: w outside [0, 1], or experts that do not combine.
    """
    if not 0 <= small_weight <= 1:
        raise ValueError(f"small_weight must lie in [0, 1], got {small_weight}")
    weight = _within(window, small_weight)
    return combine([(small, weight), (prior, plus(1.0, times(-1.0, weight)))])


def guided_video_adapter(
    small: Denoiser,
    prior: Denoiser,
    prior_uncond: Denoiser,
    prior_strength: float | int,
) -> Composition:
    """eps = eps_small + beta (eps_prior(z | text) - eps_prior(z)): the prior as a classifier.

    p_prior(z | text) / p_prior(z) is p_prior(text | z) up to a factor: the prior says how well a
    video fits the text, and what videos look like is left to the small model. The weights
    (1, beta, -beta) sum to one. Not in the papers; it is classifier-free guidance (Ho and Salimans
    2022) of one model by another.

    Args:
        small: the small model, with or without the text.
        prior: the prior under the text.
        prior_uncond: the prior without text.
        prior_strength: beta; 0 is the small model alone.

    Raises:
        ValueError: a number that is not finite, or experts that do not combine.
    """
    _check_finite(prior_strength=prior_strength)
    return combine([(small, 1.0), (prior, prior_strength), (prior_uncond, -prior_strength)])


def _within(window: Range | None, weight: float | int) -> Weight:
    return weight if window is None else Window(*window, weight=weight)


def _check_finite(**numbers: float | int) -> None:
    for name, number in numbers.items():
        if not math.isfinite(number):
            raise ValueError(f"{name} must be a finite number, got {number}")
