"""`scorefield text-to-svg`: a vector drawing from a prompt."""

import warnings
from dataclasses import dataclass, make_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from scorefield.cli.command import Outcome, notes, options_of, under_way
from scorefield.cli.distillation.distilling import DistillingCommand
from scorefield.domains import Count, Whole
from scorefield.sds.svg.presets import PRESETS
from scorefield.sds.svg.settings import STARTS, TextToSvgSettings

if TYPE_CHECKING:
    from scorefield.priors.prior import ImagePrior
    from scorefield.sds.svg.styles import Style

StyleName = Literal["icon", "sketch", "pixel-art"]

SETTINGS = options_of(
    TextToSvgSettings,
    "prompt", "seed", "preset", "style", "start", "objective", "levels", "rank", "rasterise",
)  # fmt: skip
"""The settings that become options as they are."""


@dataclass(frozen=True, kw_only=True)
class DrawingCommand(DistillingCommand):
    """A command that distils drawings; `SETTINGS` are added to it."""

    style: StyleName = "icon"
    """icon: filled paths. sketch: black strokes. pixel-art: a grid of squares."""
    paths: Count | None = None
    """Most paths of an icon, 64 by default, of which a tracing has 32 at most; or number of strokes
    of a sketch, 16."""
    segments: Count | None = None
    """Curves of each path: of an icon 4, of a sketch 5."""
    grid: Count | None = None
    """Squares along each side of pixel art, 32 by default."""
    start: str = "traced"
    """Beginning of an icon. traced: the best sample of the prior, redrawn with few opaque shapes.
    layers: clouds of half-transparent paths fitted to it. random: circles. Or an SVG file, whose
    shapes are moved, and whose names and groups stay."""
    preset: str | None = None
    """Published settings to begin with, such as vectorfusion; None takes those for the prior,
    which `scorefield info` shows. Options that are given go before them."""
    rank_clip: str | None = None
    """CLIP (folder or hub id) that chooses the sample to trace; without it the prior does."""
    rasteriser: Literal["own", "diffvg"] = "own"
    """Rasteriser of the drawing: this library's own, or diffvg, which needs pydiffvg."""
    preview_every: Whole = 10
    """An image, and a frame of the animation, after every so many steps; 0 for neither."""
    render_size: Count = 512
    """Longer side of final.png, pixels."""

    def settings(self, prompt: str, prior: "ImagePrior | None" = None) -> TextToSvgSettings:
        """The settings for a prompt as given; with a prior, what is not given is its preset's."""
        given = self.given(TextToSvgSettings, SETTINGS, PRESETS, prior)
        if self.rank_clip is not None:
            from scorefield.sds.judges import ClipRank

            given["rank"] = ClipRank(self.rank_clip)
        if self.rasteriser == "diffvg":
            from scorefield.sds.vector import DiffvgRasterise

            given["rasterise"] = DiffvgRasterise()
        return TextToSvgSettings(
            prompt=prompt,
            style=self.style_named(),
            start=self.start
            if self.start in STARTS
            else _read(Path(self.start), said=prior is None),
            **given,
        )

    def style_named(self) -> "Style":
        """The style with the numbers that were given."""
        from scorefield.sds.svg.styles import Icon, PixelArt, Sketch

        if self.style == "pixel-art":
            if self.paths is not None or self.segments is not None:
                raise ValueError("pixel art has no --paths and no --segments; give --grid")
            return PixelArt() if self.grid is None else PixelArt(self.grid)
        usual = Icon() if self.style == "icon" else Sketch()
        return replace(
            usual,
            paths=usual.paths if self.paths is None else self.paths,
            segments=usual.segments if self.segments is None else self.segments,
        )


def _read(path: Path, *, said: bool = True) -> str:
    """The SVG file as we would write it: what cannot be drawn is refused or left out now.

    said: whether what is left out is said now, or was before.
    """
    from scorefield.sds.vector import load_svg, svg_text

    if not path.exists():
        raise ValueError(
            f"{path}: there is no such file; give --start an SVG, or one of {', '.join(STARTS)}"
        )
    with notes() if said else warnings.catch_warnings(action="ignore", category=UserWarning):
        document = load_svg(path)
    if next(document.shapes(), None) is None:
        raise ValueError(f"{path}: holds no shapes; give an SVG with paths or basic shapes")
    return svg_text(document)


@dataclass(frozen=True, kw_only=True)
class _TextToSvg(DrawingCommand):
    prompt: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PROMPT")]
    """Thing to draw, in quotes, such as "a penguin"."""
    prior: str = "icons"
    """An embedded prior, a folder in diffusers' format, a file (with --configs), or a hub id."""

    def check(self) -> None:
        """Refuse settings that cannot be, before anything is loaded."""
        self.settings(self.prompt)

    def run(self) -> Outcome:
        """Distil, and write the drawing."""
        from scorefield.cli.loading import prior_of
        from scorefield.runs.job import begin, run
        from scorefield.sds.svg.distillation import TextToSvg

        prior = prior_of(self)
        settings = self.settings(self.prompt, prior)
        task = TextToSvg(prior, settings, self.render_size)
        folder = begin(task, self.out, resume=self.resume)
        with under_way():
            written = run(task, folder, **self.pace())
        metrics = {
            "out": str(self.out),
            "prompt": self.prompt,
            "asked": task.prompt,
            "prior": task.prior.name,
            "steps": settings.updates,
            "shapes": len(task.drawing.shapes),
            "seed": self.seed,
            "files": {name: str(path) for name, path in written.items()},
        }
        return Outcome(metrics, [f"wrote {path}" for path in written.values()])


TextToSvgCommand = make_dataclass(
    "TextToSvgCommand", SETTINGS, bases=(_TextToSvg,), frozen=True, kw_only=True
)
TextToSvgCommand.__doc__ = (
    """Distil a prompt into a vector drawing: final.svg, its image, its making."""
)
