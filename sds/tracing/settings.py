"""What is set of a tracing. The command line shows it without loading torch."""

from dataclasses import dataclass

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

    colours: int = 10
    tolerance: float = 2.2
    polish_steps: int = 150
    background: bool = False
    side: int = 256

    def __post_init__(self) -> None:
        if self.colours < 2:
            raise ValueError(f"colours must be at least 2; got {self.colours}")
        if not self.tolerance > 0:
            raise ValueError(f"tolerance must be above 0; got {self.tolerance}")
        if self.polish_steps < 0:
            raise ValueError(f"polish_steps must be at least 0; got {self.polish_steps}")
        if self.side < 8:
            raise ValueError(f"side must be at least 8; got {self.side}")
