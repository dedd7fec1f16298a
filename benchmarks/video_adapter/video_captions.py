"""What the Video Adapter experiment asks for: what the small model's style never showed."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from video_judge import render_all

from scorefield.world.clips import (
    CLIP_COLORS,
    MOTIONS,
    NARROW,
    NARROW_CLIPS,
    NARROW_COLORS,
    NARROW_DOMAIN,
    NARROW_MOTIONS,
    SHAPES,
    Clip,
    draw_clip,
)


@dataclass(frozen=True)
class Wanted:
    """What a caption asks for, of the narrow domain."""

    color: str
    shape: str
    motion: str

    @property
    def caption(self) -> str:
        """In the words of the priors."""
        return f"a {self.color} {self.shape} moving {self.motion}"

    @property
    def new(self) -> str:
        """What of it the small model never saw: "motion", "color" or "both"."""
        if self.motion in NARROW_MOTIONS:
            return "color"
        return "motion" if self.color in NARROW_COLORS else "both"

    def real(self, seed: int, index: int) -> Clip:
        """A real clip of it."""
        fixed = {"color": self.color, "shape": self.shape, "motion": self.motion}
        return draw_clip(seed, index, domain=NARROW_DOMAIN, **fixed)


def held_out() -> tuple[list[Wanted], list[Wanted]]:
    """The held-out combinations to tune on, and to judge on.

    All 12 pairs of a colour and a motion of which one is new to the small model. One shape of each
    pair, in turn, is tuned on and the other three are judged: 12 and 36 captions.
    """
    pairs = [(c, m) for c in CLIP_COLORS for m in MOTIONS]
    pairs = [(c, m) for c, m in pairs if c not in NARROW_COLORS or m not in NARROW_MOTIONS]
    tuning: list[Wanted] = []
    judging: list[Wanted] = []
    for i, (color, motion) in enumerate(pairs):
        for k, shape in enumerate(SHAPES):
            (tuning if k == i % len(SHAPES) else judging).append(Wanted(color, shape, motion))
    return tuning, judging


TUNING, JUDGING = held_out()


def in_turn(wanted: Sequence[Wanted], n: int) -> list[Wanted]:
    """The first n of the list over and over."""
    return [wanted[i % len(wanted)] for i in range(n)]


def nearest_clips(wanted: Sequence[Wanted]) -> Float[Tensor, "n frames 3 h w"]:
    """For each caption the training clip of the small model that shares most of its words.

    What a model that has memorised its clips would answer. Ties are broken in turn.
    """
    training = [NARROW[i] for i in range(NARROW_CLIPS)]
    chosen = []
    for i, one in enumerate(wanted):
        shared = [
            (one.color == c.color) + (one.shape == c.shape) + (one.motion == c.motion)
            for c in training
        ]
        best = [c for c, count in zip(training, shared, strict=True) if count == max(shared)]
        chosen.append(best[i % len(best)])
    return render_all(chosen)


def real_clips(seed: int, wanted: Sequence[Wanted]) -> Float[Tensor, "n frames 3 h w"]:
    """A real clip of each."""
    return render_all([one.real(seed, i) for i, one in enumerate(wanted)])
