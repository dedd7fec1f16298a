"""VSD: the drawn noise of SDS replaced by a learned field of the generator's own images."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from scorefield.priors.prediction import Prediction
from scorefield.priors.prior import ImagePrior
from scorefield.sds.objective import (
    NoisedLatents,
    Objective,
    PromptedDenoisers,
    Weight,
    sigma_squared,
    weighted,
)
from scorefield.sds.objectives.particle_score import LowRank, ParticleScore, SmallNetwork


@dataclass(frozen=True)
class VSD:
    """w (eps_guided(z) - eps_phi(z)): variational score distillation (Wang et al. 2023, eq. 9).

    phi is the field of what the generator makes now; the difference is -sigma times that of the
    two scores, so that the gradient vanishes for every x once the generator makes the guided
    prior's distribution, and not its mode. For a generator that makes one x and phi exact,
    eps_phi = (z - alpha x) / sigma = eps, and VSD is SDS.

    phi is trained by whoever runs the objective, see `make_particle_score`: a step with it costs
    one more forward and backward pass per update of phi.

    phi: how phi is made.
    """

    phi: LowRank | SmallNetwork = LowRank()  # noqa: RUF009  (frozen)
    weight: Weight = sigma_squared
    needs: ClassVar[tuple[str, ...]] = ("guided", "phi")

    def __call__(
        self, denoisers: PromptedDenoisers, point: NoisedLatents
    ) -> tuple[Tensor, Prediction]:
        """See the class."""
        phi = denoisers.need("phi")
        prediction = denoisers.guided(point.z, point.level)
        difference = prediction.eps - phi(point.z, point.level).eps
        return weighted(self.weight, point.level, difference), prediction


def make_particle_score(
    objective: Objective, prior: ImagePrior, seed: int = 0
) -> ParticleScore | None:
    """The phi that an objective trains, None for all but VSD.

    What runs the objective gives ``phi.condition(prompts)`` to `PromptedDenoisers`, calls
    ``phi.learn`` after every step and keeps ``phi.state()`` with its own.
    """
    return objective.phi.build(prior, seed) if isinstance(objective, VSD) else None
