"""Images of SVG files by resvg, a renderer that is independent of ours."""

import io

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

__all__ = ["check_resvg", "render_with_resvg"]


def check_resvg() -> None:
    """Raise ValueError unless resvg can be asked."""
    try:
        import resvg_py  # noqa: F401
    except ImportError as error:
        raise ValueError(
            "drawings are judged as resvg renders them, and resvg-py is not installed; "
            "`pip install scorefield[svg]`"
        ) from error


def render_with_resvg(text: str, size: int) -> Float[Tensor, "3 height width"]:
    """The image of an SVG file's text on white, in [0, 1], its longer side of `size` pixels.

    Raises:
        ValueError: resvg-py is not installed.
    """
    check_resvg()
    import resvg_py

    png = resvg_py.svg_to_bytes(
        svg_string=text, width=size, height=size, dpi=96, skip_system_fonts=True
    )
    image = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    pixels = np.array(Image.alpha_composite(white, image).convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
