"""Compositions with weights that are normalised, or sum to one by themselves."""

from collections.abc import Mapping, Sequence
from typing import Literal

from scorefield.priors.denoiser import (
    Composition,
    Denoiser,
    Term,
    combine,
    composition_of,
)
from scorefield.priors.exact.standard_normal import StandardNormal
from scorefield.priors.expert_weights import Weight, plus, reciprocal, times
from scorefield.priors.experts import check_is_denoiser, tried_levels
from scorefield.priors.schedule import NoiseSchedule

Experts = Mapping[Denoiser, Weight] | Sequence[tuple[Denoiser, Weight]]


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
    pairs = _pairs(experts)
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
    return composition_of(terms, schedule, same_text=same_text)


def conjunction(unconditional: Denoiser, concepts: Experts) -> Composition:
    """Composable Diffusion: eps = eps_u + sum_i w_i (eps_i - eps_u) (Liu et al. 2022, eq. 11).

    All concepts with w_i > 0 and none with w_i < 0. The weights, 1 - sum_i w_i of the
    unconditional one included, sum to one; with one concept it is classifier-free guidance.
    A w_i < 0 is a negative expert; a "negative prompt" is another thing, which takes the place of
    the unconditional one (`FrozenPrior.guided`).
    """
    check_is_denoiser(unconditional)
    pairs = _pairs(concepts)
    left_over: Weight = 1.0
    for _, weight in pairs:
        left_over = plus(left_over, times(-1.0, weight))
    return combine([(unconditional, left_over), *pairs])


def _pairs(experts: Experts) -> list[tuple[Denoiser, Weight]]:
    """Denoisers and their weights.

    Raises:
        ValueError: they have no weights, or one is no denoiser.
    """
    pairs = list(experts.items() if isinstance(experts, Mapping) else experts)
    if not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs):
        raise ValueError("give a weight to each expert: {table: 1.0, red: 2.0}, or pairs of them")
    for denoiser, _ in pairs:
        check_is_denoiser(denoiser)
    return pairs
