"""What is handed to pydiffvg, which is on no package index; and its gradients where it is there."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from scorefield.sds.vector import (
    DiffvgRasterise,
    Document,
    LinearGradient,
    Path,
    Pen,
    Polyline,
    Shape,
    Stroke,
    ViewBox,
)
from scorefield.sds.vector.stroke import Cap, Join

SCALES = [0.5, 1.0, 1.28]
SIDE = 50


class Recorder(ModuleType):
    """Stands for the module: keeps the scene, and draws the sum of all its points."""

    def __init__(self) -> None:
        super().__init__("pydiffvg")
        self.paths: list[Any] = []
        self.groups: list[Any] = []
        self.RenderFunction = self

    def Path(self, **given: Any) -> Any:
        self.paths.append(SimpleNamespace(**given))
        return self.paths[-1]

    def ShapeGroup(self, **given: Any) -> Any:
        self.groups.append(SimpleNamespace(**given))
        return self.groups[-1]

    def LinearGradient(self, *given: Tensor) -> tuple[Tensor, ...]:
        return given

    def serialize_scene(self, width: int, height: int, shapes: list, groups: list) -> list:
        return [shape.points for shape in shapes]

    def apply(self, width: int, height: int, *rest: Any) -> Tensor:
        *_, points = rest
        return torch.ones(height, width, 4) * points.sum()


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    found = Recorder()
    monkeypatch.setitem(sys.modules, "pydiffvg", found)
    return found


def ring(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return SIDE * (0.2 + 0.6 * torch.rand(12, 2, generator=generator))


def drawn(shape: Shape, scale: float) -> Tensor:
    document = Document([shape], ViewBox(0, 0, SIDE, SIDE))
    size = round(scale * SIDE)
    return document.render(size, size, rasterise=DiffvgRasterise())


@pytest.mark.parametrize("scale", SCALES)
def test_everything_is_in_pixels(recorder: Recorder, scale: float) -> None:
    points = ring().requires_grad_()
    stroke = Stroke(torch.ones(4), torch.tensor(3.0), Pen(Cap.ROUND, Join.ROUND))
    moved = torch.tensor([[0.0, -1.0, 40.0], [1.0, 0.0, 5.0]])  # turns, and keeps sizes
    shape = Shape(Path.closed(points), torch.ones(4), stroke, transform=moved)
    image = drawn(shape, scale)
    wanted = scale * (points @ moved[:, :2].T + moved[:, 2])
    for path, width in zip(recorder.paths, (0.0, 1.5 * scale), strict=True):
        torch.testing.assert_close(path.points, wanted)
        assert abs(float(path.stroke_width) - width) < 1e-5
    assert all(torch.equal(group.shape_to_canvas, torch.eye(3)) for group in recorder.groups)
    # What a pixel's point moves, a user unit moves `scale` times.
    image[3, 0, 0].backward()
    torch.testing.assert_close(points.grad, (moved[:, :2] * scale).sum(0).expand(12, 2))


def test_open_fills_are_closed(recorder: Recorder) -> None:
    bent = Polyline(torch.tensor([[0.0, 0.0], [9.0, 0.0], [9.0, 6.0]]))
    drawn(Shape(bent, torch.ones(4), Stroke(torch.ones(4), torch.tensor(1.0))), 1.0)
    filled, stroked = recorder.paths
    assert filled.is_closed and not stroked.is_closed
    assert len(filled.num_control_points) == 3 and len(filled.points) == 9
    torch.testing.assert_close(filled.points[6:8], torch.tensor([[9.0, 6.0], [6.0, 4.0]]))
    assert len(stroked.points) == 7


@pytest.mark.parametrize("scale", SCALES)
def test_gradients_land_where_they_are(recorder: Recorder, scale: float) -> None:
    """At any pixel their position is the one in user units, under any affine map."""
    paint = LinearGradient(
        torch.tensor([10.0, 5.0]), torch.tensor([30.0, 25.0]), torch.tensor([0.0, 1.0]),
        torch.ones(2, 4), transform=torch.tensor([[1.5, 0.4, 2.0], [0.0, 0.8, -3.0]]),
    )  # fmt: skip
    moved = torch.tensor([[1.0, 0.5, 3.0], [-0.2, 0.7, 4.0]])
    drawn(Shape(Path.closed(ring()), paint, transform=moved), scale)
    begin, end, *_ = recorder.groups[0].fill_color
    own = SIDE * torch.rand(20, 2, generator=torch.Generator().manual_seed(1))
    assert paint.transform is not None
    user = own @ paint.transform[:, :2].T + paint.transform[:, 2]
    pixels = scale * (user @ moved[:, :2].T + moved[:, 2])
    seen = LinearGradient(begin, end, paint.offsets, paint.colours).position(pixels)
    torch.testing.assert_close(seen, paint.position(own), atol=1e-4, rtol=1e-4)


def test_what_it_cannot_draw_is_refused(recorder: Recorder) -> None:
    wide = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    line = Polyline(torch.tensor([[0.0, 0.0], [9.0, 0.0]]))
    stroke = Stroke(torch.ones(4), torch.tensor(1.0))
    with pytest.raises(ValueError, match="stretches"):
        drawn(Shape(line, stroke=stroke, transform=wide), 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("scale", SCALES)
def test_its_gradients_are_finite_differences(scale: float) -> None:
    """Of our own image, four times as fine, which is compared with resvg elsewhere."""
    pytest.importorskip("pydiffvg")
    size = round(scale * SIDE)
    points = ring(2).requires_grad_()
    shape = Shape(Path.closed(points), torch.tensor([0.2, 0.4, 0.9, 1.0]))
    document = Document([shape], ViewBox(0, 0, SIDE, SIDE))
    target = torch.rand(4, size, size, generator=torch.Generator().manual_seed(3))
    image = document.render(size, size, rasterise=DiffvgRasterise(samples=4))
    (image - target).square().mean().backward()
    assert points.grad is not None
    gradient = points.grad.flatten()
    points.requires_grad_(False)

    def loss() -> float:
        fine = document.render(4 * size, 4 * size)
        return float((F.avg_pool2d(fine[None], 4)[0] - target).square().mean())

    differences = []
    flat = points.view(-1)
    for i in range(len(flat)):
        kept = float(flat[i])
        flat[i] = kept + 0.05
        above = loss()
        flat[i] = kept - 0.05
        differences.append((above - loss()) / 0.1)
        flat[i] = kept
    wanted = torch.tensor(differences)
    slope = float(gradient @ wanted / wanted.square().sum())
    assert F.cosine_similarity(gradient, wanted, dim=0) > 0.95 and 0.8 < slope < 1.25
