"""What a prior is conditioned on, and a prior under it."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from scorefield.priors.levels import NoiseLevel
from scorefield.priors.prediction import Prediction
from scorefield.priors.schedule import NoiseSchedule


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
class ConditionalModel(Protocol):
    """What predicts under a condition; `ConditionedDenoiser` makes a denoiser of it."""

    schedule: NoiseSchedule

    def predict(self, z: Tensor, level: NoiseLevel, condition: Condition) -> Prediction:
        """The prediction at ``z``; level and condition have one entry per item."""
        ...


class Conditioned:
    """A prior under one condition, or one condition per item of the batch.

    What is conditioned on the same prior can share a forward pass; see `predict_together`.
    """

    def __init__(self, prior: ConditionalModel, condition: Condition) -> None:
        self.prior = prior
        self.condition = condition
        self.schedule = prior.schedule


@runtime_checkable
class SharesLayers(Protocol):
    """A model that can spare work where rows of a batch hold the same noisy sample."""

    def sharing_layers(self, of: Int[Tensor, " rows"]) -> AbstractContextManager[None]:
        """Inside, row i of a batch of that many rows holds the sample ``of[i]``, from 0."""
        ...


def sharing_layers(asked: object, of: Int[Tensor, " rows"]) -> AbstractContextManager[None]:
    """Inside, what is asked knows that row i holds the sample ``of[i]``, if it makes use of it."""
    model = asked.prior if isinstance(asked, Conditioned) else asked
    return model.sharing_layers(of) if isinstance(model, SharesLayers) else nullcontext()
