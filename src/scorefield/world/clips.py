"""The moving world: short clips of one coloured object in motion, and a reader without networks.

Every domain (a style of background and outline) has every shape, colour and motion, and captions
do not name the domain: so a prior of some domains and one of another share their words.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

FRAMES, SIZE = 8, 16
"""Frames of a clip, and the side of its square frames in pixels."""

SHAPES = ("disc", "square", "triangle", "cross")
"""What moves."""

CLIP_COLORS: dict[str, tuple[float, float, float]] = {
    "red": (0.86, 0.12, 0.14),
    "green": (0.13, 0.68, 0.22),
    "blue": (0.15, 0.30, 0.90),
    "yellow": (0.96, 0.85, 0.10),
}
"""Colour words and their RGB; backgrounds are all but grey."""

MOTIONS: dict[str, tuple[int, int]] = {
    "left": (-1, 0),
    "right": (1, 0),
    "up": (0, -1),
    "down": (0, 1),
}
"""Motion words and their directions in pixels: x to the right, y down."""

DOMAINS = ("light", "dark", "gradient", "striped")
"""Styles: two plain backgrounds, one from light to dark, and stripes behind an outlined, shaded
object."""

BROAD_DOMAINS, NARROW_DOMAIN = DOMAINS[:3], DOMAINS[3]
"""What the broad prior has seen, and the one domain that the narrow prior has seen."""

NARROW_MOTIONS, NARROW_COLORS, NARROW_CLIPS = ("right", "up"), ("red", "blue"), 64
"""All that the narrow prior has seen of its domain; the other motions and colours are held out."""

CLIP_WORDS = sorted({"a", "moving", *SHAPES, *CLIP_COLORS, *MOTIONS})
"""The words of captions."""

_EXTENT = {  # half-width, and how far up and down, in multiples of the object's size
    "disc": (1.0, 1.0, 1.0),
    "square": (0.9, 0.9, 0.9),
    "triangle": (1.3 * 3**0.5 / 2, 1.3, 0.65),
    "cross": (1.15, 1.15, 1.15),
}
_OUTLINE, _OUTLINE_TONE = 0.9, 0.04  # width in pixels, grey
_STRIPE = 4  # pixels from one light stripe to the next
_STRIPE_CONTRAST = 0.28


@dataclass(frozen=True)
class Clip:
    """One clip's contents. Lengths in pixels, colours RGB in [0, 1].

    start: the object's centre (x, y) in the first frame; pixel (row i, column j) is centred on
        (j + 0.5, i + 0.5).
    speed: pixels per frame.
    size: the disc's radius; the other shapes are about as large.
    background: colours at the top and at the bottom.
    phase: of the stripes, in pixels; only the striped domain shows it.
    """

    shape: str
    color: str
    motion: str
    domain: str
    start: tuple[float, float]
    speed: float
    size: float
    background: tuple[tuple[float, float, float], tuple[float, float, float]]
    phase: float

    @property
    def caption(self) -> str:
        """What is seen, without the domain: "a red square moving left"."""
        return f"a {self.color} {self.shape} moving {self.motion}"


def draw_clip(
    seed: int,
    index: int,
    *,
    domain: str | None = None,
    shape: str | None = None,
    color: str | None = None,
    motion: str | None = None,
) -> Clip:
    """The clip number `index` of the moving world with this seed; the same numbers, the same clip.

    What it shows may be fixed in part; the other draws do not move. The object's body stays in
    view from the first frame to the last.

    Raises:
        ValueError: a domain, shape, colour or motion that the world does not have.
    """
    rng = np.random.default_rng([seed, index])
    shape = _choose(rng, "shape", shape, SHAPES)
    color = _choose(rng, "color", color, tuple(CLIP_COLORS))
    motion = _choose(rng, "motion", motion, tuple(MOTIONS))
    domain = _choose(rng, "domain", domain, DOMAINS)
    size, speed = rng.uniform(2.7, 3.2), rng.uniform(0.85, 1.15)
    half, above, below = (size * extent for extent in _EXTENT[shape])
    across, down = ((FRAMES - 1) * speed * step for step in MOTIONS[motion])
    x = rng.uniform(half - min(0.0, across), SIZE - half - max(0.0, across))
    y = rng.uniform(above - min(0.0, down), SIZE - below - max(0.0, down))
    tones, tint = rng.uniform(size=2), rng.uniform(-0.03, 0.03, 3)
    flip = rng.uniform() < 0.5
    top, bottom = {
        "light": (0.72 + 0.23 * tones[0],) * 2,
        "dark": (0.05 + 0.23 * tones[0],) * 2,
        "gradient": (0.05 + 0.2 * tones[0], 0.75 + 0.2 * tones[1]),
        "striped": (0.42 + 0.16 * tones[0],) * 2,
    }[domain]
    if flip:
        top, bottom = bottom, top
    phase = rng.uniform(0, _STRIPE)
    background = (_tinted(top, tint), _tinted(bottom, tint))
    return Clip(shape, color, motion, domain, (x, y), speed, size, background, phase)


def _tinted(tone: float, tint: np.ndarray) -> tuple[float, float, float]:
    red, green, blue = (tone + tint).tolist()
    return red, green, blue


def _choose(rng: np.random.Generator, what: str, fixed: str | None, names: Sequence[str]) -> str:
    """A random name, or the fixed one; drawn either way, so that later draws do not move."""
    drawn = names[int(rng.integers(len(names)))]
    if fixed is not None and fixed not in names:
        raise ValueError(f"{what} must be one of {', '.join(names)}; got {fixed!r}")
    return drawn if fixed is None else fixed


@dataclass(frozen=True)
class ClipSet:
    """Clips to train on, by number: all combinations of what is listed, equally often.

    Clip i is a pure function of the set and i. Each run of as many clips as there are combinations
    has every one of them once, in an order of its own.

    count: how many clips there are; None for as many as are asked for.
    """

    seed: int = 0
    domains: Sequence[str] = DOMAINS
    colors: Sequence[str] = tuple(CLIP_COLORS)
    motions: Sequence[str] = tuple(MOTIONS)
    count: int | None = None

    def __getitem__(self, index: int) -> Clip:
        combinations = list(product(self.domains, SHAPES, self.colors, self.motions))
        cycle, place = divmod(index, len(combinations))
        order = np.random.default_rng([self.seed, cycle, 1]).permutation(len(combinations))
        domain, shape, color, motion = combinations[order[place]]
        return draw_clip(self.seed, index, domain=domain, shape=shape, color=color, motion=motion)


BROAD = ClipSet(domains=BROAD_DOMAINS)
"""What the broad prior is trained on."""

NARROW = ClipSet(1, (NARROW_DOMAIN,), NARROW_COLORS, NARROW_MOTIONS, NARROW_CLIPS)
"""What the narrow prior is trained on."""


def render_clips(clips: Sequence[Clip]) -> Float[Tensor, "batch frames 3 size size"]:
    """Clips as videos in [0, 1], float32; coverage of a pixel from its distance to the edge."""
    centre = torch.arange(SIZE) + 0.5
    y, x = torch.meshgrid(centre, centre, indexing="ij")
    start = torch.tensor([clip.start for clip in clips]).view(-1, 1, 2)
    step = torch.tensor([[clip.speed * d for d in MOTIONS[clip.motion]] for clip in clips])
    at = (start + torch.arange(FRAMES)[:, None] * step[:, None])[..., None, None]  # (b, f, 2, 1, 1)
    across, down = x - at[:, :, 0], y - at[:, :, 1]
    size = torch.tensor([clip.size for clip in clips]).view(-1, 1, 1, 1)
    distance = torch.empty_like(across)
    for name in SHAPES:
        these = [i for i, clip in enumerate(clips) if clip.shape == name]
        distance[these] = _distance(name, across[these], down[these], size[these])

    def per_clip(values: list[float]) -> Tensor:
        return torch.tensor(values).view(-1, 1, 1, 1, 1)

    styled = per_clip([float(clip.domain == NARROW_DOMAIN) for clip in clips])
    tones = torch.tensor([clip.background for clip in clips])[:, :, None, :, None, None]
    share = (y / SIZE)[None, None, None]
    video = tones[:, 0] * (1 - share) + tones[:, 1] * share  # (b, 1, 3, size, size)
    phase = per_clip([clip.phase for clip in clips])
    stripes = torch.cos(2 * torch.pi * (x + phase) / _STRIPE)
    video = video + styled * 0.5 * _STRIPE_CONTRAST * stripes
    distance, down = distance[:, :, None], down[:, :, None]
    edge = styled * (0.5 + _OUTLINE - distance).clamp(0, 1)
    video = video * (1 - edge) + _OUTLINE_TONE * edge
    paint = torch.tensor([CLIP_COLORS[clip.color] for clip in clips])[:, None, :, None, None]
    shade = 1 - styled * 0.3 * (0.5 + 0.5 * down / size[:, None]).clamp(0, 1)
    body = (0.5 - distance).clamp(0, 1)
    return (video * (1 - body) + paint * shade * body).clamp(0, 1)


def _distance(shape: str, x: Tensor, y: Tensor, size: Tensor) -> Tensor:
    """Signed distance to the edge, negative inside; beyond corners that of the nearest edge."""
    if shape == "disc":
        return (x**2 + y**2).sqrt() - size
    if shape == "square":
        return torch.maximum(x.abs(), y.abs()) - 0.9 * size
    if shape == "triangle":  # equilateral, one corner up, its centroid in the middle
        slope = (3**0.5 * x.abs() - y) / 2
        return torch.maximum(slope, y) - 0.65 * size
    long, thick = 1.15 * size, 0.4 * size
    upright = torch.maximum(x.abs() - thick, y.abs() - long)
    level = torch.maximum(x.abs() - long, y.abs() - thick)
    return torch.minimum(upright, level)


NOTHING = "nothing"
"""What the reader says where there is no object, or no motion."""

_LEAST_CHROMA, _LEAST_STEP = 0.15, 0.2  # of an object; of a motion, in pixels per frame
_READ_SIZES = (2.4, 2.65, 2.9, 3.15, 3.4)
_READ_CHUNK = 16  # videos matched at once: their masks stay in the processor's cache
# Mean tone, change of tone from the top quarter to the bottom one, amplitude of the stripes.
_STYLES = {
    "light": (0.835, 0.0, 0.0),
    "dark": (0.165, 0.0, 0.0),
    "gradient": (0.5, 0.53, 0.0),
    "striped": (0.5, 0.0, 0.5 * _STRIPE_CONTRAST),
}
_STYLE_UNITS = (0.3, 0.25, 0.06)


@dataclass(frozen=True)
class Reading:
    """What is seen in each of a batch of videos.

    Attributes:
        shape, color, motion, domain: a word per video; `NOTHING` where there is no object or it
            stands still.
        track: the object's centre (x, y) in each frame, pixels; the image's where there is none.
    """

    shape: list[str]
    color: list[str]
    motion: list[str]
    domain: list[str]
    track: Float[Tensor, "batch frames 2"]

    @property
    def mean_step(self) -> Float[Tensor, " batch"]:
        """Length of the mean step from frame to frame, pixels."""
        return self.track.diff(dim=1).mean(1).norm(dim=-1)

    @property
    def jitter(self) -> Float[Tensor, " batch"]:
        """Standard deviation of the steps about their mean, pixels; 0 for even motion."""
        steps = self.track.diff(dim=1)
        return (steps - steps.mean(1, keepdim=True)).square().sum(-1).mean(1).sqrt()


def read_clips(videos: Float[Tensor, "batch frames 3 size size"]) -> Reading:
    """Read videos in [0, 1] by rules, without a network.

    The object is what is more colourful than the background, which is all but grey: a pixel's
    chroma (largest minus smallest colour value) above the frame's median, in shares of the
    object's, is how much of the pixel is covered. Its centroids give the track and the motion, its
    mean colour the nearest colour word by angle, and its match with ideal masks at the centroid
    the shape. The domain is the nearest by the background's mean, slope and stripes.
    """
    videos = videos.detach().float().cpu()
    chroma = videos.amax(2) - videos.amin(2)
    chroma = chroma - chroma.flatten(2).median(-1).values[..., None, None]
    body = chroma.flatten(2).topk(12).values.mean(-1)  # (batch, frames): well inside the object
    found = body.mean(1) > _LEAST_CHROMA
    cover = (chroma / body.clamp(min=1e-3)[..., None, None]).clamp(0, 1)
    cover = ((cover - 0.15) / 0.85).clamp(min=0)

    centre = torch.arange(SIZE) + 0.5
    mass = cover.sum((2, 3)).clamp(min=1e-6)
    track = torch.stack([cover.sum(2) @ centre, cover.sum(3) @ centre], -1) / mass[..., None]
    track = torch.where(found[:, None, None], track, SIZE / 2)
    step = track.diff(dim=1).mean(1)
    motion = (step @ torch.tensor(list(MOTIONS.values()), dtype=torch.float32).T).argmax(1)
    moves = found & (step.norm(dim=-1) > _LEAST_STEP)

    paint = (videos * cover[:, :, None] ** 2).sum((1, 3, 4))
    palette = torch.tensor(list(CLIP_COLORS.values()))
    palette = palette / palette.norm(dim=1, keepdim=True)
    color = (paint @ palette.T).argmax(1)

    chunks = zip(cover.split(_READ_CHUNK), track.split(_READ_CHUNK), strict=True)
    shape = torch.cat([_match_shapes(*chunk) for chunk in chunks])
    return Reading(
        _words(SHAPES, shape, found),
        _words(CLIP_COLORS, color, found),
        _words(MOTIONS, motion, moves),
        _words(_STYLES, _match_styles(videos, cover), torch.ones_like(found)),
        track,
    )


def _words(names: Iterable[str], index: Tensor, seen: Tensor) -> list[str]:
    words = list(names)
    return [words[i] if s else NOTHING for i, s in zip(index.tolist(), seen.tolist(), strict=True)]


def _match_shapes(cover: Tensor, track: Tensor) -> Tensor:
    """Index of the shape whose ideal masks agree best with the covers, over a range of sizes."""
    centre = torch.arange(SIZE) + 0.5
    y, x = torch.meshgrid(centre, centre, indexing="ij")
    across, down = x - track[:, :, 0, None, None], y - track[:, :, 1, None, None]
    size = torch.tensor(_READ_SIZES).view(-1, 1, 1, 1, 1)
    scores = []
    for name in SHAPES:
        ideal = (0.5 - _distance(name, across, down, size)).clamp(0, 1)  # (sizes, b, f, h, w)
        agree = (ideal * cover).sum((2, 3, 4)) / ideal.square().sum((2, 3, 4)).sqrt()
        scores.append(agree.amax(0))
    return torch.stack(scores, 1).argmax(1)


def _match_styles(videos: Tensor, cover: Tensor) -> Tensor:
    """Index of the domain whose background is nearest."""
    # The object, its outline and their neighbours apart
    near = torch.nn.functional.max_pool2d(cover, 5, stride=1, padding=2)
    weight = (near < 0.1).float()
    tone = videos.mean(2)

    def mean(values: Tensor, rows: slice = slice(None)) -> Tensor:
        w = weight[:, :, rows]
        total: Tensor = (w * values[:, :, rows]).sum((1, 2, 3)) / w.sum((1, 2, 3)).clamp(min=1e-6)
        return total

    quarter = SIZE // 4
    slope = (mean(tone, slice(-quarter, None)) - mean(tone, slice(quarter))).abs()
    rows = (weight * tone).sum(3, keepdim=True) / weight.sum(3, keepdim=True).clamp(min=1e-6)
    angle = 2 * torch.pi * (torch.arange(SIZE) + 0.5) / _STRIPE
    waves = [2 * mean((tone - rows) * wave) for wave in (angle.cos(), angle.sin())]
    statistics = torch.stack([mean(tone), slope, torch.hypot(*waves)], 1)
    styles = torch.tensor(list(_STYLES.values()))
    return ((statistics[:, None] - styles) / torch.tensor(_STYLE_UNITS)).square().sum(2).argmin(1)
