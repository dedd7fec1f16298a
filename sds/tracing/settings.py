"""What is set of a tracing. The command line shows it without loading torch."""

from dataclasses import dataclass
from typing import Annotated

from scorefield.domains import Domain, Positive, Whole, check_numbers

__all__ = ["TraceSettings"]


@dataclass(frozen=True)
class TraceSettings:
    """How few colours and nodes a traced drawing has.

    colours: most colours of its palette.
    tolerance: farthest that outlines may lie from the picture's, in pixels of 256 along its longer
        side.
    polish_steps: steps that move and recolour the finished shapes towards the picture.
    background: whether a white ground is drawn as well, as a rectangle.
    side: longer side of the view box.
    """

    colours: Annotated[int, Domain(2.0)] = 10
    tolerance: Positive = 2.2
    polish_steps: Whole = 150
    background: bool = False
    side: Annotated[int, Domain(8.0)] = 256

    def __post_init__(self) -> None:
        check_numbers(self)
