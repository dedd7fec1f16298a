"""How much there is of a drawing: shapes, nodes, bytes, and ink that lets others show through."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from scorefield.sds.vector import (
    Document,
    Group,
    LinearGradient,
    Path,
    Polyline,
    RadialGradient,
    Shape,
    parse_svg,
)

__all__ = ["economy"]

SIZE = 128
"""Longer side of the image in which ink is counted, pixels."""

_OPAQUE = 0.95


def economy(text: str) -> dict[str, Any]:
    """What a designer would count in an SVG file: "paths", "nodes", "bytes" and "half_ink".

    "paths" are all shapes and "nodes" their points without handles, both without a shape named
    "background"; "half_ink" is the share of the inked pixels whose topmost shape is less than
    0.95 opaque.

    Raises:
        ValueError: the text is no SVG.
    """
    document = parse_svg(text)
    document.children = [child for child in document.children if child.name != "background"]
    return {
        "paths": len(list(document.shapes())),
        "nodes": sum(_nodes(shape) for shape in document.shapes()),
        "bytes": len(text.encode()),
        "half_ink": _half_ink(document),
    }


def _nodes(shape: Shape) -> int:
    match shape.geometry:
        case Path(subpaths=subpaths):
            return sum(len(one.inner) + (not one.closed) for one in subpaths)
        case Polyline(vertices=vertices):
            return len(vertices)
    return 4


@torch.no_grad()
def _half_ink(document: Document) -> float:
    box = document.view_box
    scale = SIZE / max(box.width, box.height)
    height, width = (max(1, round(scale * side)) for side in (box.height, box.width))
    topmost = torch.ones(height, width)
    inked = torch.zeros(height, width, dtype=torch.bool)
    for alone, opacity in _alone(document.children):
        alpha = replace(document, children=[alone]).render(height, width)[3]
        covered = alpha > 0.5 * alpha.max().clamp_min(1e-3)
        topmost[covered] = opacity
        inked |= covered
    return float((topmost[inked] < _OPAQUE).float().mean()) if inked.any() else 0.0


def _alone(nodes: Sequence[Shape | Group]) -> list[tuple[Shape | Group, float]]:
    """Each shape by itself within its groups, the lowest first, and how opaque it is there."""
    found: list[tuple[Shape | Group, float]] = []
    for node in nodes:
        own = 1.0 if node.opacity is None else float(node.opacity)
        if isinstance(node, Shape):
            found.append((node, own * _alpha(node)))
        else:
            inner = _alone(node.children)
            found += [(replace(node, children=[one]), own * alpha) for one, alpha in inner]
    return found


def _alpha(shape: Shape) -> float:
    """Of the most opaque of its paints."""
    paints = [shape.fill, None if shape.stroke is None else shape.stroke.paint]
    alphas = [0.0]
    for paint in paints:
        if isinstance(paint, Tensor):
            alphas.append(float(paint[3]))
        elif isinstance(paint, LinearGradient | RadialGradient):
            alphas.append(float(paint.colours[:, 3].max()))
        elif paint is not None:
            alphas.append(1.0 if paint.opacity is None else float(paint.opacity))
    return max(alphas)
