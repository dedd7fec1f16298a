"""Speed of the vector rasteriser, and its ratio to diffvg's where pydiffvg is importable.

    OMP_NUM_THREADS=1 python benchmarks/vector.py

64 closed fills of four cubics each, alpha 0.8, random inside a fifth of the image around random
centres, mean squared error against noise; CPU milliseconds of all threads, medians. diffvg draws
the same document with 2 x 2 samples a pixel. One thread: the operations are many and small, and
waiting threads count as CPU time.
"""

import statistics
import time

import torch

from scorefield.sds.vector import DiffvgRasterise, Document, Group, Path, Shape, ViewBox
from scorefield.sds.vector.document import Rasterise

PATHS, RADIUS = 64, 0.2


def scene(size: int, seed: int = 0) -> Document:
    """Random closed paths."""
    generator = torch.Generator().manual_seed(seed)
    shapes: list[Shape | Group] = []
    for _ in range(PATHS):
        centre = torch.rand(2, generator=generator)
        points = size * (centre + RADIUS * (2 * torch.rand(12, 2, generator=generator) - 1))
        colour = torch.cat([torch.rand(3, generator=generator), torch.tensor([0.8])])
        shapes.append(Shape(Path.closed(points), fill=colour))
    return Document(shapes, ViewBox(0, 0, size, size))


def milliseconds(size: int, repeats: int, rasterise: Rasterise | None) -> tuple[float, float]:
    """CPU time forward and backward, medians after one run to warm up."""
    document = scene(size)
    found = document.parameters()
    for tensor in (*found.points, *found.colours):
        tensor.requires_grad_()
    target = torch.rand(4, size, size, generator=torch.Generator().manual_seed(1))
    forward, backward = [], []
    for _ in range(repeats + 1):
        start = time.process_time()
        image = document.render(size, size, rasterise=rasterise)
        drawn = time.process_time()
        (image - target).square().mean().backward()
        forward.append(drawn - start)
        backward.append(time.process_time() - drawn)
    return 1e3 * statistics.median(forward[1:]), 1e3 * statistics.median(backward[1:])


def main() -> None:
    """Print the table."""
    try:
        import pydiffvg  # noqa: F401
    except ImportError:
        other = None
        print("pydiffvg is not importable: no ratios")
    else:
        other = DiffvgRasterise()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; CPU ms")
    for size, repeats in ((128, 20), (600, 5)):
        forward, backward = milliseconds(size, repeats, None)
        line = f"{size:4} x {size:<4} forward {forward:8.1f}  backward {backward:8.1f}"
        if other is not None:
            theirs = milliseconds(size, 2, other)
            line += f"  diffvg / ours {theirs[0] / forward:.1f} {theirs[1] / backward:.1f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
