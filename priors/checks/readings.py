"""As what a network's values are to be read: as noise, clean sample, v, velocity or score.

At the noisiest level z is noise: values of eps, velocity and score go with it, those of x0 and v
do not. Elsewhere, E[eps | z] is the closest guess of eps that can be made from z: where z is made
from data, no other reading of a good network's values is closer to eps than the right one, and no
multiple of z is, whatever the data are. The data are the samples that a reading leads to; of
readings that agree with their own samples, the right one knows them best. Where that is by little,
as of few numbers that are almost normal, readings are not told apart.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from scorefield.priors.denoiser import Denoiser
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import keyed_noise
from scorefield.priors.prediction import Prediction
from scorefield.priors.rescaled import RescaledDenoiser
from scorefield.priors.sampling import sample

_KINDS = {"eps": 1, "x0": 0, "v": 0, "velocity": 1, "score": -1}  # and their part of pure noise
_PURE_NOISE = -4.0  # log-SNR below which z is hardly more
_LOG_SNR = (-2.0, 0.0, 2.0)  # where both the noise and the sample show
_STEPS = 10
_NUMBERS = 1024  # in all items together, for a mean square that is known to a few per cent
_ALLOWED = 1.25  # mean squared error over that of the closest guess
_UNIT_ORDER = (0.1, 10.0)  # root mean square of samples


class _ReadAs(Denoiser):
    """A denoiser whose values are taken as another kind."""

    def __init__(self, denoiser: Denoiser, kind: str) -> None:
        self.denoiser, self.kind = denoiser, kind
        self.schedule = denoiser.schedule

    def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
        return self.denoiser(z, level).read_as(self.kind)


@torch.no_grad()
def fitting_reading(
    denoiser: Denoiser, shape: Sequence[int], device: torch.device
) -> tuple[str, str | None] | None:
    """The kind that a denoiser reads its values as, and the kind that they fit as.

    The second is None if they fit as none: the network is not trained, say. The result is None if
    the schedule has no level with both noise and signal. Takes some 25 evaluations of a few items.
    """
    while isinstance(denoiser, RescaledDenoiser):  # reads on what it was given
        denoiser = denoiser.denoiser
    schedule = denoiser.schedule
    noisiest, cleanest = (schedule.at_fraction(torch.tensor(u, device=device)) for u in (1.0, 0.0))
    levels = [
        schedule.at_log_snr(torch.tensor(log_snr, device=device))
        for log_snr in _LOG_SNR
        if float(noisiest.log_snr) <= log_snr <= float(cleanest.log_snr)
    ]
    if not levels:
        return None
    n = max(3, math.ceil(_NUMBERS / math.prod(shape)))
    eps = keyed_noise(0, range(n), 2, tuple(shape), device=device)
    first = denoiser(noisiest.add_noise(torch.zeros_like(eps), eps), noisiest)
    kinds = list(_KINDS)
    if float(noisiest.log_snr) < _PURE_NOISE:
        value = first.read_as("eps").eps
        part = float((value * eps).sum() / (eps * eps).sum())
        kinds = [kind for kind in kinds if abs(part - _KINDS[kind]) < 0.5]
    errors = {
        kind: _own_error(_ReadAs(denoiser, kind), levels, eps, kind != first.kind) for kind in kinds
    }
    errors = {kind: error for kind, error in errors.items() if error < math.inf}
    best = min(errors, key=lambda kind: errors[kind], default=None)
    own = errors.get(first.kind, math.inf)
    if best is None or own <= _ALLOWED * errors[best]:
        return first.kind, best and first.kind
    # before it is trained, a network gives zeros: the v of a standard normal, no better than z
    return first.kind, best if errors[best] * _ALLOWED <= 1 else None


def _own_error(reading: _ReadAs, levels: Sequence[NoiseLevel], eps: Tensor, varied: bool) -> float:
    """The mean error of a reading on its own samples, over that of the best multiple of z.

    Infinite where it does not agree with them: another reading is closer, or they are not of unit
    order.
    """
    n, shape = len(eps), eps.shape[1:]
    options: dict[str, Any] = {"steps": _STEPS, "batch_size": n, "device": eps.device}
    try:
        x = sample(reading, shape, n, **options)
    except (ValueError, ArithmeticError):  # a kind that does not exist at an end of the schedule
        return math.inf
    low, high = _UNIT_ORDER
    # one and the same sample is what any constant leads to, read as x0
    if not (low <= _size(x - x.mean(0) if varied else x) and _size(x) <= high):
        return math.inf
    errors = dict.fromkeys(_KINDS, 0.0)
    for level in levels:
        z = level.add_noise(x, eps)
        found = reading.denoiser(z, level)
        multiple = _error((eps * z).sum() / (z * z).sum() * z, eps)
        for kind in _KINDS:
            errors[kind] += _error(found.read_as(kind).eps, eps) / multiple / len(levels)
    own = errors[reading.kind]
    return own if own <= _ALLOWED * min(1.0, *errors.values()) else math.inf


def _size(x: Tensor) -> float:
    return float(x.square().mean().sqrt())


def _error(guess: Tensor, eps: Tensor) -> float:
    return float((guess - eps).square().mean())
