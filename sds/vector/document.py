"""A vector graphic that is rendered and saved."""

import os
from pathlib import Path as FilePath
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from scorefield.sds.vector.render import rasterise as own_rasterise
from scorefield.sds.vector.svg_write import svg_text
from scorefield.sds.vector.tree import ShapeTree

__all__ = ["Document", "Rasterise"]


@runtime_checkable
class Rasterise(Protocol):
    """What draws a document: `scorefield.sds.vector.rasterise`, or `DiffvgRasterise`."""

    def __call__(
        self, document: "Document", height: int, width: int
    ) -> Float[Tensor, "4 height width"]:
        """The image, premultiplied RGBA in [0, 1]."""
        ...


class Document(ShapeTree):
    """An image made of shapes and groups, the first at the bottom.

    Args:
        children: what is drawn, in order.
        view_box: what is shown.
        size: (width, height) in pixels that a viewer should give it; None: the view box's.
        aspect: SVG's preserveAspectRatio: "none", or xMin|xMid|xMax + YMin|YMid|YMax, followed by
            "meet" or "slice".
        kept: by id, elements of an SVG file that what is not drawn refers to; written back.
    """

    def render(
        self,
        height: int,
        width: int,
        background: Float[Tensor, "3"] | None = None,
        rasterise: Rasterise | None = None,
    ) -> Float[Tensor, "channels height width"]:
        """The image in [0, 1], differentiable in the document's tensors.

        Shapes are laid over each other in sRGB, as browsers and resvg do.

        Args:
            height: in pixels.
            width: in pixels.
            background: RGB (3,); None leaves the background clear.
            rasterise: what draws; None: this library's own rasteriser.

        Returns:
            (3, H, W) on a background, or premultiplied RGBA (4, H, W) without one.
        """
        if height < 1 or width < 1:
            raise ValueError(f"an image has at least 1 x 1 pixels, got {height} x {width}")
        draw: Rasterise = own_rasterise if rasterise is None else rasterise
        image = draw(self, height, width)
        if background is None:
            return image
        return image[:3] + (1 - image[3]) * background.to(image)[:, None, None]

    def save(self, path: str | os.PathLike[str], digits: int = 6) -> FilePath:
        """Write the document as an SVG file, UTF-8; saved again after loading it is the same.

        Args:
            path: of the file; its folder is made.
            digits: significant digits of the numbers, 1 to 6.
        """
        path = FilePath(path)
        text = svg_text(self, digits)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.stem}.part{path.suffix}")
        part.write_text(text, encoding="utf-8")
        # As `scorefield.files` does it, of which this library, complete in itself, imports nothing:
        # killed at any moment, no half of a drawing is left.
        os.replace(part, path)
        return path
