"""`scorefield trace`: a vector drawing of an image."""

from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Annotated

import tyro

from scorefield.cli.command import Command, Outcome, options_of
from scorefield.sds.tracing.settings import TraceSettings

_SETTINGS = options_of(TraceSettings)


@dataclass(frozen=True, kw_only=True)
class _Trace(Command):
    image: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE")]
    """Image to redraw; transparent pixels count as white."""
    out: Path
    """SVG file to write."""
    title: str | None = None
    """Title of the drawing, for people who cannot see it; without it, the image's file name."""

    def run(self) -> Outcome:
        """Trace, and write the file."""
        settings = TraceSettings(**{name: getattr(self, name) for name, _, _ in _SETTINGS})
        if self.out.suffix.lower() != ".svg":
            raise ValueError(f"--out must end in .svg; got {self.out}")

        from scorefield.files import write_text
        from scorefield.images import load_image
        from scorefield.sds.tracing.clean_file import clean_svg
        from scorefield.sds.tracing.trace import trace_image

        document = trace_image(load_image(self.image), settings)
        text = clean_svg(document, self.title or self.image.stem.replace("_", " "))
        write_text(self.out, text)
        shapes = list(document.shapes())
        metrics = {
            "out": str(self.out),
            "shapes": len(shapes),
            "points": sum(len(shape.geometry.points()) for shape in shapes),
            "bytes": len(text.encode()),
        }
        line = f"wrote {self.out}: {len(shapes)} shapes, {metrics['bytes']} bytes"
        return Outcome(metrics, [line])


Trace = make_dataclass("Trace", _SETTINGS, bases=(_Trace,), frozen=True, kw_only=True)
Trace.__doc__ = """Redraw an image with few opaque shapes: a flat palette, layers, few curves.

    Made for icons, logos and samples of priors; a photograph becomes a poster.
    """
