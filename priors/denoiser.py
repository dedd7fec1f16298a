"""The one contract: a denoiser takes (z, level) and returns a prediction; and its algebra.

Samplers, objectives and classifiers know nothing else of a prior. Guidance and composition take
denoisers and are denoisers:

    (a * b).score = a.score + b.score          product
    (a ** w).score = w a.score                 tempering
    (a / b).score = a.score - b.score          quotient
    u * (a / u) ** 3 * (b / u) ** -1           Composable Diffusion: towards a, away from b

The sum is the score of the product of the *noisy* densities, prod_i p_i(z)^{w_i}, at each level. It
is not the score of the noised product of the data, except where there is no noise, so a sampler
that follows it down does not sample the product (docs/composition.md) without a corrector.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.devices import to_device
from scorefield.priors.condition import Conditioned
from scorefield.priors.expert_weights import Weight, plus, times, value
from scorefield.priors.experts import (
    at_equal_log_snr,
    check_compatible,
    check_range,
    common_schedule,
    is_same,
    log_volume,
    name_of,
    predict_experts,
    tried_levels,
)
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.prediction import Prediction, as_prediction
from scorefield.priors.schedule import NoiseSchedule

_ROUNDING = 1e-5  # weights that sum to one but for this leave no multiple of z over


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
        return as_prediction(self.predict(z, level.expand(len(z))), type(self).__name__)

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

        One that does not depend on the place in the batch is its own rows; one that holds a
        condition per item, or other denoisers, passes the selection on.
        """
        return self

    @property
    def terms(self) -> "Sequence[Term]":
        """The denoisers that it is a weighted sum of: itself alone, unless it is one."""
        return (Term(self, 1.0),)

    def __mul__(self, other: "Denoiser") -> "Composition":
        """The product of experts: the scores add."""
        if not isinstance(other, Denoiser):
            return NotImplemented
        return combine([(self, 1.0), (other, 1.0)])

    def __truediv__(self, other: "Denoiser") -> "Composition":
        """The quotient ``self * other ** -1``."""
        if not isinstance(other, Denoiser):
            return NotImplemented
        return combine([(self, 1.0), (other, -1.0)])

    def __pow__(self, weight: Weight) -> "Composition":
        """Tempering: the score times a number, or times a function of the log-SNR."""
        return combine([(self, weight)])


class ConditionedDenoiser(Conditioned, Denoiser):
    """A prior under one condition, or one condition per item of the batch."""

    def predict(self, z: Float[Tensor, "batch *shape"], level: NoiseLevel) -> Prediction:
        """The prior's prediction under the condition."""
        return self.prior.predict(z, level, self.condition.expand(len(z)))

    def rows(self, index: Sequence[int]) -> "ConditionedDenoiser":
        """The prior under the conditions of the items ``index``."""
        return type(self)(self.prior, self.condition.rows(index))


@runtime_checkable
class HasEnergy(Protocol):
    """A denoiser of known density, up to a constant per level and condition: mixtures, say."""

    def energy(self, z: Tensor, level: NoiseLevel) -> Tensor:
        """E(z) = -log p(z) + const, in nats, shape (batch,)."""
        ...


@dataclass(frozen=True, eq=False)
class Term:
    """An expert and its weight."""

    denoiser: Denoiser
    weight: Weight


