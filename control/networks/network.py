"""What the networks of policies have in common: a condition is prepared once, a chunk often."""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn

from scorefield.control.networks.fourier import Fourier


class ChunkNetwork(nn.Module, ABC):
    """(chunk, time, condition) -> chunk; what depends on the condition alone is kept apart.

    Attributes:
        reach: of the kernel that Fourier features of the condition are, in ways from one
            demonstration to the nearest other (`bandwidth_for`). Where linear maps alone lead from
            the features to the blocks, a narrow one is learnt by heart sooner.
        fourier: these features, if it has any.
    """

    reach: float = 6.0
    fourier: Fourier | None

    def forward(
        self,
        chunk: Float[Tensor, "batch steps size"],
        time: Float[Tensor, " batch"],
        condition: Float[Tensor, "batch features"],
    ) -> Float[Tensor, "batch steps out"]:
        """What is predicted for every step; time lies in [0, 1]."""
        return self.denoise(chunk, time, self.prepare(condition))

    @abstractmethod
    def prepare(self, condition: Float[Tensor, "batch features"]) -> Float[Tensor, "batch ..."]:
        """What the condition says, as `denoise` takes it; the same at every step of sampling."""

    @abstractmethod
    def denoise(
        self,
        chunk: Float[Tensor, "batch steps size"],
        time: Float[Tensor, " batch"],
        prepared: Float[Tensor, "batch ..."],
    ) -> Float[Tensor, "batch steps out"]:
        """The same as the call, with the condition as `prepare` gives it."""
