"""Errors of a prior under many prompts, at the same noise and the same levels for all of them.

What a classifier needs are differences between labels. The noise of draw k of an image depends on
(seed, image, k) alone, so differences are free of what the labels have in common, and do not change
with the batch, the order of the images, or which labels are still in the race.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.devices import to_device
from scorefield.perception.classification.error_measure import ErrorMeasure
from scorefield.priors.condition import sharing_layers
from scorefield.priors.denoiser import Denoiser
from scorefield.priors.noise import keyed_noise, noise_generator
from scorefield.priors.prior import ImagePrior, Prior

_GOLDEN = (math.sqrt(5) - 1) / 2
_SHIFT_KEY = -1  # of the image's stream; draws count from 0


@dataclass(frozen=True)
class Request:
    """Errors wanted of the image `image` under `prompts`, for the draws start ... stop - 1."""

    image: int
    prompts: tuple[int, ...]
    start: int
    stop: int

    @property
    def evaluations(self) -> int:
        """What it costs, in evaluations of the network on one image."""
        return len(self.prompts) * (self.stop - self.start)


@runtime_checkable
class ErrorSource(Protocol):
    """What answers requests."""

    def evaluate(
        self, requests: Sequence[Request]
    ) -> list[Float[np.ndarray, "prompts draws parts"]]:
        """The errors of each request."""
        ...


def draw_positions(seed: int, item: int, draws: Sequence[int]) -> Float[Tensor, " draws"]:
    """Where along the range of levels an image's draws lie: u_k = frac(u_0 + k / golden ratio).

    Every prefix covers [0, 1) about evenly (three gap lengths at most; Steinhaus), and every u_k by
    itself is uniform, for u_0 is, so that every prefix's mean is unbiased.
    """
    start = torch.rand((), generator=noise_generator(seed, item, _SHIFT_KEY), dtype=torch.float64)
    return (start + _GOLDEN * torch.tensor(list(draws), dtype=torch.float64)) % 1


def clean_samples(
    prior: Prior, images: Float[Tensor, "images *shape"], batch_size: int
) -> Float[Tensor, "images *latent"]:
    """Images as clean samples of a prior: encoded, a few at a time, if it is an `ImagePrior`."""
    if not isinstance(prior, ImagePrior):
        return images
    with torch.no_grad():
        return torch.cat([prior.encode(part) for part in images.split(batch_size)])


class PairedErrors:
    """The errors of images under the prompts of a denoiser.

    Args:
        denoiser: conditioned on the prompts, one row per prompt (or a single row).
        x: clean samples in the denoiser's space.
        measure: of the errors, which are times its width: their mean over draws is the integral.
        seed: of the noise and the levels.
        items: what keys the noise of each image; 0, 1, ... if None.
        batch_size: rows (image, draw and prompt) in one pass of the network.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        x: Float[Tensor, "images *shape"],
        measure: ErrorMeasure,
        *,
        seed: int = 0,
        items: Sequence[int] | None = None,
        batch_size: int = 64,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be >= 1, got {batch_size}")
        items = list(range(len(x))) if items is None else list(items)
        if len(items) != len(x):
            raise ValueError(f"items must name each of the {len(x)} images, got {len(items)}")
        self._denoiser = denoiser
        # half precision is for the inside of networks
        self._x = x.detach().to(torch.promote_types(x.dtype, torch.float32))
        self._measure = measure
        self._seed = seed
        self._items = items
        self._batch_size = batch_size
        self._width = measure.width(denoiser.schedule)

    @torch.no_grad()
    def evaluate(
        self, requests: Sequence[Request]
    ) -> list[Float[np.ndarray, "prompts draws parts"]]:
        """The errors of each request, in the order asked for, in the parts of `ErrorMeasure`.

        Raises:
            FloatingPointError: an error is not finite.
        """
        # prompts innermost: a pass then needs the noise of few draws
        rows = [
            (request.image, draw, prompt)
            for request in requests
            for draw in range(request.start, request.stop)
            for prompt in request.prompts
        ]
        parts = [
            self._pass(rows[first : first + self._batch_size])
            for first in range(0, len(rows), self._batch_size)
        ]
        values = np.concatenate(parts) if parts else np.empty((0, 1))
        if not np.isfinite(values).all():
            raise FloatingPointError("an error is not finite; compute in float32 or bfloat16")
        bounds = np.cumsum([request.evaluations for request in requests])[:-1]
        return [
            part.reshape(-1, len(request.prompts), part.shape[1]).swapaxes(0, 1)
            for request, part in zip(requests, np.split(values, bounds), strict=True)
        ]

    def _pass(self, rows: Sequence[tuple[int, int, int]]) -> Float[np.ndarray, "rows parts"]:
        """One pass of the network over rows of (image, draw, prompt)."""
        draws = list(dict.fromkeys((image, draw) for image, draw, _ in rows))
        place = {key: i for i, key in enumerate(draws)}
        of = torch.tensor([place[image, draw] for image, draw, _ in rows])
        shape, dtype, device = self._x.shape[1:], self._x.dtype, self._x.device
        noise, positions = [], []
        for image, draw in draws:
            item = self._items[image]
            noise.append(keyed_noise(self._seed, [item], draw, shape, dtype, device))
            positions.append(draw_positions(self._seed, item, [draw]))
        eps = torch.cat(noise)
        x = self._x[[image for image, _ in draws]]
        level = self._measure.levels(self._denoiser.schedule, torch.cat(positions))
        level, index = level.to("cpu")[of], to_device(of, device)
        x, eps = x[index], eps[index]
        denoiser = self._denoiser.rows([prompt for _, _, prompt in rows])
        with sharing_layers(denoiser, of):
            prediction = denoiser(level.add_noise(x, eps), level)
        errors = self._width * self._measure(prediction, x, eps)
        return errors.cpu().double().numpy()


def paired_errors(
    prior: Prior,
    x: Float[Tensor, "images *latent"],
    prompts: Sequence[str] | None,
    *,
    draws: int,
    chosen: Sequence[int] | None = None,
    measure: ErrorMeasure | None = None,
    seed: int = 0,
    items: Sequence[int] | None = None,
    batch_size: int = 64,
) -> Float[np.ndarray, "images prompts draws"]:
    """The errors of clean samples under prompts, nats, or under none at all.

    chosen: the number of the only prompt of each sample; None takes every prompt.
    """
    source = PairedErrors(
        prior.condition(prompts),
        x,
        ErrorMeasure() if measure is None else measure,
        seed=seed,
        items=items,
        batch_size=batch_size,
    )
    every = tuple(range(1 if prompts is None else len(prompts)))
    rows = [every] * len(x) if chosen is None else [(one,) for one in chosen]
    found = source.evaluate([Request(i, row, 0, draws) for i, row in enumerate(rows)])
    return np.stack(found).sum(axis=3)
