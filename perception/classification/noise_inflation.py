"""How much farther noise carries the errors of a prior than independent parts would say."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from torch import Tensor

from scorefield.perception.classification.error_measure import PARTS, ErrorMeasure
from scorefield.perception.classification.paired_errors import PairedErrors, Request, clean_samples
from scorefield.priors.prior import Prior, Prompts

_SAME_LEVEL = 1e-3  # width of a range of log-SNR in which all levels are alike


def noise_inflation(
    prior: Prior,
    images: Float[Tensor, "images *shape"],
    prompts: Prompts,
    *,
    log_snrs: Sequence[float | int] = (-2.0, 0.0, 2.0),
    draws: int = 16,
    measure: ErrorMeasure | None = None,
    seed: int = 0,
    batch_size: int = 64,
) -> float:
    """The `Race.inflation` of a prior, measured by drawing noise again at the same level.

    The variance over draws of a paired difference, over what its parts tell of it as if they were
    independent; the mean of this ratio over images, levels, and prompts other than the best. It
    costs images * prompts * levels * draws evaluations of the network: a few images that are like
    those to be classified, and a few prompts, are enough.

    Raises:
        ValueError: fewer than two prompts or draws, or samples of too few dimensions to have parts,
            for which a race needs no inflation.
    """
    prompts = [prompts] if isinstance(prompts, str) else list(prompts)
    if len(prompts) < 2 or draws < 2:
        raise ValueError(
            f"give two or more prompts and draws; got {len(prompts)} prompts, {draws} draws"
        )
    x = clean_samples(prior, images, batch_size)
    if x[0].numel() < PARTS:
        raise ValueError(f"samples of {x[0].numel()} dimensions have no parts; {PARTS} are needed")
    denoiser = prior.condition(prompts)
    asked = [Request(i, tuple(range(len(prompts))), 0, draws) for i in range(len(x))]
    ratios = []
    for log_snr in log_snrs:
        at_level = replace(
            ErrorMeasure() if measure is None else measure,
            log_snr=(float(log_snr), float(log_snr) + _SAME_LEVEL),
        )
        source = PairedErrors(denoiser, x, at_level, seed=seed, batch_size=batch_size)
        for errors in source.evaluate(asked):
            gaps = errors - errors[errors.sum(axis=2).mean(axis=1).argmin()]
            observed = gaps.sum(axis=2).var(axis=1, ddof=1)
            independent = PARTS * gaps.var(axis=2, ddof=1).mean(axis=1)
            rivals = independent > 0
            ratios += (observed[rivals] / independent[rivals]).tolist()
    return float(np.mean(ratios))
