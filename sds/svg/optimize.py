"""The drawing that is delivered: without what cannot be seen."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.sds.svg.drawing import WHITE
from scorefield.sds.vector import Document, Group, Rect, Shape

__all__ = ["on_white", "optimized"]

SIZE = 128
"""Side of the images in which shapes are looked for, pixels."""


@torch.no_grad()
def optimized(document: Document, least: float = 3e-4) -> Document:
    """A copy for people, without the shapes that nobody misses.

    Shape by shape, beginning with the lowest, it is left out if the image on white without it
    differs by less than `least`, a mean over pixels and channels in [0, 1]. Only shapes outside of
    groups are looked at. Tensors are shared.
    """
    children = list(document.children)
    image = _image(document, children)
    for child in document.children:
        if not isinstance(child, Shape):
            continue
        rest = [other for other in children if other is not child]
        without = _image(document, rest)
        if (without - image).abs().mean() < least:
            children, image = rest, without
    return replace(document, children=children)


def on_white(document: Document) -> Document:
    """A copy with a white ground, a shape "background" that can be taken away."""
    x, y, width, height = (float(number) for number in document.view_box)
    corner, size = torch.tensor([x, y]), torch.tensor([width, height])
    ground = Shape(Rect(corner, size), fill=torch.ones(4), name="background")
    return replace(document, children=[ground, *document.children])


def _image(document: Document, children: list[Shape | Group]) -> Float[Tensor, "3 size size"]:
    shown = replace(document, children=children)
    return shown.render(SIZE, SIZE, WHITE).cpu()
