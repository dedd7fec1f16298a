"""The shapes of a drawing moved and recoloured until it is as near to an image as they can be."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from scipy.optimize import minimize
from torch import Tensor

from scorefield.sds.vector import Document, Shape

__all__ = ["needed", "polish"]

_LARGEST = 128
"""Longer side of the drawing in the polish, pixels."""

_COLOUR = 0.02  # so much of a colour counts as one pixel of 256 of a place
_THINNEST = 0.25  # stroke, pixels of 256
_REMEMBERED = 20  # steps of which the curvature is made


def polish(document: Document, image: Float[Tensor, "3 height width"], steps: int) -> None:
    """Moves and recolours the shapes towards an image, by gradients of our own renderer.

    The squared difference is lowered by L-BFGS-B (Byrd et al. 1995); places, widths and colours are
    free, opacities stay as they are.

    document: what is changed, in place.
    image: what its whole view box should show, in [0, 1], on white.
    steps: at most so many images are drawn.
    """
    found = document.parameters()
    unit = max(document.view_box.width, document.view_box.height) / 256
    kinds = ((found.points, unit), (found.widths, unit), (found.colours, _COLOUR))
    tensors = [tensor for kind, _ in kinds for tensor in kind]
    scales = [scale for kind, scale in kinds for _ in kind]
    if not tensors or steps < 1:
        return
    target = _target(image)
    height, width = target.shape[-2:]
    alphas = [tensor.shape[-1:] == (4,) for tensor in found.colours]
    alphas = [False] * (len(tensors) - len(alphas)) + alphas

    @torch.no_grad()
    def put(values: np.ndarray) -> None:
        parts = np.split(values, np.cumsum([tensor.numel() for tensor in tensors])[:-1])
        for tensor, part, scale in zip(tensors, parts, scales, strict=True):
            tensor.copy_(torch.from_numpy(scale * part).view(tensor.shape))

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        put(values)
        with torch.enable_grad():
            picture = document.render(height, width, torch.ones(3))
            error = (picture - target).square().sum()
            slopes: Sequence[Tensor | None] = [None] * len(tensors)
            if error.requires_grad:  # unless a step led all shapes out of sight
                slopes = torch.autograd.grad(error, tensors, allow_unused=True)
        rows = []
        for tensor, slope, scale, alpha in zip(tensors, slopes, scales, alphas, strict=True):
            row = torch.zeros_like(tensor) if slope is None else slope.clone()
            if alpha:
                row[..., 3] = 0
            rows.append(scale * row.double().numpy().ravel())
        return error.item(), np.concatenate(rows)

    for tensor in tensors:
        tensor.requires_grad_(True)
    start = [tensor.detach().double().numpy().ravel() for tensor in tensors]
    begin = np.concatenate([part / scale for part, scale in zip(start, scales, strict=True)])
    bounds = _bounds(tensors, len(found.points), len(found.widths))
    options = {"maxfun": steps, "maxiter": steps, "maxcor": _REMEMBERED}
    result = minimize(loss, begin, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    put(result.x)
    for tensor in tensors:
        tensor.requires_grad_(False)


@torch.no_grad()
def needed(document: Document, image: Float[Tensor, "3 height width"], least: float) -> list[Shape]:
    """The shapes without which the drawing would be farther from an image, the lowest first.

    document: of shapes without groups.
    image: what its whole view box should show, in [0, 1], on white.
    least: pixels from black to white that a shape must bring it nearer.
    """
    target = _target(image)
    kept = list(document.shapes())

    def error(shapes: Sequence[Shape]) -> float:
        shown = replace(document, children=list(shapes))
        picture = shown.render(target.shape[-2], target.shape[-1], torch.ones(3))
        return (picture - target).abs().mean(0).sum().item()

    now = error(kept)
    for shape in list(kept):
        rest = [other for other in kept if other is not shape]
        without = error(rest)
        if without < now + least:
            kept, now = rest, without
    return kept


def _target(image: Float[Tensor, "3 height width"]) -> Float[Tensor, "3 h w"]:
    shrunk = min(1.0, _LARGEST / max(image.shape[-2:]))
    size = [max(1, round(shrunk * side)) for side in image.shape[-2:]]
    return F.interpolate(image[None].float(), size, mode="area")[0].clamp(0, 1)


def _bounds(
    tensors: Sequence[Tensor], points: int, widths: int
) -> list[tuple[float | None, float | None]]:
    """Of each number: places are free, strokes do not vanish, colours are colours."""
    limits: list[tuple[float | None, float | None]] = []
    for number, tensor in enumerate(tensors):
        limit: tuple[float | None, float | None] = (None, None)
        if number >= points + widths:
            limit = (0.0, 1 / _COLOUR)
        elif number >= points:
            limit = (_THINNEST, None)
        limits += [limit] * tensor.numel()
    return limits
