"""A denoiser that knows its own schedule's amplitudes alone, made to meet all others."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from scorefield.priors.denoiser import Denoiser
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.prediction import Prediction


class RescaledDenoiser(Denoiser):
    """A denoiser of your own at levels of any amplitudes, by its answer at equal log-SNR.

    A network is trained on z = alpha x + sigma eps of one schedule, while samplers and
    compositions may hand over c z = (c alpha) x + (c sigma) eps, which says the same of x. This
    brings z to the schedule's own amplitudes, asks there, and reads eps and x0 back. It needs no
    text encoder and no codec: `check_prior(RescaledDenoiser(mine), shape=...)` then passes the
    check "amplitudes".

    Attributes:
        denoiser: what is asked, at levels of its own schedule.
    """

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser
        self.schedule = denoiser.schedule

    def predict(self, z: Float[Tensor, "batch *shape"], level: NoiseLevel) -> Prediction:
        """The denoiser's prediction at the same log-SNR."""
        native = self.schedule.at_log_snr(level.log_snr)
        scale = (native.alpha + native.sigma) / (level.alpha + level.sigma)
        found = self.denoiser(z * scale.to(z).reshape(-1, *[1] * (z.ndim - 1)), native)
        alpha, sigma = level.like(z)
        return Prediction.from_v(z, level, alpha * found.eps - sigma * found.x0)

    def rows(self, index: Sequence[int]) -> "RescaledDenoiser":
        """The denoiser of the items ``index``."""
        return RescaledDenoiser(self.denoiser.rows(index))
