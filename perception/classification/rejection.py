"""Whether an image shows any of the labels at all.

Probabilities add up to one over whatever labels are given. What tells that none of them fits are
the errors themselves: a label that fits makes an image likelier than no prompt does, and the error
under it is as small as that of images the prior would make itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.perception.classification.error_measure import ErrorMeasure
from scorefield.perception.classification.paired_errors import clean_samples, paired_errors
from scorefield.priors.prior import Prior, check_is_prior

DRAWS = 8
"""Of noise and level, for each image with its label and without."""


@dataclass(frozen=True, eq=False)
class LabelFit:
    """How well images fit a label each.

    gains: log p(x | label) - log p(x), nats: what the label adds to no prompt.
    errors: of the prediction under the label, integrated over the levels, nats: -log p(x | label)
        but for a constant that all images of the prior share.
    """

    gains: Float[Tensor, " images"]
    errors: Float[Tensor, " images"]

    def __len__(self) -> int:
        """The number of images."""
        return len(self.gains)

    def p_values(self, reference: "LabelFit") -> Float[Tensor, " images"]:
        """How often an image that fits would seem to fit as badly, or worse, in (0, 1].

        An image that is exchangeable with those of the reference has a value below a with a
        probability of at most a, whatever their distribution (conformal p-values; Vovk et al.
        2005, "Algorithmic learning in a random world"; the smaller of gain's and error's counts
        twice, by the union bound). With n images in the reference no value is below 2 / (n + 1).

        Raises:
            ValueError: an empty reference.
        """
        if not len(reference):
            raise ValueError("give a reference of at least one image that fits")
        worse = [
            (reference.gains[None] <= self.gains[:, None]).sum(1),
            (reference.errors[None] >= self.errors[:, None]).sum(1),
        ]
        both = torch.stack([(1 + count).double() / (1 + len(reference)) for count in worse])
        return (2 * both.amin(0)).clamp(max=1)


def label_fit(
    prior: Prior,
    images: Float[Tensor, "images *shape"],
    prompts: Sequence[str],
    *,
    draws: int = DRAWS,
    measure: ErrorMeasure | None = None,
    seed: int = 0,
    items: Sequence[int] | None = None,
    batch_size: int = 64,
) -> LabelFit:
    """How well each image fits the prompt of its own; 2 * draws evaluations per image.

    Args:
        prior: as for `classify`; it must have been trained to do without a prompt too.
        images: as for `classify`.
        prompts: one per image, such as that of its best label.
        draws: of noise and level.
        measure: `ErrorMeasure()` if None.
        seed: of noise and levels.
        items: what keys the noise of each image; 0, 1, ... if None.
        batch_size: rows in one pass of the network.

    Raises:
        ValueError: no prior first, not one prompt per image, or no draw.
    """
    check_is_prior(prior)
    if isinstance(prompts, str):
        raise ValueError(f"give a list of prompts, one per image; got the text {prompts!r}")
    if len(prompts) != len(images) or draws < 1:
        raise ValueError(
            f"give one prompt per image and at least one draw; got {len(prompts)} prompts for "
            f"{len(images)} images, {draws} draws"
        )
    x = clean_samples(prior, images, batch_size)
    names = list(dict.fromkeys(prompts))
    options: dict[str, Any] = {
        "draws": draws, "measure": measure, "seed": seed, "items": items, "batch_size": batch_size
    }  # fmt: skip
    chosen = [names.index(prompt) for prompt in prompts]
    under = paired_errors(prior, x, names, chosen=chosen, **options).mean(axis=(1, 2))
    without = paired_errors(prior, x, None, **options).mean(axis=(1, 2))
    return LabelFit(torch.from_numpy(without - under), torch.from_numpy(under))
