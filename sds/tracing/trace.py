"""An image redrawn with few opaque shapes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from skimage.morphology import skeletonize
from torch import Tensor

from scorefield.sds.tracing.colour_names import colour_name
from scorefield.sds.tracing.curves import Points, area, circle_of, fit_chain, fit_loop, outlines
from scorefield.sds.tracing.palette import Labelled, label_pixels
from scorefield.sds.tracing.polish import needed, polish
from scorefield.sds.tracing.regions import Region, layered, regions_of
from scorefield.sds.tracing.settings import TraceSettings
from scorefield.sds.vector import (
    Cap,
    Circle,
    Document,
    Ellipse,
    FillRule,
    Group,
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

__all__ = ["trace_image"]

_SMALLEST_HOLE = 3.0  # area, square pixels of the enlarged image
_LINE = 4.0  # a line is so many times longer than it is wide


def trace_image(
    image: Float[Tensor, "3 height width"], settings: TraceSettings | None = None
) -> Document:
    """Redraws an image with few opaque shapes: a flat palette, its regions as layers, few cubics.

    Round regions become circles and ellipses, thin ones of even width strokes, and neighbours with
    a soft border one shape with a linear gradient. The ground is not drawn where it is white or
    transparent, unless asked for. The view box is that of `settings.side`.

    Args:
        image: in [0, 1]; what is transparent should be white.
        settings: how few colours and nodes.

    Raises:
        ValueError: the image has fewer than 8 pixels along a side.
    """
    settings = settings or TraceSettings()
    if min(image.shape[-2:]) < 8:
        raise ValueError(
            f"an image needs 8 pixels along each side to be traced; got {tuple(image.shape[-2:])}"
        )
    labelled = label_pixels(image, settings.colours)
    height, width = labelled.labels.shape
    unit = settings.side / max(height, width)
    underlap = max(2, round(0.75 * labelled.scale))
    layers = layered(regions_of(labelled, settings.paths, settings.faint), underlap)
    inks = {id(layer.colour): _rgba(layer.colour) for layer in layers}
    drawn = [(_shape(layer, inks, settings, unit), layer) for layer in layers]
    shapes = [(shape, layer.mask) for shape, layer in drawn if shape is not None]
    ground = _ground(labelled, settings, unit)
    box = ViewBox(0, 0, round(width * unit, 1), round(height * unit, 1))
    document = Document([*ground, *(shape for shape, _ in shapes)], box, size=(width, height))
    if settings.polish_steps and shapes:
        first = settings.polish_steps // 2
        polish(document, image, first)
        kept = set(map(id, needed(document, image, settings.faint / 2)))
        shapes = [(shape, mask) for shape, mask in shapes if id(shape) in kept]
        document.children = [*ground, *(shape for shape, _ in shapes)]
        polish(document, image, settings.polish_steps - first)
    return replace(document, children=[*ground, *_grouped(shapes)])


def _ground(labelled: Labelled, settings: TraceSettings, unit: float) -> list[Shape]:
    if labelled.ground is None:
        return []
    colour = labelled.colours[labelled.ground]
    if colour.min() > 0.97 and not settings.background:
        return []
    height, width = labelled.labels.shape
    size = torch.tensor([float(width * unit), float(height * unit)])
    return [Shape(Rect(torch.zeros(2), size), fill=_rgba(colour), name="background")]


def _shape(
    layer: Region, inks: Mapping[int, Tensor], settings: TraceSettings, unit: float
) -> Shape | None:
    loops = [loop for loop in outlines(layer.mask) if area(loop) >= _SMALLEST_HOLE]
    if not loops:
        return None
    paint = _paint(layer, inks, unit)
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
    if layer.wide is not None and (layer.wide != layer.mask).any():
        wider = [loop for loop in outlines(layer.wide) if area(loop) >= _SMALLEST_HOLE]
        simpler = [fit_loop(loop, settings.tolerance) for loop in wider]
        if sum(len(inner) for _, inner in simpler) <= sum(len(inner) for _, inner in fitted):
            fitted = simpler
    vertices = _tensor(np.concatenate([points for points, _ in fitted])) * unit
    subpaths = [Subpath(inner, closed=True) for _, inner in fitted]
    rule = FillRule.EVEN_ODD if len(fitted) > 1 else FillRule.NON_ZERO
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


def _paint(layer: Region, inks: Mapping[int, Tensor], unit: float) -> Tensor | LinearGradient:
    if layer.ends is None:
        return inks[id(layer.colour)]
    points, colours = layer.ends
    if np.linalg.norm(colours[1] - colours[0]) < 0.05:
        return _rgba(colours.mean(axis=0))
    start, end = (_tensor(point * unit) for point in points)
    stops = torch.stack([_rgba(colour) for colour in colours])
    return LinearGradient(start, end, torch.tensor([0.0, 1.0]), stops)


def _grouped(shapes: Sequence[tuple[Shape, Bool[np.ndarray, "h w"]]]) -> list[Shape | Group]:
    """Shapes of one colour together where nothing lies between them, each group named by it."""
    above = [
        [other for other in range(number) if (shapes[other][1] & mask).any()]
        for number, (_, mask) in enumerate(shapes)
    ]
    placed: set[int] = set()
    runs: list[list[Shape]] = []
    while len(placed) < len(shapes):
        free = [k for k in range(len(shapes)) if k not in placed and placed.issuperset(above[k])]
        alike = [k for k in free if runs and _look(shapes[k][0]) == _look(runs[-1][0])]
        chosen = (alike or free)[0]
        placed.add(chosen)
        if not alike:
            runs.append([])
        runs[-1].append(shapes[chosen][0])
    counts: dict[str, int] = {}
    children: list[Shape | Group] = []
    for run in runs:
        paint = run[0].stroke.paint if run[0].stroke is not None else run[0].fill
        colour = paint if isinstance(paint, Tensor) else paint.colours.mean(0)  # type: ignore[union-attr]
        name = colour_name(colour[:3].tolist())
        counts[name] = counts.get(name, 0) + 1
        name = name if counts[name] == 1 else f"{name}-{counts[name]}"
        if len(run) == 1:
            run[0].name = name
            children.append(run[0])
        else:
            children.append(Group(list(run), name=name))
    return children


def _look(shape: Shape) -> tuple[int, int]:
    """What shapes of one colour share: the very tensor of their fill or stroke."""
    return id(shape.fill), id(shape.stroke and shape.stroke.paint)


def _rgba(colour: Float[np.ndarray, "3"]) -> Tensor:
    return torch.tensor([*np.clip(colour, 0, 1), 1.0], dtype=torch.float32)


def _tensor(points: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(points)).float()
