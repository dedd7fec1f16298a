"""Several denoisers asked about one point: at equal log-SNR, in one space, in as few passes.

Levels of different schedules hold the same information about x where their log-SNR is equal; there
z differs by a factor c alone, the ratio of the amplitudes. eps and x0 do not change with it.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.priors.condition import Condition, Conditioned, sharing_layers
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.prediction import Prediction
from scorefield.priors.schedule import LOG_SNR_ROUNDING, NoiseSchedule

# Where weights and ranges are tried out before anything is sampled.
_TRIED = 33

# Entries of a codec's configuration that say how it is run, not what its latents mean.
_NOT_OF_THE_SPACE = {"sample_size", "force_upcast"}

LevelsAsked = Callable[[Float[Tensor, " levels"]], Float[Tensor, "experts levels"]]
"""From log-SNRs to non-zero entries where an expert is asked."""


@runtime_checkable
class Expert(Protocol):
    """What can be asked: every denoiser."""

    schedule: NoiseSchedule

    def __call__(self, z: Tensor, level: NoiseLevel) -> Prediction:
        """The prediction at z."""
        ...


def check_is_denoiser(given: object) -> None:
    """Refuse what is no denoiser, such as a prior before it is conditioned.

    Raises:
        ValueError: it is none; what makes one is named.
    """
    if not isinstance(given, Expert):
        shown = repr(given) if isinstance(given, str) else type(given).__name__
        raise ValueError(
            "a denoiser is a prior under a prompt: prior.condition('a table'), or guided, "
            f"prior.guided('a table', 3.0); got {shown}"
        )


def predict_together(
    denoisers: Sequence[Expert], z: Float[Tensor, "batch *shape"], level: NoiseLevel
) -> list[Prediction]:
    """The predictions of several denoisers at the same point, in their order.

    Conditioned denoisers of one prior share a forward pass, their conditions concatenated on the
    batch; all others are called in turn, so that unequal networks are never in flight together.
    """
    level = level.expand(len(z))
    predictions: dict[int, Prediction] = {}
    for i, denoiser in enumerate(denoisers):
        if i in predictions:
            continue
        peers = _sharing_a_pass(denoiser, denoisers[i:])
        if len(peers) < 2:
            predictions[i] = denoiser(z, level)
            continue
        n = len(peers)
        condition = Condition.cat([peer.condition.expand(len(z)) for peer in peers.values()])
        joint = NoiseLevel(level.alpha.repeat(n), level.sigma.repeat(n))
        prior = next(iter(peers.values())).prior
        with sharing_layers(prior, torch.arange(len(z)).repeat(n)):
            together = prior.predict(z.repeat(n, *[1] * (z.ndim - 1)), joint, condition)
        places = (i + offset for offset in peers)
        predictions.update(zip(places, together.chunk(n), strict=True))
    return [predictions[i] for i in range(len(denoisers))]


def _sharing_a_pass(first: Expert, denoisers: Sequence[Expert]) -> dict[int, Conditioned]:
    """Those that can share a forward pass with ``first``, by their place."""
    if not isinstance(first, Conditioned):
        return {}
    return {
        place: other
        for place, other in enumerate(denoisers)
        if isinstance(other, Conditioned)
        and other.prior is first.prior
        and other.condition.fits(first.condition)
    }


def predict_experts(
    denoisers: Sequence[Expert],
    schedule: NoiseSchedule,
    z: Float[Tensor, "batch *shape"],
    level: NoiseLevel,
) -> list[Prediction]:
    """The predictions of all denoisers at z, as predictions at (z, level), in their order.

    A denoiser of another schedule is asked at its own level of the same log-SNR, with z rescaled
    to its amplitudes. Those of one prior share a forward pass.

    Args:
        denoisers: the experts.
        schedule: the schedule that ``level`` is of.
        z: noisy samples.
        level: their level, shape (batch,).

    Raises:
        ValueError: the log-SNR is outside the schedule of a denoiser.
    """
    places: dict[int, list[int]] = {}
    for place, denoiser in enumerate(denoisers):
        places.setdefault(id(denoiser.schedule), []).append(place)
    predictions: dict[int, Prediction] = {}
    for group in places.values():
        theirs = denoisers[group[0]].schedule
        peers = [denoisers[place] for place in group]
        if theirs is schedule:
            found = predict_together(peers, z, level)
        else:
            own, ratio = at_equal_log_snr(theirs, level)
            scale = NoiseLevel(ratio, ratio).like(z)[0]
            asked = predict_together(peers, (scale * z).to(z.dtype), own)
            found = [_rescaled(prediction, scale, level) for prediction in asked]
        predictions.update(zip(group, found, strict=True))
    return [predictions[place] for place in range(len(denoisers))]


def at_equal_log_snr(
    schedule: NoiseSchedule, level: NoiseLevel
) -> tuple[NoiseLevel, Float[Tensor, " batch"]]:
    """The level of a schedule whose log-SNR is that of ``level``, and by how much z grows there."""
    own = schedule.at_log_snr(level.log_snr)
    # the two pairs of amplitudes are proportional, and never both zero
    return own, (own.alpha + own.sigma) / (level.alpha + level.sigma)


def log_volume(ratio: Float[Tensor, " batch"], z: Tensor) -> Float[Tensor, " batch"]:
    """log |d(c z) / dz|: what a log-density gains where z was multiplied by ``ratio``."""
    return ratio.log() * math.prod(z.shape[1:])


def _rescaled(prediction: Prediction, scale: Tensor, level: NoiseLevel) -> Prediction:
    """A prediction at scale z as one at z; eps and x0 stay."""
    alpha, sigma = level.like(prediction.z)
    v = alpha * prediction.eps - sigma * prediction.x0
    return Prediction.from_v((prediction.z / scale).to(prediction.z.dtype), level, v)


def tried_levels(schedule: NoiseSchedule) -> NoiseLevel:
    """Levels from the cleanest of a schedule that holds noise to its noisiest, in float64."""
    level = schedule.at_fraction(torch.linspace(0, 1, _TRIED, dtype=torch.float64))
    return level[level.sigma > 0]


def common_schedule(denoisers: Sequence[Expert], asked: LevelsAsked) -> NoiseSchedule:
    """The first schedule of an expert at all of whose levels the others can be asked.

    Raises:
        ValueError: there is none; the message names the ranges.
    """
    schedules = list({id(d.schedule): d.schedule for d in denoisers}.values())
    for schedule in schedules:
        if _first_outside(denoisers, schedule, asked) is None:
            return schedule
    ranges = "; ".join(map(repr, schedules))
    raise ValueError(
        f"no expert's schedule lies within those of all others ({ranges}); give compose a schedule "
        "within all of them, or a weight of 0 outside an expert's range"
    )


def check_range(denoisers: Sequence[Expert], schedule: NoiseSchedule, asked: LevelsAsked) -> None:
    """Refuse a schedule on which an expert would be asked outside its own.

    Raises:
        ValueError: naming the expert and the log-SNR.
    """
    outside = _first_outside(denoisers, schedule, asked)
    if outside is not None:
        place, log_snr = outside
        raise ValueError(
            f"{name_of(denoisers, place)} would be asked at log-SNR {log_snr:.4g}, outside its "
            f"{denoisers[place].schedule!r}; compose along a schedule within it"
        )


def _first_outside(
    denoisers: Sequence[Expert], schedule: NoiseSchedule, asked: LevelsAsked
) -> tuple[int, float] | None:
    log_snr = tried_levels(schedule).log_snr
    needed = asked(log_snr) != 0
    for place, denoiser in enumerate(denoisers):
        if denoiser.schedule is schedule:
            continue
        ends = denoiser.schedule.at_fraction(torch.tensor([0.0, 1.0], dtype=torch.float64)).log_snr
        high, low = ends.tolist()
        outside = (log_snr > high + LOG_SNR_ROUNDING) | (log_snr < low - LOG_SNR_ROUNDING)
        wrong = log_snr[outside & needed[place]]
        if len(wrong):
            return place, float(wrong[-1])
    return None


def check_compatible(denoisers: Sequence[Expert], *, same_text: bool) -> None:
    """Refuse experts that live in different spaces, or know different words.

    Compared with the first expert that knows it are the shape of a sample, the codec with its
    configuration and, if ``same_text``, the text encoder's kind and vocabulary.

    Raises:
        ValueError: naming the two experts and the mismatch.
    """
    facts = [_facts(denoiser, same_text) for denoiser in denoisers]
    for fact in dict.fromkeys(name for known in facts for name in known):
        holders = [place for place, known in enumerate(facts) if fact in known]
        first = holders[0]
        for other in holders[1:]:
            a, b = facts[first][fact], facts[other][fact]
            if a != b:
                who = f"{name_of(denoisers, first)} and {name_of(denoisers, other)}"
                raise ValueError(f"{who} do not combine: {_MISMATCH[fact](a, b)}")


def is_same(a: Expert, b: Expert) -> bool:
    """Whether two experts are one: the same object, or one prior under equal conditions."""
    if a is b:
        return True
    if not (isinstance(a, Conditioned) and isinstance(b, Conditioned)):
        return False
    if a.prior is not b.prior or len(a.condition) != len(b.condition):
        return False
    pairs = [(a.condition.tensors[n], b.condition.tensors.get(n)) for n in a.condition.tensors]
    return a.condition.fits(b.condition) and all(
        y is not None and x.shape == y.shape and torch.equal(x, y) for x, y in pairs
    )


def name_of(denoisers: Sequence[Expert], place: int) -> str:
    """How messages call an expert."""
    prior = _prior_of(denoisers[place])
    return f"expert {place + 1} ({getattr(prior, 'name', None) or type(prior).__name__})"


def _prior_of(denoiser: Expert) -> Any:
    """What a denoiser was conditioned from; guidance and its like answer for their first half."""
    if isinstance(denoiser, Conditioned):
        return denoiser.prior
    inners = (getattr(denoiser, name, None) for name in ("cond", "guided", "good", "denoiser"))
    inner = next((one for one in inners if isinstance(one, Expert)), None)
    return denoiser if inner is None else _prior_of(inner)


def _facts(denoiser: Expert, same_text: bool) -> dict[str, Any]:
    """What must agree, as far as it is known."""
    prior = _prior_of(denoiser)
    facts: dict[str, Any] = {}
    shape = getattr(prior, "latent_shape", None) or getattr(prior, "shape", None)
    if shape is not None:
        facts["shape"] = tuple(shape)
    codec = getattr(prior, "codec", None)
    if codec is not None:
        config = dict(getattr(getattr(codec, "vae", None), "config", {}))
        facts["codec"] = {"class": type(codec).__name__} | {
            key: value
            for key, value in config.items()
            if not key.startswith("_") and key not in _NOT_OF_THE_SPACE
        }
    text = getattr(prior, "text", None)
    if text is not None and same_text:
        facts["text"] = (type(text).__name__, getattr(text, "vocabulary", None))
    return facts


def _shapes_differ(a: tuple[int, ...], b: tuple[int, ...]) -> str:
    if len(a) == len(b) == 4 and a[1:] == b[1:]:
        return f"their videos have {a[0]} and {b[0]} (latent) frames"
    return f"their samples have shapes {a} and {b}"


def _codecs_differ(a: dict[str, Any], b: dict[str, Any]) -> str:
    key = next(key for key in {**a, **b} if a.get(key) != b.get(key))
    return f"their codecs differ in {key}, {a.get(key)} and {b.get(key)}, so one z means two images"


def _texts_differ(a: tuple[str, Any], b: tuple[str, Any]) -> str:
    if a[0] != b[0]:
        difference = f"their text encoders are {a[0]} and {b[0]}"
    else:
        words = sorted(set(a[1] or ()) ^ set(b[1] or ()))
        difference = f"their text encoders differ in the words {', '.join(words[:5])}"
    return (
        f"{difference}; if their prompts mean the same all the same, compose with same_text=False"
    )


_MISMATCH: dict[str, Callable[[Any, Any], str]] = {
    "shape": _shapes_differ,
    "codec": _codecs_differ,
    "text": _texts_differ,
}
