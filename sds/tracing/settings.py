"""What is set of a tracing. The command line shows it without loading torch."""

from dataclasses import dataclass
from typing import Annotated

from scorefield.domains import Count, Domain, Positive, Whole, check_numbers

__all__ = ["TraceSettings"]


@dataclass(frozen=True)
class TraceSettings:
    """How few colours and nodes a traced drawing has.

    colours: most colours of its palette.
    paths: most shapes; beyond that those that are missed least are left out.
    tolerance: farthest that outlines may lie from the image's, in pixels of 256 along its longer
        side.
    faint: regions are given to a neighbour where their area, in pixels of the image, times the
        difference of their colours, in OKLab, is less than this. A finished shape goes where the
        drawing is changed less without it: by half as many pixels from black to white.
    polish_steps: times that the finished shapes are drawn, to be moved and recoloured towards the
        image.
    background: whether a white ground is drawn as well, as a rectangle.
    side: longer side of the view box, in user units.
    """

    colours: Annotated[int, Domain(2.0)] = 10
    paths: Count = 32
    tolerance: Positive = 2.2
    faint: Positive = 0.3
    polish_steps: Whole = 60
    background: bool = False
    side: Annotated[int, Domain(8.0)] = 1024

    def __post_init__(self) -> None:
        check_numbers(self)
