"""How well images fit a text, comparably between images."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.perception.classification.error_measure import ErrorMeasure
from scorefield.perception.classification.paired_errors import clean_samples, paired_errors
from scorefield.priors.prior import Prior, Prompts, check_is_prior


@dataclass(frozen=True, eq=False)
class TextScores:
    """log p(x | prompt) - log p(x), nats.

    values: (images, prompts); above 0, the prompt makes the image more likely.
    standard_errors: over the draws.
    """

    values: Float[Tensor, "images prompts"]
    standard_errors: Float[Tensor, "images prompts"]


def text_scores(
    prior: Prior,
    images: Float[Tensor, "images *shape"],
    prompts: Prompts,
    *,
    draws: int = 16,
    measure: ErrorMeasure | None = None,
    seed: int = 0,
    items: Sequence[int] | None = None,
    batch_size: int = 64,
) -> TextScores:
    """Score images by prompts, relative to the prior without a prompt.

    log p(x | prompt) alone ranks images by how simple they are, whatever the prompt: p(. | prompt)
    is normalised over images, but no single image's value says how it compares. The difference to
    log p(x) is the pointwise mutual information, log p(prompt | x) - log p(prompt). It costs
    draws (prompts + 1) evaluations of the network per image, all at the same noise.

    Args:
        prior: as for `classify`; it must have been trained to do without a prompt too.
        images: as for `classify`.
        prompts: one or more.
        draws: of noise and level, >= 2.
        measure: `ErrorMeasure()` if None.
        seed: of noise and levels.
        items: what keys the noise of each image; 0, 1, ... if None.
        batch_size: rows in one pass of the network.

    Raises:
        ValueError: no prior first, no prompt, or fewer than two draws.
    """
    check_is_prior(prior)
    prompts = [prompts] if isinstance(prompts, str) else list(prompts)
    if not prompts or draws < 2:
        raise ValueError(
            f"give at least one prompt and 2 draws; got {len(prompts)} prompts, {draws} draws"
        )
    x = clean_samples(prior, images, batch_size)

    under, without = (
        paired_errors(
            prior, x, some, draws=draws, measure=measure, seed=seed, items=items,
            batch_size=batch_size,
        )
        for some in (prompts, None)
    )  # fmt: skip
    gains = torch.from_numpy(without - under)
    return TextScores(gains.mean(dim=2), gains.std(dim=2) / draws**0.5)
