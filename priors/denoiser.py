"""The one contract: a denoiser takes (z, level) and returns a prediction.

Samplers, objectives and classifiers know nothing else of a prior.  Guidance and composition take
denoisers and are denoisers.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.priors.levels import NoiseLevel, NoiseSchedule
from scorefield.priors.prediction import Prediction

if TYPE_CHECKING:
    # composition is made of denoisers; at run time the operators import it when they are used
    import scorefield.priors.composition.compose
    import scorefield.priors.composition.weights


class Denoiser(ABC):
    """A score field over noise levels: grad_z log p(z) at every level of ``schedule``.

    Subclasses set ``schedule`` and write ``predict``; callers use the call, ``score`` or
    ``energy_gradient``. ``a * b``, ``a / b`` and ``a ** w`` compose fields: the scores add,
    subtract, and are multiplied by w.
    """

    schedule: NoiseSchedule

    @abstractmethod
    def predict(self, z: Float[Tensor, "batch *shape"], level: NoiseLevel) -> Prediction:
        """The prediction at ``z``; ``level`` has one entry per item."""

    def __call__(self, z: Float[Tensor, "batch *shape"], level: NoiseLevel) -> Prediction:
        """The prediction at ``z``.

        Args:
            z: noisy samples alpha x + sigma eps.
            level: their level, shape () or (batch,).
        """
        return self.predict(z, level.expand(len(z)))

    def score(
        self, z: Float[Tensor, "batch *shape"], level: NoiseLevel
    ) -> Float[Tensor, "batch *shape"]:
        """grad_z log p(z) = -eps / sigma."""
        return self(z, level).score

    def energy_gradient(
        self, z: Float[Tensor, "batch *shape"], level: NoiseLevel
    ) -> Float[Tensor, "batch *shape"]:
        """grad_z E(z) = eps / sigma, with E = -log p."""
        return -self.score(z, level)

    def rows(self, index: Sequence[int]) -> "Denoiser":
        """This denoiser for the items ``index`` of the batch it was conditioned for.

        A denoiser that does not depend on the place in the batch is its own rows.  One that holds
        a condition per item, or other denoisers, passes the selection on.
        """
        return self

    def __mul__(self, other: "Denoiser") -> "scorefield.priors.composition.compose.Composition":
        """The product of experts: the scores add."""
        if not isinstance(other, Denoiser):
            return NotImplemented
        from scorefield.priors.composition.compose import combine

        return combine([(self, 1.0), (other, 1.0)])

    def __truediv__(self, other: "Denoiser") -> "scorefield.priors.composition.compose.Composition":
        """The quotient ``self * other ** -1``."""
        if not isinstance(other, Denoiser):
            return NotImplemented
        from scorefield.priors.composition.compose import combine

        return combine([(self, 1.0), (other, -1.0)])

    def __pow__(
        self, weight: "scorefield.priors.composition.weights.Weight"
    ) -> "scorefield.priors.composition.compose.Composition":
        """Tempering: the score times a number, or times a function of the log-SNR."""
        from scorefield.priors.composition.compose import combine

        return combine([(self, weight)])


@dataclass(frozen=True, eq=False)
class Condition:
    """What a prior is conditioned on, as named tensors.

    Attributes:
        tensors: each of shape (batch, ...) or (1, ...); batch is the same for all.
    """

    tensors: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        sizes = {name: len(tensor) for name, tensor in self.tensors.items()}
        if len(set(sizes.values()) - {1}) > 1:
            raise ValueError(f"tensors of one condition must agree in batch size, got {sizes}")

    def __len__(self) -> int:
        """The number of items it describes; 1 also stands for any number."""
        return max((len(tensor) for tensor in self.tensors.values()), default=1)

    def expand(self, batch: int) -> "Condition":
        """The condition with one row per item.

        Raises:
            ValueError: if it describes a different number of items.
        """
        if len(self) not in (1, batch):
            raise ValueError(
                f"a condition of {len(self)} items does not fit a batch of {batch}; "
                f"give one item or {batch}"
            )
        return Condition({n: t.expand(batch, *t.shape[1:]) for n, t in self.tensors.items()})

    def rows(self, index: Sequence[int]) -> "Condition":
        """The rows ``index``; a condition of one item stays as it is."""
        if len(self) == 1:
            return self
        every = self.expand(len(self))
        return Condition({name: tensor[list(index)] for name, tensor in every.tensors.items()})

    def fits(self, other: "Condition") -> bool:
        """Whether both can be concatenated: the same names, shapes per item and dtypes."""
        return self._signature() == other._signature()

    @staticmethod
    def cat(conditions: "Sequence[Condition]") -> "Condition":
        """The conditions one after another along the batch; all must fit."""
        if not all(conditions[0].fits(other) for other in conditions[1:]):
            given = "; ".join(str(condition._signature()) for condition in conditions)
            raise ValueError(f"conditions differ in names, shapes or dtypes: {given}")
        whole = [condition.expand(len(condition)) for condition in conditions]
        names = conditions[0].tensors
        return Condition({name: torch.cat([c.tensors[name] for c in whole]) for name in names})

    def _signature(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        return {name: (tuple(t.shape[1:]), t.dtype) for name, t in self.tensors.items()}


@runtime_checkable
class ConditionalPrior(Protocol):
    """What can be wrapped by ConditionedDenoiser."""

    schedule: NoiseSchedule

    def predict(self, z: Tensor, level: NoiseLevel, condition: Condition) -> Prediction:
        """The prediction at ``z``; level and condition have one entry per item."""
        ...


class ConditionedDenoiser(Denoiser):
    """A prior under one condition, or one condition per item of the batch."""

    def __init__(self, prior: ConditionalPrior, condition: Condition) -> None:
        self.prior = prior
        self.condition = condition
        self.schedule = prior.schedule

    def predict(self, z: Float[Tensor, "batch *shape"], level: NoiseLevel) -> Prediction:
        """The prior's prediction under the condition."""
        return self.prior.predict(z, level, self.condition.expand(len(z)))

    def rows(self, index: Sequence[int]) -> "ConditionedDenoiser":
        """The prior under the conditions of the items ``index``."""
        return type(self)(self.prior, self.condition.rows(index))


def predict_together(
    denoisers: Sequence[Denoiser], z: Float[Tensor, "batch *shape"], level: NoiseLevel
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
        together = prior.predict(z.repeat(n, *[1] * (z.ndim - 1)), joint, condition)
        places = (i + offset for offset in peers)
        predictions.update(zip(places, together.chunk(n), strict=True))
    return [predictions[i] for i in range(len(denoisers))]


def _sharing_a_pass(
    first: Denoiser, denoisers: Sequence[Denoiser]
) -> dict[int, ConditionedDenoiser]:
    """Those that can share a forward pass with ``first``, by their place."""
    if not isinstance(first, ConditionedDenoiser):
        return {}
    return {
        place: other
        for place, other in enumerate(denoisers)
        if isinstance(other, ConditionedDenoiser)
        and other.prior is first.prior
        and other.condition.fits(first.condition)
    }
