"""Layers over each other, premultiplied, in sRGB."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.sds.vector.blending import BlendMode, blended

__all__ = ["Box", "Coat", "paint_over"]

Box = tuple[int, int, int, int]  # first column, first row, one past the last column and row


class Coat(NamedTuple):
    """One layer on its box of the canvas.

    paint: premultiplied RGBA, one colour (4,) or an image (4, height, width) of the box.
    coverage: (height, width) of the box, or None for 1.
    mode: how its colours mix with those below; an image, unless NORMAL.
    """

    paint: Tensor
    box: Box
    coverage: Tensor | None
    mode: BlendMode = BlendMode.NORMAL


class _PaintOver(torch.autograd.Function):
    """B <- B + c (p - a B) for each layer in turn, on its box only.

    c is the layer's coverage, p its paint and a the paint's alpha. What a layer covers is kept for
    the way back: d c = <g, p - a B>, d p = c g, d a -= c <g, B>, d B = (1 - a c) g; d p and d a are
    summed over the box for a single colour.
    """

    @staticmethod
    def forward(
        ctx: Any, canvas: Tensor, boxes: Sequence[Box], count: int, *tensors: Tensor | None
    ) -> Tensor:
        canvas = canvas.clone()
        below = []
        for (x0, y0, x1, y1), p, c in zip(boxes, tensors[:count], tensors[count:], strict=True):
            assert p is not None
            part = canvas[:, y0:y1, x0:x1]
            old = part.clone()
            below.append(old)
            if p.dim() == 1:
                p = p[:, None, None]
            change = torch.addcmul(p, old, p[3:], value=-1)
            if c is None:
                part.add_(change)
            else:
                part.addcmul_(change, c)
        ctx.save_for_backward(*tensors, *below)
        ctx.boxes, ctx.count = boxes, count
        return canvas

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        count, saved = ctx.count, ctx.saved_tensors
        paints, coverage, below = saved[:count], saved[count : 2 * count], saved[2 * count :]
        grad = grad.clone()
        by_paint: list[Tensor | None] = [None] * count
        by_coverage: list[Tensor | None] = [None] * count
        needs = ctx.needs_input_grad[3:]
        for i in reversed(range(count)):
            x0, y0, x1, y1 = ctx.boxes[i]
            part = grad[:, y0:y1, x0:x1]
            p, c = paints[i], coverage[i]
            flat = part.reshape(4, -1)
            under = (flat * below[i].view(4, -1)).sum(dim=0)
            if p.dim() == 1:
                weight = None if c is None else c.reshape(-1)
                if needs[i]:
                    total = flat.sum(dim=1) if weight is None else flat @ weight
                    total[3] -= under.sum() if weight is None else under @ weight
                    by_paint[i] = total
                if c is not None and needs[count + i]:
                    by_coverage[i] = torch.sub(p @ flat, p[3] * under).view(c.shape)
                alpha = p[3]
            else:
                under = under.view(p.shape[1:])
                alpha = p[3]
                if needs[i]:
                    own = part.clone() if c is None else part * c
                    own[3] -= under if c is None else under * c
                    by_paint[i] = own
                if c is not None and needs[count + i]:
                    by_coverage[i] = (part * p).sum(dim=0) - alpha * under
            part.mul_(1 - alpha if c is None else torch.mul(c, -alpha).add_(1))
        return grad, None, None, *by_paint, *by_coverage


def paint_over(
    canvas: Float[Tensor, "4 height width"], coats: Sequence[Coat]
) -> Float[Tensor, "4 height width"]:
    """Layers over a premultiplied canvas, the first lowest, each within its box."""
    plain: list[Coat] = []
    for coat in coats:
        if coat.mode is BlendMode.NORMAL:
            plain.append(coat)
        else:
            canvas = _blend(_paint(canvas, plain), coat)
            plain = []
    return _paint(canvas, plain)


def _blend(canvas: Tensor, coat: Coat) -> Tensor:
    x0, y0, x1, y1 = coat.box
    paint = coat.paint if coat.coverage is None else coat.paint * coat.coverage
    out = canvas.clone()
    out[:, y0:y1, x0:x1] = blended(canvas[:, y0:y1, x0:x1], paint, coat.mode)
    return out


def _paint(canvas: Tensor, coats: Sequence[Coat]) -> Tensor:
    if not coats:
        return canvas
    boxes = [coat.box for coat in coats]
    paints = [coat.paint for coat in coats]
    covers = [coat.coverage for coat in coats]
    out: Tensor = _PaintOver.apply(canvas, boxes, len(coats), *paints, *covers)
    return out
