"""A picture redrawn with few opaque shapes."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from scipy import ndimage
from skimage.morphology import skeletonize
from torch import Tensor

from scorefield.sds.svg.drawing import Drawing, Rates
from scorefield.sds.tracing.colour_names import colour_name
from scorefield.sds.tracing.curves import Points, area, circle_of, fit_chain, fit_loop, outlines
from scorefield.sds.tracing.palette import Labelled, label_pixels
from scorefield.sds.tracing.regions import Region, layered, regions_of
from scorefield.sds.tracing.settings import TraceSettings
from scorefield.sds.vector import (
    Cap,
    Circle,
    Document,
    Ellipse,
    FillRule,
    Join,
    LinearGradient,
    Path,
    Pen,
    Rect,
    Shape,
    Stroke,
    ViewBox,
)
from scorefield.sds.vector.geometry import Subpath

__all__ = ["trace_picture"]

_POLISHED = 128
"""Longer side of the drawing in the polish, pixels."""

_RATES = Rates(points=0.5, widths=0.2, colours=0.004)
_SMALLEST_HOLE = 3.0  # area, square pixels of the enlarged picture
_LINE = 4.0  # a line is so many times longer than it is wide


def trace_picture(
    image: Float[Tensor, "3 height width"], settings: TraceSettings | None = None
) -> Document:
    """Redraws a picture with few opaque shapes: a flat palette, its regions as layers, few cubics.

    Round regions become circles and ellipses, thin ones of even width strokes, and neighbours with
    a soft border one shape with a linear gradient. The ground is not drawn where it is white or
    transparent, unless asked for. The view box is that of `settings.side`.

    Args:
        image: in [0, 1]; what is transparent should be white.
        settings: how few colours and nodes.

    Raises:
        ValueError: the picture has fewer than 8 pixels along a side.
    """
    settings = settings or TraceSettings()
    if min(image.shape[-2:]) < 8:
        raise ValueError(
            f"a picture needs 8 pixels along each side to be traced; got {tuple(image.shape[-2:])}"
        )
    labelled = label_pixels(image, settings.colours)
    height, width = labelled.labels.shape
    unit = settings.side / max(height, width)
    underlap = max(2, round(0.75 * labelled.scale))
    layers = layered(regions_of(labelled), underlap)
    shapes = [shape for layer in layers if (shape := _shape(layer, settings, unit)) is not None]
    ground = _ground(labelled, settings, unit)
    box = ViewBox(0, 0, round(width * unit, 1), round(height * unit, 1))
    document = Document([*ground, *shapes], box, size=(box.width, box.height))
    if settings.polish_steps and shapes:
        polish(document, image, settings.polish_steps)
    _tidy(document)
    return document


def polish(document: Document, image: Float[Tensor, "3 height width"], steps: int) -> None:
    """Moves and recolours the shapes towards the picture, by gradients of our own renderer."""
    high, wide = image.shape[-2:]
    # Each pixel of the picture is the mean of those that the drawing has there.
    samples = max(1, _POLISHED // max(high, wide))
    shrunk = min(1.0, _POLISHED / max(high, wide))
    size = max(1, round(shrunk * high)), max(1, round(shrunk * wide))
    target = F.interpolate(image[None].float(), size, mode="area")[0].clamp(0, 1)
    drawing = Drawing(document, _RATES, opaque=True)
    for step in range(steps):
        picture = document.render(samples * size[0], samples * size[1], torch.ones(3))
        loss = (F.avg_pool2d(picture[None], samples)[0] - target).square().mean()
        drawing.update(loss, 0.5 * (1 + math.cos(math.pi * step / steps)))


def _ground(labelled: Labelled, settings: TraceSettings, unit: float) -> list[Shape]:
    if labelled.ground is None:
        return []
    colour = labelled.colours[labelled.ground]
    if colour.min() > 0.97 and not settings.background:
        return []
    height, width = labelled.labels.shape
    size = torch.tensor([float(width * unit), float(height * unit)])
    return [Shape(Rect(torch.zeros(2), size), fill=_rgba(colour), name="background")]


def _shape(layer: Region, settings: TraceSettings, unit: float) -> Shape | None:
    loops = [loop for loop in outlines(layer.mask) if area(loop) >= _SMALLEST_HOLE]
    if not loops:
        return None
    paint = _paint(layer, unit)
    line = _line(layer.mask, settings.tolerance)
    if line is not None and isinstance(paint, Tensor):
        points, segments, width = line
        pen = Pen(cap=Cap.ROUND, join=Join.ROUND)
        stroke = Stroke(paint, torch.tensor(float(width * unit)), pen)
        path = Path(_tensor(points) * unit, (Subpath(segments),))
        return Shape(path, stroke=stroke)
    circle = circle_of(loops)
    if circle is not None:
        x, y, rx, ry = (float(value * unit) for value in circle)
        centre = torch.tensor([x, y])
        if abs(rx - ry) < 0.06 * max(rx, ry):
            return Shape(Circle(centre, torch.tensor((rx + ry) / 2)), fill=paint)
        return Shape(Ellipse(centre, torch.tensor([rx, ry])), fill=paint)
    fitted = [fit_loop(loop, settings.tolerance) for loop in loops]
    vertices = _tensor(np.concatenate([points for points, _ in fitted])) * unit
    subpaths = [Subpath(inner, closed=True) for _, inner in fitted]
    rule = FillRule.EVEN_ODD if len(loops) > 1 else FillRule.NON_ZERO
    return Shape(Path(vertices, tuple(subpaths)), fill=paint, rule=rule)


def _line(
    mask: Bool[np.ndarray, "h w"], tolerance: float
) -> tuple[Points, tuple[int, ...], float] | None:
    """Points, segments and width of the line that a thin mask of even width is, if it is one."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    if depth.max() > 12:  # a cheap look first: it is no line
        return None
    bones = skeletonize(mask)
    neighbours = ndimage.convolve(bones.astype(int), np.ones((3, 3), int), mode="constant") - 1
    ends = np.argwhere(bones & (neighbours == 1))
    if len(ends) != 2 or (bones & (neighbours > 3)).any():
        return None
    widths = 2 * depth[bones] - 1
    width = float(np.median(widths))
    length = float(bones.sum())
    middle = widths[(widths > 0.5 * width)]
    if length < _LINE * width or middle.std() > 0.2 * width:
        return None
    if abs(mask.sum() - (length + width) * width) > 0.3 * mask.sum():
        return None
    path = _walked(bones, (int(ends[0][0]), int(ends[0][1])))
    if len(path) < 0.9 * bones.sum():
        return None
    centre = path[::2] + 0.5
    fitted = fit_chain(centre, tolerance)
    points = np.concatenate([centre[:1], *fitted])
    return points, tuple(len(segment) - 1 for segment in fitted), width


