"""A finished drawing: SVG, PNG and the animation of its making."""

import os
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.files import write_text
from scorefield.images import load_image, save_gif, save_image
from scorefield.sds.svg.drawing import WHITE
from scorefield.sds.tracing.clean_file import clean_svg
from scorefield.sds.vector import Document

__all__ = ["export_drawing"]

_DIGITS = 4
"""Of the numbers in final.svg: a tenth of a unit where the view box is 600 wide."""

_HOLD = 12
"""Frames that the animation's end is shown for."""


@torch.no_grad()
def export_drawing(
    document: Document,
    folder: str | os.PathLike[str],
    *,
    size: int = 512,
    traced: Float[Tensor, "3 h w"] | None = None,
    title: str | None = None,
) -> dict[str, Path]:
    """Write `final.svg`, `final.png` and, from the folder's previews, `making.gif`.

    `final.svg` is rounded, and `final.png` is the image of it. The sample that was traced is
    `traced.png`.

    Args:
        document: the drawing as it is delivered (see `optimized`).
        folder: where; made if missing.
        size: longer side of `final.png`, pixels.
        traced: the sample that the drawing began with, if there was one.
        title: what it shows, for a file that a designer opens (see `clean_svg`); None writes the
            document as it is.

    Returns:
        The written files by what they are: "svg", "png" and, where there are any, "making" and
        "traced".
    """
    folder = Path(folder)
    box = document.view_box
    height, width = (
        max(1, round(size * side / max(box.width, box.height))) for side in (box.height, box.width)
    )
    svg = folder / "final.svg"
    if title is None:
        document.save(svg, digits=_DIGITS)
    else:
        write_text(svg, clean_svg(document, title))
    written = {
        "svg": svg,
        "png": save_image(folder / "final.png", document.render(height, width, WHITE).cpu()),
    }
    previews = sorted((folder / "previews").glob("*.png"))
    if previews:
        frames = torch.stack([load_image(path) for path in previews])
        still = frames[-1:].expand(_HOLD, -1, -1, -1)
        written["making"] = save_gif(folder / "making.gif", torch.cat([frames, still]))
    if traced is not None:
        written["traced"] = save_image(folder / "traced.png", traced)
    return written
