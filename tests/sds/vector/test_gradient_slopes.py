"""Gradients beside finite differences of resvg and of our own image, both drawn much larger.

At the image's own size resvg is no measure of a gradient: it counts samples, so its differences are
mostly rounding, and it draws lines thinner than a pixel a pixel wide and paler. The two sides of a
thin line cancel but for little, so resvg is asked for one of 48 times the size.
"""

import io

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from scorefield.sds.vector import Cap, Document, Join, Path, Pen, Shape, Stroke, ViewBox
from scorefield.sds.vector.svg_write import svg_text

pytest.importorskip("resvg_py")


def by_resvg(document: Document, size: int) -> Tensor:
    """Premultiplied RGBA."""
    import resvg_py

    png = resvg_py.svg_to_bytes(svg_string=svg_text(document), width=size, height=size, dpi=96)
    image = np.array(Image.open(io.BytesIO(bytes(png))).convert("RGBA"))
    rgba = torch.from_numpy(image).permute(2, 0, 1).float() / 255
    return torch.cat([rgba[:3] * rgba[3:], rgba[3:]])


def scene(seed: int, width: float, size: int) -> Document:
    """A ring of four cubics, or a chain of two cubics drawn with a pen."""
    generator = torch.Generator().manual_seed(seed)
    centre = 0.2 + 0.6 * torch.rand(2, generator=generator)
    points = size * (centre + 0.3 * (2 * torch.rand(12, 2, generator=generator) - 1))
    paint = torch.cat([torch.rand(3, generator=generator), torch.ones(1)])
    shape = Shape(Path.closed(points), fill=paint)
    if width:
        stroke = Stroke(paint, torch.tensor(width), Pen(Cap.ROUND, Join.ROUND))
        shape = Shape(Path.open(points[:7].clone()), stroke=stroke)
    return Document([shape], ViewBox(0, 0, size, size))


def pairs(seed: int, width: float, size: int, fine: int, resvg: bool) -> tuple[Tensor, Tensor]:
    """Gradient and central differences of a mean squared error by all points."""
    document = scene(seed, width, size)
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 4, 6, 6, generator=generator)
    target = F.interpolate(coarse, size=size, mode="bicubic")[0]
    tensors = document.parameters().points
    for tensor in tensors:
        tensor.requires_grad_()
    (document.render(size, size) - target).square().mean().backward()
    for tensor in tensors:
        tensor.requires_grad_(False)

    def loss() -> float:
        side = fine * size
        image = by_resvg(document, side) if resvg else document.render(side, side)
        return float((F.avg_pool2d(image[None], fine)[0] - target).double().square().mean())

    differences, step = [], 0.05
    for flat in (tensor.view(-1) for tensor in tensors):
        for i in range(len(flat)):
            kept = float(flat[i])
            flat[i] = kept + step
            above = loss()
            flat[i] = kept - step
            differences.append((above - loss()) / (2 * step))
            flat[i] = kept
    return torch.cat([t.grad.flatten() for t in tensors]), torch.tensor(differences)


def check(width: float, size: int, fine: int, resvg: bool, seeds: range) -> None:
    found = [pairs(seed, width, size, fine, resvg) for seed in seeds]
    gradient, differences = (torch.cat([pair[i] for pair in found]) for i in (0, 1))
    dot = float(gradient @ differences)
    slope = dot / float(differences.square().sum())
    cosine = float(F.cosine_similarity(gradient, differences, dim=0))
    print(f"width {width} of {size}: slope {slope:.3f}, cosine {cosine:.4f}")
    assert 0.95 <= slope <= 1.05, (slope, cosine)
    assert cosine >= 0.99, (slope, cosine)


@pytest.mark.slow
@pytest.mark.parametrize("resvg", [True, False])
@pytest.mark.parametrize("width", [0.0, 0.2, 0.5, 0.8])
def test_gradients_have_the_slope_of_differences(width: float, resvg: bool) -> None:
    """Fills (no width) on 50 x 50 pixels, and strokes thinner than a pixel on 32 x 32."""
    if width:
        check(width, 32, 48 if resvg else 8, resvg, range(11, 14))
    else:
        check(width, 50, 16 if resvg else 8, resvg, range(11, 14))