def _walked(bones: Bool[np.ndarray, "h w"], start: tuple[int, int]) -> Points:
    """The pixels of a skeleton from an end to the other, (x, y)."""
    left = {(int(y), int(x)) for y, x in np.argwhere(bones)}
    here, path = start, [start]
    left.discard(start)
    while True:
        near = [
            (here[0] + dy, here[1] + dx)
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
            if (here[0] + dy, here[1] + dx) in left
        ]
        if not near:
            return np.array(path, float)[:, ::-1]
        here = min(near, key=lambda p: abs(p[0] - here[0]) + abs(p[1] - here[1]))
        left.discard(here)
        path.append(here)


def _paint(layer: Region, unit: float) -> Tensor | LinearGradient:
    if layer.ends is None:
        return _rgba(layer.colour)
    points, colours = layer.ends
    if np.linalg.norm(colours[1] - colours[0]) < 0.05:
        return _rgba(colours.mean(axis=0))
    start, end = (_tensor(point * unit) for point in points)
    stops = torch.stack([_rgba(colour) for colour in colours])
    return LinearGradient(start, end, torch.tensor([0.0, 1.0]), stops)


@torch.no_grad()
def _tidy(document: Document) -> None:
    """Rounds what is written to a tenth, and names each shape by its colour."""
    found = document.parameters()
    for tensor in (*found.points, *found.widths):
        tensor.copy_((10 * tensor).round() / 10)
        tensor.requires_grad_(False)
    for tensor in found.colours:
        tensor.requires_grad_(False)
    counts: dict[str, int] = {}
    for shape in document.shapes():
        if shape.name is not None:
            continue
        paint = shape.stroke.paint if shape.stroke is not None else shape.fill
        colour = paint if isinstance(paint, Tensor) else paint.colours.mean(0)  # type: ignore[union-attr]
        name = colour_name(colour[:3].tolist())
        counts[name] = counts.get(name, 0) + 1
        shape.name = name if counts[name] == 1 else f"{name}-{counts[name]}"


def _rgba(colour: Float[np.ndarray, "3"]) -> Tensor:
    return torch.tensor([*np.clip(colour, 0, 1), 1.0], dtype=torch.float32)


def _tensor(points: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(points)).float()
