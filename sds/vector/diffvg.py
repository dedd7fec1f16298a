"""The rasteriser of pydiffvg (Li et al. 2020), where it is installed.

It is not on a package index: it is built from github.com/BachiLi/diffvg.
"""

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.sds.vector.document import Document
from scorefield.sds.vector.nodes import FillRule, Paint, Shape
from scorefield.sds.vector.paint import LinearGradient, Spread, Units
from scorefield.sds.vector.scene import Isolated, Layer, RenderTree, composed_affine, take_apart

__all__ = ["DiffvgRasterise"]


@dataclass(frozen=True)
class DiffvgRasterise:
    """`document.render(height, width, rasterise=DiffvgRasterise())` draws with pydiffvg.

    What pydiffvg cannot draw is refused: shapes faded, clipped or masked together, gradients that
    are not linear with padding in user units, gradient strokes (they corrupt its memory), dashes,
    and strokes that a transform stretches. Its caps and joins are round whatever the document says.

    Args:
        samples: per pixel and axis.
        seed: of the sampling, forward and backward.

    Raises:
        ValueError: if pydiffvg is not installed, or the document holds what it cannot draw.
    """

    samples: int = 2
    seed: int = 0

    def __call__(
        self, document: Document, height: int, width: int
    ) -> Float[Tensor, "4 height width"]:
        """The image, premultiplied RGBA in [0, 1]."""
        pydiffvg = _library()
        scene = take_apart(document.children, document.placement(height, width))
        shapes, groups = _converted(pydiffvg, scene)
        if not shapes:
            return torch.zeros(4, height, width)
        arguments = pydiffvg.RenderFunction.serialize_scene(width, height, shapes, groups)
        image: Tensor = pydiffvg.RenderFunction.apply(
            width, height, self.samples, self.samples, self.seed, None, *arguments
        )
        rgba = image.permute(2, 0, 1)
        return torch.cat([rgba[:3] * rgba[3:], rgba[3:]])


def _library() -> ModuleType:
    try:
        import pydiffvg
    except ImportError as error:
        raise ValueError(
            "pydiffvg is not installed; build it from github.com/BachiLi/diffvg, or leave out "
            "`rasterise` to use the built-in rasteriser"
        ) from error
    module: ModuleType = pydiffvg
    return module


def _converted(pydiffvg: Any, scene: RenderTree) -> tuple[list[Any], list[Any]]:
    """pydiffvg's shapes and groups: one path per subpath, one group per fill or stroke.

    Everything is in pixels: under any other `shape_to_canvas` than the identity pydiffvg's
    gradients of points are wrong by the square of the scale, and its gradients land elsewhere.
    """
    shapes: list[Any] = []
    groups: list[Any] = []
    for layer in scene.tree:
        if isinstance(layer, Isolated):
            raise ValueError(
                "pydiffvg cannot fade, clip, mask or blend shapes together; drop the group's "
                "opacity, masks and blend mode"
            )
        filled = layer.index < len(scene.fills)
        shape, matrix = scene.shapes[layer.shape], scene.matrices[layer.shape]
        if not filled and shape.stroke is not None and shape.stroke.pen.dashes:
            raise ValueError("pydiffvg cannot draw dashes")
        paint = _paint(pydiffvg, layer, filled, matrix)
        numbers = []
        for path in _paths(pydiffvg, shape, matrix, filled):
            numbers.append(len(shapes))
            shapes.append(path)
        # A fill and a stroke are two groups, drawn in the document's order.
        groups.append(
            pydiffvg.ShapeGroup(
                shape_ids=torch.tensor(numbers),
                fill_color=paint if filled else None,
                stroke_color=None if filled else paint,
                use_even_odd_rule=shape.rule is FillRule.EVEN_ODD,
                shape_to_canvas=torch.eye(3),
            )
        )
    return shapes, groups


def _paths(pydiffvg: Any, shape: Shape, matrix: Tensor, filled: bool) -> list[Any]:
    """The subpaths in pixels, as cubics; those of a fill are closed."""
    topology = shape.geometry.topology
    points = shape.geometry.points()
    points = points @ matrix[:, :2].T.to(points) + matrix[:, 2].to(points)
    control = topology.mix.to(points) @ points[topology.picks.to(points.device).view(-1)].view(
        -1, 4, 2
    )
    width = torch.zeros(())
    if not filled and shape.stroke is not None:
        width = shape.stroke.width / 2 * _scale(matrix)
    out = []
    for number, closed in enumerate(topology.closed.tolist()):
        own = control[topology.subpath == number]
        begin, end = own[0, 0], own[-1, 3]
        if filled and not closed:
            closed = True
            if bool((begin != end).any()):
                share = torch.linspace(0, 1, 4).to(own)[:, None]
                own = torch.cat([own, torch.lerp(end, begin, share)[None]])
        vertices = own[:, :3].reshape(-1, 2)
        if not closed:
            vertices = torch.cat([vertices, own[-1, 3:]])
        out.append(
            pydiffvg.Path(
                num_control_points=torch.full((len(own),), 2, dtype=torch.int32),
                points=vertices.contiguous(),
                is_closed=closed,
                stroke_width=width,
            )
        )
    return out


def _scale(matrix: Tensor) -> Tensor:
    """Pixels per unit of a map that stretches all directions alike."""
    first, second = matrix[:, 0], matrix[:, 1]
    most = float((first.norm() * second.norm()).detach())
    skewed = abs(float((first @ second).detach())) > 1e-3 * most
    if skewed or abs(float((first.norm() - second.norm()).detach())) > 1e-3 * most**0.5:
        raise ValueError("pydiffvg cannot draw strokes that a transform stretches or skews")
    return matrix[:, :2].det().abs().sqrt()


def _paint(pydiffvg: Any, layer: Layer, filled: bool, matrix: Tensor) -> Any:
    paint: Paint = layer.paint
    if isinstance(paint, Tensor):
        colours = paint
    elif (
        filled
        and isinstance(paint, LinearGradient)
        and paint.spread is Spread.PAD
        and paint.units is Units.USER
    ):
        colours = paint.colours
    else:
        raise ValueError(
            "pydiffvg draws solid strokes, and fills that are solid or a padded linear gradient in "
            "user units"
        )
    if layer.opacity is not None:
        colours = torch.cat([colours[..., :3], colours[..., 3:] * layer.opacity], dim=-1)
    if isinstance(paint, LinearGradient):
        begin, end = _ends(paint, composed_affine(matrix, paint.transform))
        return pydiffvg.LinearGradient(begin, end, paint.offsets, colours)
    return colours


def _ends(paint: LinearGradient, matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Where a gradient begins and ends in pixels.

    Its position is t = <A^-1 (p - b) - start, d> / |d|^2, so it grows along A^-T d: under a map
    that does not keep right angles the end is not the image of the end.
    """
    linear, shift = matrix[:, :2].to(paint.start), matrix[:, 2].to(paint.start)
    along = paint.end - paint.start
    slope = torch.linalg.solve(linear.T, along / along.square().sum().clamp_min(1e-20))
    begin = linear @ paint.start + shift
    return begin, begin + slope / slope.square().sum().clamp_min(1e-20)
