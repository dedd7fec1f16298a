"""A drawing fitted to an image layer by layer, and the image chosen from a prior's samples.

The idea is LIVE's (Ma et al. 2022, "Towards Layer-wise Image Vectorization"): a few paths at a
time, each put where the drawing is still most wrong, all fitted together. Here the places are
clusters of position and colour, weighted by the error.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from sklearn.cluster import KMeans
from torch import Tensor

from scorefield.priors.noise import keyed_noise
from scorefield.priors.prior import ImagePrior
from scorefield.priors.sampling import sample
from scorefield.sds.svg.drawing import SIDE
from scorefield.sds.svg.styles import Icon
from scorefield.sds.vector import Shape

__all__ = ["Rank", "best_sample", "layers", "place", "rank_by_prior"]

Rank = Callable[[ImagePrior, str, Tensor, int], Tensor]
"""From a prior, a prompt, images (n, 3, h, w) in [0, 1] and a seed: how well each fits, (n,)."""

_RANKING_DRAWS = 8
_RANKED_FRACTIONS = (0.1, 0.8)
_COLOUR_WEIGHT = 0.5  # of a colour's full range, in sides of the image
_SMALLEST, _LARGEST = 0.01, 0.3  # radius of a new circle, in sides


@torch.no_grad()
def rank_by_prior(
    prior: ImagePrior, prompt: str, images: Float[Tensor, "n 3 h w"], seed: int
) -> Float[Tensor, " n"]:
    """How much the prompt lowers the prior's error on each image, all under the same noise.

    An estimate of log p(image | prompt) - log p(image), up to the weight of the levels (Li et al.
    2023, "Your diffusion model is secretly a zero-shot classifier").
    """
    latents = prior.encode(images.to(prior.device))
    fractions = torch.linspace(*_RANKED_FRACTIONS, _RANKING_DRAWS, dtype=torch.float64)
    cond, uncond = prior.condition(prompt), prior.condition(None)
    gain = torch.zeros(len(latents))
    for draw, level in enumerate(prior.schedule.at_fraction(fraction) for fraction in fractions):
        noise = keyed_noise(seed, [0], draw, latents.shape[1:], device=latents.device)
        eps = noise.expand_as(latents)
        alpha, sigma = level.like(latents)
        z = alpha * latents + sigma * eps
        without, under = (
            (field(z, level).eps - eps).square().flatten(1).sum(1) for field in (uncond, cond)
        )
        gain += (without - under).cpu()
    return gain / _RANKING_DRAWS


def best_sample(
    prior: ImagePrior,
    prompt: str,
    *,
    samples: int,
    seed: int,
    rank: Rank = rank_by_prior,
) -> Float[Tensor, "3 h w"]:
    """The image that fits the prompt best of a few that the prior makes (rejection sampling)."""
    latents = sample(
        prior.guided(prompt),
        prior.latent_shape,
        n=samples,
        scheduler=prior.scheduler,
        steps=prior.steps,
        seed=seed,
        device=prior.device,
    )
    with torch.no_grad():
        images = prior.decode(latents).clamp(0, 1)
        best = int(rank(prior, prompt, images, seed).argmax()) if samples > 1 else 0
    return images[best].cpu()


def layers(paths: int) -> list[int]:
    """How many paths are added at a time: few at first, then as many as there are."""
    counts, left = list[int](), paths
    while left > 0:
        count = min(left, max(1, paths // 16, sum(counts)))
        counts.append(count)
        left -= count
    return counts


def place(
    style: Icon,
    image: Float[Tensor, "3 height width"],
    target: Float[Tensor, "3 height width"],
    count: int,
    seed: int,
) -> list[Shape]:
    """New circles where an image differs from its target, in the target's colours.

    Pixels are clustered by place and target colour, each weighted by its squared error; a cluster
    becomes a circle of its centre, size and mean colour, the largest one first.
    """
    _, height, width = target.shape
    error = (image - target).square().sum(0).flatten().double().numpy() + 1e-9
    across = (torch.arange(width) + 0.5) / width
    down = (torch.arange(height) + 0.5) / height
    y, x = torch.meshgrid(down, across, indexing="ij")
    colour = target.flatten(1).T
    features = torch.cat([torch.stack([x, y], -1).view(-1, 2), _COLOUR_WEIGHT * colour], dim=1)
    clusters = KMeans(count, n_init=1, random_state=seed % 2**32).fit_predict(
        features.numpy(), sample_weight=error
    )
    found = []
    for number in range(count):
        mine = clusters == number
        weight = np.where(mine, error, 0)
        total = weight.sum()
        if not mine.any() or total <= 0:
            mine, weight = np.ones_like(mine), error
            total = weight.sum()
        shares = torch.from_numpy(weight / total).float()
        # The pixels that carry the error: of n equal ones, n.
        size = total**2 / np.square(weight).sum()
        radius = float(np.sqrt(size / (np.pi * height * width)))
        centre = (shares[:, None] * features[:, :2]).sum(0).tolist()
        rgb = (shares[:, None] * colour).sum(0)
        found.append((radius, centre, rgb))
    found.sort(key=lambda circle: -circle[0])
    opaque = torch.ones(1)
    return [
        style.circle(
            (SIDE * x, SIDE * y),
            SIDE * min(max(radius, _SMALLEST), _LARGEST),
            torch.cat([rgb, opaque]),
        )
        for radius, (x, y), rgb in found
    ]


def fitting_size(target: Float[Tensor, "3 h w"]) -> int:
    """Side of the images that are compared, pixels."""
    return min(2 * target.shape[-1], 256)


def fitting_loss(
    image: Float[Tensor, "3 size size"], target: Float[Tensor, "3 h w"]
) -> Float[Tensor, ""]:
    """Mean squared difference to the target, enlarged to the image's size."""
    size = image.shape[-1]
    large = F.interpolate(target[None], (size, size), mode="bilinear", align_corners=False)[0]
    return (image - large.to(image)).square().mean()
