"""Composition: the score field sum_i w_i s_i of several experts.

    (a * b).score = a.score + b.score          product
    (a ** w).score = w a.score                 tempering
    (a / b).score = a.score - b.score          quotient
    u * (a / u) ** 3 * (b / u) ** -1           Composable Diffusion: towards a, away from b

The sum is the score of the product of the *noisy* densities, prod_i p_i(z)^{w_i}, at each level. It
is not the score of the noised product of the data, except where there is no noise, so a sampler
that follows it down does not sample the product; docs/composition.md says what it samples.
Correctors (``sample(..., corrector=...)``) and `sample_fkc` make it exact.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.priors.composition.experts import (
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
from scorefield.priors.composition.normalisable import check_normalisable
from scorefield.priors.composition.weights import Weight, plus, reciprocal, times, value
from scorefield.priors.denoiser import ConditionedDenoiser, Denoiser
from scorefield.priors.energy.line_integral import HasEnergy
from scorefield.priors.exact.standard_normal import StandardNormal
from scorefield.priors.guidance.classifier_free import ClassifierFreeGuidance
from scorefield.priors.levels import NoiseLevel, NoiseSchedule
from scorefield.priors.prediction import Prediction

Experts = Mapping[Denoiser, Weight] | Sequence[tuple[Denoiser, Weight]]

# Weights that sum to one but for rounding leave no multiple of z over.
_ROUNDING = 1e-5


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
        self.terms = tuple(terms)
        self.same_text = same_text
        check_compatible(self.denoisers, same_text=same_text)
        if schedule is None:
            self.schedule = common_schedule(self.denoisers, self.weights)
        else:
            self.schedule = schedule
            check_range(self.denoisers, schedule, self.weights)

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

    def check_density(self) -> None:
        """Refuse a product that is known to be no density; see `check_normalisable`."""
        levels = tried_levels(self.schedule)
        check_normalisable(self.denoisers, self.weights(levels.log_snr), levels)

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
        networks = {
            id(d.prior) if isinstance(d, ConditionedDenoiser) else id(d) for d in self.denoisers
        }
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

    Compositions are taken apart, and so is classifier-free guidance without rescale; experts that
    occur several times are merged, and dropped if their weight is then the number 0. The schedule
    is chosen anew.
    """
    merged: list[Term] = []
    for denoiser, weight in experts:
        if isinstance(denoiser, Composition):
            same_text = same_text and denoiser.same_text
        for part in _terms(denoiser):
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
    return _composition(terms, None, same_text)


def compose(
    experts: Experts,
    *,
    normalize: Literal["convex", "reference"] | None = None,
    reference: Denoiser | None = None,
    schedule: NoiseSchedule | None = None,
    same_text: bool = True,
) -> Composition:
    """The composition of experts with weights.

    Args:
        experts: experts and their weights, or pairs of them.
        normalize: None keeps the weights. "convex" divides them by their sum W, at each level; all
            must be >= 0. "reference" subtracts W - 1 times the score of a reference, for
            prod_i p_i^{w_i} / ref^{W - 1}: the product of likelihood ratios. Both leave weights
            that sum to one.
        reference: what "reference" divides by, such as an unconditional prior; N(0, I) if None.
        schedule: the schedule it is seen through; by default the first schedule of an expert that
            lies within those of all others.
        same_text: whether experts must agree in their text encoders, too.

    Raises:
        ValueError: see `Composition`; or weights that cannot be normalised as asked.
    """
    if reference is not None and normalize != "reference":
        raise ValueError(f"a reference is used by normalize='reference' only, got {normalize!r}")
    pairs = list(experts.items() if isinstance(experts, Mapping) else experts)
    plain = combine(pairs, same_text=same_text)
    terms = list(plain.terms)
    total: Weight = 0.0
    for term in terms:
        total = plus(total, term.weight)
    if normalize == "convex":
        weights = plain.weights(tried_levels(plain.schedule).log_snr)
        if bool((weights < 0).any()) or bool((weights.sum(dim=0) == 0).any()):
            raise ValueError(
                "normalize='convex' divides by the sum of weights that are >= 0 and not all 0 at "
                f"any level, got weights from {float(weights.min()):g} to {float(weights.max()):g}"
            )
        scale = reciprocal(total)
        terms = [Term(term.denoiser, times(term.weight, scale)) for term in terms]
    elif normalize == "reference":
        base = StandardNormal(plain.schedule) if reference is None else reference
        left_over = plus(1.0, times(-1.0, total))
        plain = combine([*((t.denoiser, t.weight) for t in terms), (base, left_over)])
        terms = list(plain.terms)
    return _composition(terms, schedule, same_text)


def conjunction(unconditional: Denoiser, concepts: Experts) -> Composition:
    """Composable Diffusion: eps = eps_u + sum_i w_i (eps_i - eps_u) (Liu et al. 2022, eq. 11).

    All concepts with w_i > 0 and none with w_i < 0. The weights, 1 - sum_i w_i of the
    unconditional one included, sum to one; with one concept it is classifier-free guidance.
    A w_i < 0 is a negative expert; a "negative prompt" is another thing, which takes the place of
    the unconditional one (`FrozenPrior.guided`).
    """
    pairs = list(concepts.items() if isinstance(concepts, Mapping) else concepts)
    left_over: Weight = 1.0
    for _, weight in pairs:
        left_over = plus(left_over, times(-1.0, weight))
    return combine([(unconditional, left_over), *pairs])


def _composition(
    terms: Sequence[Term], schedule: NoiseSchedule | None, same_text: bool
) -> Composition:
    known = all(isinstance(term.denoiser, HasEnergy) for term in terms)
    return (EnergyComposition if known else Composition)(terms, schedule, same_text=same_text)


def _terms(denoiser: Denoiser) -> Sequence[Term]:
    """What a denoiser is a composition of; itself, if it is none."""
    if isinstance(denoiser, Composition):
        return denoiser.terms
    if type(denoiser) is ClassifierFreeGuidance and denoiser.rescale == 0:
        halves = ((denoiser.cond, denoiser.scale), (denoiser.uncond, 1 - denoiser.scale))
        return [
            Term(part.denoiser, times(part.weight, weight))
            for half, weight in halves
            for part in _terms(half)
        ]
    return [Term(denoiser, 1.0)]


def _beside(row: Tensor, z: Tensor) -> Tensor:
    """One number per item, shaped to multiply ``z``, in its dtype but at least float32."""
    dtype = torch.promote_types(z.dtype, torch.float32)
    return row.to(dtype).to(z.device).reshape(-1, *[1] * (z.ndim - 1))


def _shown(row: Tensor) -> str:
    values = [f"{float(value):.4g}" for value in row]
    return values[0] if len(set(values)) == 1 else " ".join(values)
