"""What drawings are made of: filled icons, black sketches, pixel art.

A style says how a prompt is put, which shapes there are at the start, and what may move. The
numbers are VectorFusion's (Jain et al. 2022), as its implementation in PyTorch-SVGRender has them
where the paper is silent.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.sds.svg.drawing import SIDE, Rates
from scorefield.sds.vector import Cap, Join, Path, Pen, Rect, Shape, Stroke, ViewBox

__all__ = ["Icon", "PixelArt", "Sketch", "Style"]


@runtime_checkable
class Style(Protocol):
    """What a drawing is made of."""

    @property
    def prompts(self) -> tuple[str, ...]:
        """How a prompt, {}, is put; a prior takes the first way that it knows all words of."""
        ...

    @property
    def view_box(self) -> ViewBox:
        """Of the drawing."""
        ...

    @property
    def rates(self) -> Rates:
        """Learning rates."""
        ...

    @property
    def opaque(self) -> bool:
        """Whether alpha stays as it is."""
        ...

    @property
    def crossing(self) -> float:
        """Weight of the penalty on outlines that cross themselves."""
        ...

    @property
    def saturation(self) -> float:
        """Weight of the penalty on strong colours."""
        ...

    def start(self, generator: torch.Generator) -> list[Shape]:
        """The shapes of a random start."""
        ...

    def blank(self) -> Shape:
        """A shape of the style's kind, its values of no matter."""
        ...


@dataclass(frozen=True)
class Icon:
    """Closed paths of cubics, each filled with one colour.

    paths: how many.
    segments: cubics of each.
    rates: learning rates.
    crossing: weight of the penalty on outlines that cross themselves.
    """

    paths: int = 64
    segments: int = 4
    rates: Rates = Rates()  # noqa: RUF009  (frozen)
    crossing: float = 0.01

    prompts: ClassVar[tuple[str, ...]] = (
        "{}, minimal flat 2d vector icon. lineal color. on a white background. trending on "
        "artstation",
        "a flat icon of {}, white background",
        "an icon of {}",
        "{}",
    )
    view_box: ClassVar[ViewBox] = ViewBox(0, 0, SIDE, SIDE)
    opaque: ClassVar[bool] = False
    saturation: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        if self.paths < 1 or self.segments < 2:
            raise ValueError(
                "an icon needs at least 1 path and 2 segments in each; got "
                f"paths {self.paths}, segments {self.segments}"
            )

    def start(self, generator: torch.Generator) -> list[Shape]:
        """Small circles of random colours in random places."""
        return [self.random(generator) for _ in range(self.paths)]

    def random(self, generator: torch.Generator) -> Shape:
        """A circle of a twentieth of the side, nearly opaque."""
        x, y, *rgba = torch.rand(6, generator=generator).tolist()
        colour = torch.tensor([*rgba[:3], 0.7 + 0.3 * rgba[3]])
        return self.circle((SIDE * x, SIDE * y), SIDE / 20, colour)

    def circle(
        self, centre: tuple[float, float], radius: float, colour: Float[Tensor, "4"]
    ) -> Shape:
        """A path that is a circle."""
        return Shape(Path.closed(_ring(self.segments, centre, radius)), fill=colour.clone())

    def blank(self) -> Shape:
        """A path with as many points as all have."""
        return self.circle((0.0, 0.0), 1.0, torch.zeros(4))

    def is_spent(self, shape: Shape) -> bool:
        """Whether a path is fainter than 0.05 or smaller than 64 square units: it does no more.

        The area is that of the polygon of its control points.
        """
        assert isinstance(shape.fill, Tensor)
        x, y = shape.geometry.points().detach().unbind(1)
        area = (x * y.roll(-1) - y * x.roll(-1)).sum().abs() / 2
        return bool(shape.fill.detach()[3] < 0.05) or bool(area < 64)


