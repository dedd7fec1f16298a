"""`scorefield trace`: a vector drawing of a picture."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from scorefield.cli.command import Command, Outcome
from scorefield.domains import Domain, Positive, Whole
from scorefield.sds.tracing.settings import TraceSettings


@dataclass(frozen=True, kw_only=True)
class Trace(Command):
    """Redraw a picture with few opaque shapes: a flat palette, layers, few curves.

    Made for icons, logos and samples of priors; a photograph becomes a poster.
    """

    picture: tyro.conf.Positional[Path]
    """Image to redraw; what is transparent counts as white."""
    out: Path
    """SVG file to write."""
    title: str | None = None
    """What the drawing shows, as its title for people who cannot see it; the file's name without
    it."""
    colours: Annotated[int, Domain(2.0)] = TraceSettings.colours
    """Most colours of the palette."""
    tolerance: Positive = TraceSettings.tolerance
    """Farthest that outlines may lie from the image's, in 256ths of its longer side."""
    polish_steps: Whole = TraceSettings.polish_steps
    """Steps that move and recolour the finished shapes towards the image; 0 for none."""
    background: bool = False
    """Draw a white ground as well, as a rectangle."""
    side: Annotated[int, Domain(8.0)] = TraceSettings.side
    """Longer side of the drawing, in its own units."""

    def run(self) -> Outcome:
        """Trace, and write the file."""
        settings = TraceSettings(
            self.colours, self.tolerance, self.polish_steps, self.background, self.side
        )
        if self.out.suffix.lower() != ".svg":
            raise ValueError(f"--out must end in .svg; got {self.out}")

        from scorefield.files import write_text
        from scorefield.images import load_image
        from scorefield.sds.tracing.clean_file import clean_svg
        from scorefield.sds.tracing.trace import trace_picture

        document = trace_picture(load_image(self.picture), settings)
        text = clean_svg(document, self.title or self.picture.stem.replace("_", " "))
        write_text(self.out, text)
        shapes = list(document.shapes())
        figures = {
            "out": str(self.out),
            "shapes": len(shapes),
            "points": sum(len(shape.geometry.points()) for shape in shapes),
            "bytes": len(text.encode()),
        }
        line = f"wrote {self.out}: {len(shapes)} shapes, {figures['bytes']} bytes"
        return Outcome(figures, [line])
