"""What is set of text to SVG. The command line shows it without loading torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from scorefield.domains import Count, NotNegative, Share, Whole
from scorefield.sds.settings import RenderedSettings, check_made

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float

    from scorefield.sds.svg.styles import Style
    from scorefield.sds.svg.trace import Rank
    from scorefield.sds.vector.document import Rasterise

STARTS = ("traced", "layers", "random")
"""What a drawing begins with, besides a drawing."""

MOST_TRACED = 32
"""Shapes of a tracing."""

_CORNERS = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))


def _icon() -> "Style":
    from scorefield.sds.svg.styles import Icon

    return Icon()


def _rank_by_prior() -> "Rank":
    from scorefield.sds.svg.trace import rank_by_prior

    return rank_by_prior


@dataclass(frozen=True)
class Augmentation:
    """Random perspective, then a random crop; the defaults are VectorFusion's.

    Attributes:
        crop: Side of the crop, a share of the image's; 1 crops nothing.
        distortion: How far a corner of the image moves inwards at most, a share of half its side.
        probability: Probability of a perspective; without it the crop is as the image is.

    Raises:
        ValueError: a share outside its range.
    """

    crop: float = 512 / 600
    distortion: float = 0.5
    probability: float = 0.7

    def __post_init__(self) -> None:
        if not 0 < self.crop <= 1:
            raise ValueError(f"crop must be in (0, 1]; got {self.crop}")
        for name in ("distortion", "probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1]; got {getattr(self, name)}")

    def draw(self, views: int, generator: "torch.Generator") -> "Float[torch.Tensor, 'views 3 3']":
        """Homographies from a view's unit square to the image's, (0, 0) the upper left."""
        import torch
        from kornia.geometry.transform import get_perspective_transform

        corners = torch.tensor(_CORNERS).expand(views, 4, 2)
        inwards = torch.rand(views, 4, 2, generator=generator) * self.distortion / 2
        chosen = torch.rand(views, 1, 1, generator=generator) < self.probability
        moved = corners + torch.where(chosen, inwards * (1 - 2 * corners), 0.0)
        warp = get_perspective_transform(moved, corners)
        shift = (1 - self.crop) * torch.rand(views, 2, generator=generator)
        crop = torch.eye(3).repeat(views, 1, 1)
        crop[:, 0, 0] = crop[:, 1, 1] = self.crop
        crop[:, :2, 2] = shift
        return warp @ crop


def _drawing(start: str | Path) -> str:
    """What a drawing begins with: one of `STARTS`, or the text of an SVG, read if it is a file.

    Raises:
        ValueError: it is none of these, or a file that is not there.
    """
    if isinstance(start, str) and (start in STARTS or start.lstrip().startswith("<")):
        return start
    try:
        return Path(start).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"start must be {', '.join(STARTS)}, an SVG file or its text; got {str(start)!r:.80}, "
            f"which cannot be read ({type(error).__name__})"
        ) from error


@dataclass(frozen=True)
class TextToSvgSettings(RenderedSettings):
    """How a drawing is distilled: `RenderedSettings`, and what a drawing needs besides.

    The defaults are those of the embedded prior.

    style: what the drawing is made of.
    template: sentence around the prompt, {} standing for it; "" takes the style's.
    start: what a drawing begins with. "traced": the best sample, redrawn with few opaque shapes
        that stay opaque, or with squares of a few colours; "layers": clouds of paths fitted to it,
        whose opacity is free, or squares of any colours; "random": circles or squares; or an SVG,
        by its file or its text, whose shapes, names and groups are kept, in place of any style's;
        the settings hold its text. A sketch begins at random.
    background: whether the white ground is drawn as well, as a rectangle.
    samples: images of the prior of which the best is traced; 0 starts at random.
    trace_steps: updates of the fit of "layers", before the distillation.
    refine_rate: factor of the learning rates in the distillation of what was traced. It is a
        image already: the full rates of a random start would dissolve it, and a third of them
        opens cracks between opaque shapes, which move each by itself.
    steps: updates of the distillation; the schedules span them. 0 takes 40 for a redrawn sample,
        100 for what begins with a sample otherwise, 500 for a random start or a drawing of yours.
    views: augmented views per update.
    augmentation: what the views show.
    warmup: share of the steps in which the learning rates rise to the style's; they end at 0.4 of
        it, along a cosine.
    respawn_every: steps after which faint and tiny paths are replaced by new circles on top, in
        icons that start at random; 0 never replaces any.
    respawn_until: share of the steps after which none is replaced any more.
    rank: chooses the sample that is traced; `rank_by_prior`, a `ClipRank`, or your own.
    rasterise: what draws; None is this library's own rasteriser.
    """

    steps: Whole = 0
    style: "Style" = field(default_factory=_icon)
    template: str = ""
    start: str | Path = "traced"
    background: bool = False
    samples: Whole = 4
    trace_steps: Count = 200
    refine_rate: NotNegative = 0.1
    views: Count = 4
    augmentation: Augmentation = Augmentation(0.95, 0.1)
    warmup: Share = 0.05
    respawn_every: Whole = 50
    respawn_until: Share = 0.8
    rank: "Rank" = field(default_factory=_rank_by_prior)
    rasterise: "Rasterise | None" = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_made("style", self.style, "start", "Icon() or Sketch() of scorefield.sds.svg")
        check_made("rank", self.rank, "__call__", "a function or ClipRank(...)")
        object.__setattr__(self, "start", _drawing(self.start))
        if not self.prompt.strip():
            raise ValueError("the prompt is empty; say what to draw, such as 'a yellow duck'")
        if self.template and "{}" not in self.template:
            raise ValueError(
                "template must hold {} where the prompt goes, as 'a flat icon of {}'; got "
                f"{self.template!r}"
            )

    @property
    def samples_first(self) -> bool:
        """Whether the drawing begins with a sample of the prior."""
        from scorefield.sds.svg.styles import Sketch

        sampled = self.samples and self.start in ("traced", "layers")
        return bool(sampled and not isinstance(self.style, Sketch))

    @property
    def given(self) -> bool:
        """Whether it begins with a drawing of the user's."""
        return self.start not in STARTS

    @property
    def redraws(self) -> bool:
        """Whether that sample is redrawn first: with opaque shapes, or squares of few colours."""
        return self.samples_first and self.start == "traced"

    @property
    def fits(self) -> bool:
        """Whether clouds of paths are fitted to that sample first."""
        from scorefield.sds.svg.styles import Icon

        return self.samples_first and self.start == "layers" and isinstance(self.style, Icon)

    @property
    def distillation_steps(self) -> int:
        """`steps`, or what the start needs."""
        usual = 40 if self.redraws else 100 if self.samples_first else 500
        return self.steps or usual

    @property
    def updates(self) -> int:
        """Of tracing and distillation together."""
        return self.distillation_steps + (self.trace_steps if self.fits else 0)