class Composition(Denoiser):
    """sum_i w_i s_i of experts at equal log-SNR; made by the operators, `compose`, `conjunction`.

    In v it reads

        v = sum_i w_i v_i + (W - 1) (sigma / alpha) z,    W = sum_i w_i,

    so at zero terminal SNR (alpha = 0) there is a prediction only where W = 1; the score has the
    limit -W z there, which ``score`` returns. It has a gradient in z only if all experts have.

    Args:
        terms: experts and weights, in the same space; no expert occurs twice.
        schedule: the schedule it is seen through; by default the first schedule of an expert that
            lies within those of all others.
        same_text: whether experts must agree in their text encoders, too.

    Raises:
        ValueError: experts of different spaces, a schedule outside an expert's, a weight that is
            not finite.
    """

    def __init__(
        self,
        terms: Sequence[Term],
        schedule: NoiseSchedule | None = None,
        *,
        same_text: bool = True,
    ) -> None:
        if not terms:
            raise ValueError("a composition needs at least one expert with a weight other than 0")
        self._terms = tuple(terms)
        self.same_text = same_text
        check_compatible(self.denoisers, same_text=same_text)
        if schedule is None:
            self.schedule = common_schedule(self.denoisers, self.weights)
        else:
            self.schedule = schedule
            check_range(self.denoisers, schedule, self.weights)

    @property
    def terms(self) -> tuple[Term, ...]:
        """The experts and their weights."""
        return self._terms

    @property
    def denoisers(self) -> list[Denoiser]:
        """The experts, in the order of the terms."""
        return [term.denoiser for term in self.terms]

    def weights(self, log_snr: Float[Tensor, " levels"]) -> Float[Tensor, "experts levels"]:
        """The weight of each expert at each log-SNR.

        Raises:
            ValueError: a weight is not finite, or not one number per log-SNR.
        """
        rows = []
        for place, term in enumerate(self.terms):
            row = value(term.weight, log_snr)
            bad = ~row.isfinite()
            if bool(bad.any()):
                raise ValueError(
                    f"the weight of {name_of(self.denoisers, place)} must be finite, got "
                    f"{float(row[bad][0])} at log-SNR {float(log_snr[bad][0]):.4g}"
                )
            rows.append(row)
        return torch.stack(rows)

    def weight_sum(self, log_snr: Float[Tensor, " levels"]) -> Float[Tensor, " levels"]:
        """W at each log-SNR."""
        return self.weights(log_snr).sum(dim=0)

    def predict(self, z: Float[Tensor, "batch *shape"], level: NoiseLevel) -> Prediction:
        """The composed prediction; experts without weight at any item are not evaluated.

        Raises:
            ValueError: alpha = 0 where the weights do not sum to one.
        """
        excess = self.weight_sum(level.log_snr) - 1
        excess = torch.where(excess.abs() < _ROUNDING, torch.zeros_like(excess), excess)
        left_over = torch.where(excess == 0, excess, excess * level.sigma / level.alpha)
        if bool(left_over.isinf().any()):
            raise ValueError(
                f"alpha = 0 here and the weights sum to {1 + float(excess[left_over.isinf()][0]):g}"
                ": at zero terminal SNR the composed score goes with no x0 unless they sum to one; "
                "give such weights (normalize, conjunction), or a schedule that stops short of it"
            )
        z, v = self._combined(z, level, lambda prediction: prediction.v)
        return Prediction.from_v(z, level, v + _beside(left_over, v) * z)

    def score(
        self, z: Float[Tensor, "batch *shape"], level: NoiseLevel
    ) -> Float[Tensor, "batch *shape"]:
        """sum_i w_i s_i, which exists where alpha = 0, too."""
        return self._combined(z, level.expand(len(z)), lambda prediction: prediction.score)[1]

    def expert_scores(
        self, z: Float[Tensor, "batch *shape"], level: NoiseLevel
    ) -> Float[Tensor, "experts batch *shape"]:
        """s_i of every expert, without its weight: what their norms and cosines are taken of."""
        predictions = predict_experts(self.denoisers, self.schedule, z, level.expand(len(z)))
        return torch.stack([prediction.score for prediction in predictions])

    def rows(self, index: Sequence[int]) -> "Composition":
        """The same composition for the items ``index``."""
        terms = [Term(term.denoiser.rows(index), term.weight) for term in self.terms]
        return type(self)(terms, self.schedule, same_text=self.same_text)

    def explain(self) -> str:
        """Weights, experts, the sum of the weights and the cost, as lines of text.

        Weights are given at the cleanest, a middle and the noisiest level if they differ.
        """
        log_snr = tried_levels(self.schedule).log_snr
        log_snr = log_snr[[0, len(log_snr) // 2, -1]]
        weights = self.weights(log_snr)
        rows = [*weights, weights.sum(dim=0)]
        names = [*(name_of(self.denoisers, i) for i in range(len(self.terms))), "sum of weights"]
        lines = [f"{_shown(row):>8}  {name}" for row, name in zip(rows, names, strict=True)]
        networks = {id(d.prior) if isinstance(d, Conditioned) else id(d) for d in self.denoisers}
        levels = ", ".join(f"{float(value):.3g}" for value in log_snr)
        return "\n".join(
            [
                f"composed at log-SNR {levels}, along {self.schedule!r}:",
                *lines,
                f"forward passes per evaluation: {len(networks)}, for {len(self.terms)} experts",
            ]
        )

    def _combined(
        self, z: Tensor, level: NoiseLevel, read: Callable[[Prediction], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """z and sum_i w_i read(prediction_i), over the experts that have weight at some item."""
        weights = self.weights(level.log_snr)
        asked = [place for place, row in enumerate(weights) if bool((row != 0).any())]
        experts = [self.terms[place].denoiser for place in asked]
        predictions = predict_experts(experts, self.schedule, z, level)
        total = torch.zeros_like(z)
        for place, prediction in zip(asked, predictions, strict=True):
            total = total + _beside(weights[place], total) * read(prediction)
        if any(prediction.z.requires_grad != z.requires_grad for prediction in predictions):
            # a frozen expert cut z from the caller's graph; the others' part is not the gradient
            return z.detach(), total.detach()
        return z, total


class EnergyComposition(Composition):
    """A composition of experts whose energies are known in closed form."""

    def energy(
        self, z: Float[Tensor, "batch *shape"], level: NoiseLevel
    ) -> Float[Tensor, " batch"]:
        """sum_i w_i E_i(z), the energy of the composed score field at this level.

        Up to a constant per level, -log of the product of the noisy densities; not the energy of
        the noised product of the data.
        """
        level = level.expand(len(z))
        total = z.new_zeros(len(z), dtype=torch.promote_types(z.dtype, torch.float32))
        for row, denoiser in zip(self.weights(level.log_snr), self.denoisers, strict=True):
            own, ratio = level, torch.ones_like(level.alpha)
            if denoiser.schedule is not self.schedule:
                own, ratio = at_equal_log_snr(denoiser.schedule, level)
            assert isinstance(denoiser, HasEnergy)
            energy = denoiser.energy((_beside(ratio, z) * z).to(z.dtype), own)
            total = total + row.to(total) * (energy - log_volume(ratio, z).to(total))
        return total


def combine(experts: Iterable[tuple[Denoiser, Weight]], *, same_text: bool = True) -> Composition:
    """The composition of weighted experts, flattened.

    What is a weighted sum itself is taken apart: compositions, guidance without rescale. Experts
    that occur several times are merged, and dropped if their weight is then the number 0. The
    schedule is chosen anew.
    """
    merged: list[Term] = []
    for denoiser, weight in experts:
        if isinstance(denoiser, Composition):
            same_text = same_text and denoiser.same_text
        for part in denoiser.terms:
            term = Term(part.denoiser, times(part.weight, weight))
            place = next(
                (i for i, m in enumerate(merged) if is_same(m.denoiser, term.denoiser)), -1
            )
            if place < 0:
                merged.append(term)
            else:
                merged[place] = Term(
                    merged[place].denoiser, plus(merged[place].weight, term.weight)
                )
    terms = [term for term in merged if callable(term.weight) or term.weight != 0]
    return composition_of(terms, same_text=same_text)


def composition_of(
    terms: Sequence[Term], schedule: NoiseSchedule | None = None, *, same_text: bool = True
) -> Composition:
    """The composition of terms, with an energy where all of them have one."""
    known = all(isinstance(term.denoiser, HasEnergy) for term in terms)
    return (EnergyComposition if known else Composition)(terms, schedule, same_text=same_text)


def _beside(row: Tensor, z: Tensor) -> Tensor:
    """One number per item, shaped to multiply ``z``, in its dtype but at least float32."""
    dtype = torch.promote_types(z.dtype, torch.float32)
    return to_device(row.to(dtype), z.device).reshape(-1, *[1] * (z.ndim - 1))


def _shown(row: Tensor) -> str:
    values = [f"{float(value):.4g}" for value in row]
    return values[0] if len(set(values)) == 1 else " ".join(values)
