"""A denoiser for the first step from pure noise, and another for the rest of the way."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from scorefield.priors.denoiser import Denoiser
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.prediction import Prediction


class FromPureNoise(Denoiser):
    """`first` where alpha = 0, `rest` elsewhere.

    At zero terminal SNR a composition whose weights do not sum to one has a score, -W z, but no x0.
    There z says nothing yet, and any prediction of x0 will do as a first one: that of the same
    experts with weights that sum to one.

    Args:
        first: asked where alpha = 0.
        rest: asked elsewhere; its schedule is the denoiser's.
    """

    def __init__(self, first: Denoiser, rest: Denoiser) -> None:
        self.first, self.rest = first, rest
        self.schedule = rest.schedule

    def predict(self, z: Float[Tensor, "batch *shape"], level: NoiseLevel) -> Prediction:
        """The prediction of the one whose level it is.

        Raises:
            ValueError: some items are at alpha = 0 and some are not.
        """
        pure = level.alpha == 0
        if bool(pure.any()) and not bool(pure.all()):
            raise ValueError("some items are pure noise and some are not; ask for them apart")
        return (self.first if bool(pure.all()) else self.rest)(z, level)

    def score(
        self, z: Float[Tensor, "batch *shape"], level: NoiseLevel
    ) -> Float[Tensor, "batch *shape"]:
        """The score of `rest`, which exists at every level."""
        return self.rest.score(z, level)

    def rows(self, index: Sequence[int]) -> "FromPureNoise":
        """Both for the items `index`."""
        return FromPureNoise(self.first.rows(index), self.rest.rows(index))
