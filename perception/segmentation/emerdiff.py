"""EmerDiff: masks as sharp as pixels from the low-resolution features of a frozen prior.

Namekata, Sabour, Fidler and Kim 2024. The queries of a cross-attention tell K regions at the
resolution of the network's bottleneck. Adding +c and -c to that attention's output in the cells of
one region, and denoising, gives two images that differ where the prior draws the region: the map
of that difference is the mask in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from tqdm.auto import tqdm

from scorefield.domains import Count, NotNegative, check_numbers
from scorefield.perception.segmentation.attention_hooks import (
    Records,
    cross_attention_paths,
    injected,
    modulated,
    recorded,
)
from scorefield.perception.segmentation.clustering import KMeansClusters, NormalisedCut, one_hot
from scorefield.priors.codec import LatentCodec, PixelCodec
from scorefield.priors.denoiser import Denoiser
from scorefield.priors.editing.edit_friendly import ancestral_mean
from scorefield.priors.features.extraction import image_key
from scorefield.priors.features.taps import layer_path, short_name
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import keyed_noise
from scorefield.priors.prior import Prompts
from scorefield.priors.schedule import NoiseSchedule
from scorefield.priors.steps import denoise_loop


@dataclass(frozen=True, eq=False)
class EmerDiff:
    """Where and how a prior is modulated.

    queries: the layer whose outputs are clustered, the projection to queries of a cross-attention.
    modulated: the cross-attention on the way up that is modulated, of the same grid.
    query_level: of noise at which the queries are read, t_f in the paper.
    level: of noise at which the walk begins, and is modulated, t_m in the paper.
    strength: what is added to the attention's output, lambda in the paper.
    steps: of the walk from `level` to the image.
    one_sided: compare +strength with the image itself, not with -strength: half the walks.
    clusters: how the queries are clustered; k-means in the paper.
    ensemble: draws of noise over which the queries are averaged.
    size: side of the square that the prior sees; None is the prior's own.
    blur: of the difference of the two images, standard deviation in pixels of that square.
    normalised: whether the map of each region is divided by its largest value before the largest
        of all is sought. Not in the paper; where the prior answers to some regions much more than
        to others, those take the pixels of their neighbours.
    source: where the numbers come from.
    """

    queries: str
    modulated: str
    query_level: NoiseLevel
    level: NoiseLevel
    strength: float | int = 10.0
    steps: Count = 15
    one_sided: bool = False
    clusters: KMeansClusters | NormalisedCut = KMeansClusters()  # noqa: RUF009
    ensemble: Count = 8
    size: int | None = None
    blur: NotNegative = 0.8
    normalised: bool = False
    source: str = ""

    def __post_init__(self) -> None:
        check_numbers(self)

    def levels(self, schedule: NoiseSchedule) -> list[NoiseLevel]:
        """The levels of the trajectory, `level` first and the clean one last.

        They are equally far apart on the schedule, and the last noisy one is a thousandth of it:
        from timestep 281 in 15 steps, 281, 261, ..., 1, as in the paper.
        """
        start = float(schedule.fraction(self.level))
        fractions = torch.linspace(start, _NEARLY_CLEAN, self.steps, dtype=torch.float64)
        one = torch.ones((), dtype=torch.float64)
        noisy = [schedule.at_fraction(fraction) for fraction in fractions]
        return [*noisy, NoiseLevel(one, torch.zeros_like(one))]


_NEARLY_CLEAN = 1 / 999


def check_layers(model: nn.Module, settings: EmerDiff) -> None:
    """Refuse layers that a model does not have.

    Raises:
        ValueError: no such layer, or what is to be modulated is no cross-attention on the way up,
            said with those that are.
    """
    layer_path(model, settings.queries)
    paths = cross_attention_paths(model)
    if not paths:
        raise ValueError(
            f"a {type(model).__name__} has no cross-attention on its way up, which EmerDiff "
            "modulates; segment by clusters of its features (kmeans, ncut)"
        )
    names = {*paths, *map(short_name, paths)}
    if settings.modulated not in names:
        raise ValueError(
            f"{settings.modulated!r} cannot be modulated; the cross-attentions on the way up are "
            f"{', '.join(map(short_name, paths))}"
        )


@dataclass(frozen=True, eq=False)
class Trajectory:
    """An image's own walk down the levels, and the attention on it.

    levels: noisiest first, the clean one last.
    start: the noisy image at the first level, shape (1, *shape).
    residuals: what an ancestral step lacks of the next noisy image, (steps, *shape).
    records: queries and keys, a row per step.
    """

    levels: Sequence[NoiseLevel]
    start: Tensor
    residuals: Tensor
    records: Records


@torch.no_grad()
def record_trajectory(
    prior: FrozenPrior,
    x: Float[Tensor, "1 *shape"],
    levels: Sequence[NoiseLevel],
    prompts: Prompts | None = None,
    *,
    key: int = 0,
    seed: int = 0,
    rows: int = 16,
) -> Trajectory:
    """Edit-friendly inversion of a latent, its queries and keys recorded in the same passes.

    The noisy images are drawn independently of each other, so all levels go through the network
    together (see `scorefield.priors.editing.edit_friendly`).

    levels: noisiest first, the clean one last.
    key: of the noise, which depends on (seed, key, step).
    rows: in one pass of the network.
    """
    noisy = levels[:-1]
    shape, steps = x.shape[1:], len(noisy)
    z = torch.cat(
        [
            level.add_noise(x, keyed_noise(seed, [key], i, shape, x.dtype, x.device))
            for i, level in enumerate(noisy)
        ]
    )
    after = torch.cat([z[1:], x])
    denoiser = prior.condition(prompts)
    residuals, parts = [], []
    for first in range(0, steps, rows):
        at = slice(first, min(first + rows, steps))
        with recorded(prior.model) as records:
            prediction = denoiser(z[at], _stacked(noisy[at]))
        parts.append(records)
        to = _stacked(levels[at.start + 1 : at.stop + 1])
        residuals.append(after[at] - ancestral_mean(prediction, to))
    together = {path: torch.cat([part[path] for part in parts]) for path in parts[0]}
    return Trajectory(levels, z[:1], torch.cat(residuals), together)


def _stacked(levels: Sequence[NoiseLevel]) -> NoiseLevel:
    return NoiseLevel(
        torch.stack([level.alpha for level in levels]),
        torch.stack([level.sigma for level in levels]),
    )


@torch.no_grad()
def modulated_trajectory(
    prior: FrozenPrior,
    denoiser: Denoiser,
    trajectory: Trajectory,
    path: str,
    offsets: Float[Tensor, "rows h w"] | None,
    rows: int = 1,
) -> Float[Tensor, "rows *shape"]:
    """Walk down again with the image's own attention, in the first step modulated.

    path: of the cross-attention that is modulated.
    offsets: added to its output, a row per walk; None: `rows` walks that end in the image.
    """
    rows = rows if offsets is None else len(offsets)

    def step(z: Tensor, here: NoiseLevel, to: NoiseLevel, i: int) -> Tensor:
        added = offsets if i == 0 else None
        with injected(prior.model, trajectory.records, i), modulated(prior.model, path, added):
            prediction = denoiser(z, here)
        return ancestral_mean(prediction, to) + trajectory.residuals[i]

    return denoise_loop(
        trajectory.start.expand(rows, *trajectory.start.shape[1:]), trajectory.levels, step
    )


@torch.no_grad()
def difference_maps(
    prior: FrozenPrior,
    image: Float[Tensor, "1 3 h w"],
    low_res: Int[Tensor, "lh lw"],
    k: int,
    settings: EmerDiff,
    prompts: Prompts | None = None,
    *,
    seed: int = 0,
    rows: int = 32,
    progress: bool = False,
) -> Float[Tensor, "k h w"]:
    """How much each pixel of an image changes with each region of its low-resolution labels.

    They are not normalised, whatever the settings say.

    image: of a size that codec and network divide.
    low_res: labels 0 ... k - 1 on the grid of the modulated attention.
    rows: of the batch; the walks of all regions go together, as many as fit.
    """
    x = prior.encode(image)
    levels = settings.levels(prior.schedule)
    trajectory = record_trajectory(
        prior, x, levels, prompts, key=image_key(image[0]), seed=seed, rows=rows
    )
    masks = settings.strength * one_hot(low_res, k).to(image.device)
    denoiser = prior.condition(prompts)
    path = layer_path(prior.model, settings.modulated)
    cells = trajectory.records[f"{path}.to_q"].shape[1]
    if low_res.numel() != cells:
        raise ValueError(
            f"low_res has {'x'.join(map(str, low_res.shape))} labels, and {settings.modulated} has "
            f"{cells} places; give labels on its grid, and queries of the same"
        )
    signs = 1 if settings.one_sided else 2
    at_once = max(1, rows // signs)
    itself = _unclamped(prior, x) if settings.one_sided else None
    maps = []
    parts = masks.split(at_once)
    for part in tqdm(parts, desc="regions", disable=not progress or len(parts) == 1, leave=False):
        offsets = part if settings.one_sided else torch.cat([part, -part])
        z = modulated_trajectory(prior, denoiser, trajectory, path, offsets)
        images = torch.cat([_unclamped(prior, row) for row in z.split(8)])
        plus = images[: len(part)]
        minus = images[len(part) :] if itself is None else itself
        maps.append(_blurred(plus - minus, settings.blur).norm(dim=1))
    return torch.cat(maps)


def normalised(maps: Float[Tensor, "k h w"]) -> Float[Tensor, "k h w"]:
    """Maps divided by their largest values; one that is zero everywhere stays so."""
    return maps / maps.flatten(1).amax(1).clamp(min=1e-12)[:, None, None]


def _unclamped(prior: FrozenPrior, z: Tensor) -> Tensor:
    """Decoded images, not clamped to [0, 1] where the codec knows how to leave that out."""
    if isinstance(prior.codec, LatentCodec | PixelCodec):
        return prior.codec.decode_unclamped(z)
    return prior.decode(z)


def _blurred(images: Tensor, sigma: float | int) -> Tensor:
    from kornia.filters import gaussian_blur2d

    if sigma == 0:
        return images
    side = 2 * max(1, round(1.5 * sigma)) + 1
    return gaussian_blur2d(images, (side, side), (float(sigma), float(sigma)))