@dataclass(frozen=True)
class Sketch:
    """Black strokes of a fixed width, open chains of cubics of which only the points move.

    paths: how many.
    segments: cubics of each.
    width: of the strokes, the image being 600 wide.
    rates: learning rates.
    """

    paths: int = 16
    segments: int = 5
    width: float = 6.0
    rates: Rates = Rates(points=1.0, widths=0.0, colours=0.0)  # noqa: RUF009  (frozen)

    prompts: ClassVar[tuple[str, ...]] = (
        "{}, minimal 2d line drawing. on a white background. trending on artstation",
        "{}, white background",
        "{}",
    )
    view_box: ClassVar[ViewBox] = ViewBox(0, 0, SIDE, SIDE)
    opaque: ClassVar[bool] = True
    crossing: ClassVar[float] = 0.0
    saturation: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        if self.paths < 1 or self.segments < 1 or not self.width > 0:
            raise ValueError(
                "a sketch needs at least 1 path of 1 segment and a width above 0; got "
                f"paths {self.paths}, segments {self.segments}, width {self.width}"
            )

    def start(self, generator: torch.Generator) -> list[Shape]:
        """Random walks from random places."""
        return [self._stroke(generator) for _ in range(self.paths)]

    def blank(self) -> Shape:
        """A stroke with as many points as all have."""
        return self._stroke(torch.Generator())

    def _stroke(self, generator: torch.Generator) -> Shape:
        begin = SIDE * (0.15 + 0.7 * torch.rand(1, 2, generator=generator))
        steps = SIDE / 15 * torch.randn(3 * self.segments, 2, generator=generator)
        pen = Pen(cap=Cap.ROUND, join=Join.ROUND)
        black = torch.tensor([0.0, 0.0, 0.0, 1.0])
        stroke = Stroke(black, torch.tensor(float(self.width)), pen)
        return Shape(Path.open(torch.cat([begin, begin + steps.cumsum(0)])), stroke=stroke)


@dataclass(frozen=True)
class PixelArt:
    """A grid of squares of which only the colours change.

    grid: squares along each side.
    colours: of the palette that a traced sample is redrawn with, at most.
    rates: learning rates.
    saturation: weight of the penalty on strong colours.
    """

    grid: int = 32
    colours: int = 12
    rates: Rates = Rates(points=0.0, widths=0.0, colours=0.005)  # noqa: RUF009  (frozen)
    saturation: float = 0.05

    prompts: ClassVar[tuple[str, ...]] = (
        "{}, pixel art. on a white background. trending on artstation",
        "{}, white background",
        "{}",
    )
    opaque: ClassVar[bool] = True
    crossing: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        if self.grid < 2:
            raise ValueError(f"grid must be at least 2 squares; got {self.grid}")
        if self.colours < 1:
            raise ValueError(f"colours must be at least 1; got {self.colours}")

    @property
    def view_box(self) -> ViewBox:
        """One unit a square."""
        return ViewBox(0, 0, self.grid, self.grid)

    @property
    def paths(self) -> int:
        """The squares."""
        return self.grid**2

    def start(self, generator: torch.Generator) -> list[Shape]:
        """Squares of random light colours."""
        return self.squares(0.5 + 0.5 * torch.rand(3, self.grid, self.grid, generator=generator))

    def blank(self) -> Shape:
        """A square."""
        return _square(0, 0, torch.zeros(3))

    def squares(self, image: Float[Tensor, "3 grid grid"]) -> list[Shape]:
        """Squares of the colours of an image's pixels, row by row."""
        return [
            _square(i % self.grid, i // self.grid, colour)
            for i, colour in enumerate(image.flatten(1).T)
        ]


def _square(x: int, y: int, colour: Float[Tensor, "3"]) -> Shape:
    corner = torch.tensor([float(x), float(y)])
    return Shape(Rect(corner, torch.ones(2)), fill=torch.cat([colour, torch.ones(1)]))


def _ring(segments: int, centre: tuple[float, float], radius: float) -> Float[Tensor, "points 2"]:
    """Control points of a circle of n cubics; the handles of an arc a are 4/3 tan(a / 4) long."""
    angle = torch.arange(segments) * (2 * math.pi / segments)
    handle = 4 / 3 * math.tan(math.pi / (2 * segments))
    anchor = torch.stack([angle.cos(), angle.sin()], dim=1)
    left = torch.stack([-angle.sin(), angle.cos()], dim=1)
    after = anchor.roll(-1, dims=0) - handle * left.roll(-1, dims=0)
    points = torch.stack([anchor, anchor + handle * left, after], dim=1).view(-1, 2)
    return torch.tensor(centre) + radius * points
