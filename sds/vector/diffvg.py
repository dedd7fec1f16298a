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
from scorefield.sds.vector.nodes import FillRule, Paint
from scorefield.sds.vector.paint import LinearGradient, Spread, Units
from scorefield.sds.vector.scene import Isolated, Layer, Scene, take_apart

__all__ = ["DiffvgRasterise"]


@dataclass(frozen=True)
class DiffvgRasterise:
    """`document.render(height, width, rasterise=DiffvgRasterise())` draws with pydiffvg.

    What pydiffvg cannot draw is refused: shapes faded together, gradients that are not linear with
    padding in user units, gradient strokes (they corrupt its memory) and dashes. Its caps and joins
    are round whatever the document says.

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
        """The picture, premultiplied RGBA in [0, 1]."""
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


def _converted(pydiffvg: Any, scene: Scene) -> tuple[list[Any], list[Any]]:
    """pydiffvg's shapes and groups: one path per subpath, one group per fill or stroke."""
    shapes: list[Any] = []
    groups: list[Any] = []
    for layer in scene.tree:
        if isinstance(layer, Isolated):
            raise ValueError("pydiffvg cannot fade shapes together; drop the opacity of the group")
        filled = layer.index < len(scene.fills)
        shape = scene.shapes[layer.shape]
        if not filled and shape.stroke is not None and shape.stroke.pen.dashes:
            raise ValueError("pydiffvg cannot draw dashes")
        paint = _paint(pydiffvg, layer, filled)
        numbers = []
        for path in _paths(pydiffvg, scene, layer, filled):
            numbers.append(len(shapes))
            shapes.append(path)
        # A fill and a stroke are two groups, drawn in the document's order.
        groups.append(
            pydiffvg.ShapeGroup(
                shape_ids=torch.tensor(numbers),
                fill_color=paint if filled else None,
                stroke_color=None if filled else paint,
                use_even_odd_rule=shape.rule is FillRule.EVEN_ODD,
                shape_to_canvas=_square(scene.matrices[layer.shape]),
            )
        )
    return shapes, groups


def _paths(pydiffvg: Any, scene: Scene, layer: Layer, filled: bool) -> list[Any]:
    shape = scene.shapes[layer.shape]
    topology = shape.geometry.topology
    points = shape.geometry.points()
    control = topology.mix.to(points) @ points[topology.picks.to(points.device).view(-1)].view(
        -1, 4, 2
    )
    width = torch.zeros(()) if filled or shape.stroke is None else shape.stroke.width / 2
    out = []
    for number, closed in enumerate(topology.closed.tolist()):
        own = control[topology.subpath == number]
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


def _paint(pydiffvg: Any, layer: Layer, filled: bool) -> Any:
    paint: Paint = layer.paint
    if isinstance(paint, Tensor):
        colours = paint
    elif (
        filled
        and isinstance(paint, LinearGradient)
        and paint.spread is Spread.PAD
        and paint.units is Units.USER
        and paint.transform is None
    ):
        colours = paint.colours
    else:
        raise ValueError(
            "pydiffvg draws solid strokes, and fills that are solid or a padded linear gradient in "
            "user units without a transform"
        )
    if layer.opacity is not None:
        colours = torch.cat([colours[..., :3], colours[..., 3:] * layer.opacity], dim=-1)
    if isinstance(paint, LinearGradient):
        return pydiffvg.LinearGradient(paint.start, paint.end, paint.offsets, colours)
    return colours


def _square(matrix: Tensor) -> Tensor:
    return torch.cat([matrix, matrix.new_tensor([[0.0, 0.0, 1.0]])])
