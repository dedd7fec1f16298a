"""DIFT: correspondence from the features of a frozen diffusion prior (Tang et al. 2023)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from scorefield.images import Images, as_images, each_image
from scorefield.perception.correspondence.matches import Matches
from scorefield.perception.correspondence.matching import (
    Locate,
    check_inside,
    match_features,
    mutual_matches,
)
from scorefield.perception.correspondence.points import Points, points_of_each
from scorefield.perception.correspondence.sift import SiftFusion
from scorefield.perception.resize import resize_to_prior
from scorefield.priors.features.cache import FeatureCache
from scorefield.priors.features.extraction import extract_features
from scorefield.priors.features.memory import MEMORY_GIB
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.prior import Prompts, check_is_prior
from scorefield.priors.schedule import NoiseSchedule

_PIXELS_PER_CELL = 4


@dataclass(frozen=True)
class DiftPreset:
    """Where and how a prior is tapped for correspondence.

    layers: whose maps are joined, see `join_maps`.
    log_snr: of the level, which means the same under every schedule.
    timestep: of the level on the schedule the figures were published with; where a prior has a
        discrete schedule it is taken as it is and log_snr is not needed.
    ensemble: draws of noise that are averaged.
    enlarge: by how much pictures are enlarged before they are encoded.
    shifts: pixels by which the picture is moved along each axis, all combinations; the maps are
        moved back and averaged. A network that halves its grid sees a place differently by where
        in a cell it falls, and that is averaged out; the maps then have a vector per pixel. Each
        combination costs as much as the picture alone.
    centred: whether what the layers put out for an empty grey picture, which is their sense of
        place alone, and then the picture's mean vector are taken off. Small priors of pictures with
        one object in the middle know places too well.
    source: where the numbers come from.
    """

    layers: tuple[str, ...]
    log_snr: float | int
    timestep: float | int | None = None
    ensemble: int = 8
    enlarge: int = 1
    shifts: tuple[int, ...] = (0,)
    centred: bool = False
    source: str = ""

    @property
    def draws(self) -> int:
        """Rows a picture takes in the network."""
        return self.ensemble * len(self.shifts) ** 2

    def level(self, schedule: NoiseSchedule) -> NoiseLevel:
        """The level in a prior's schedule."""
        if self.timestep is not None and hasattr(schedule, "alphas_cumprod"):
            return schedule.at_timestep(self.timestep)
        return schedule.at_log_snr(self.log_snr)


def dift_preset(prior: FrozenPrior) -> DiftPreset:
    """The preset of a prior's family.

    Raises:
        ValueError: a prior of videos, which has none.
    """
    check_is_prior(prior)
    if prior.is_video:
        raise ValueError(f"{prior.name} is a prior of videos, which have no preset; give one")
    model = prior.model
    ups = len(getattr(model, "up_blocks", ()))
    if ups and getattr(model.config, "addition_embed_type", None) == "text_time":
        return DiftPreset(
            ("up0",),
            log_snr=0.644,
            timestep=261,
            source="the block of the same resolution as Stable Diffusion's; not measured on SDXL",
        )
    if ups == 4 and prior.codec.channels == 4:
        return DiftPreset(
            ("up1",),
            log_snr=0.644,
            timestep=261,
            source="Tang et al. 2023, SPair-71k: Stable Diffusion 2.1 at 768 pixels, 59.5 PCK@0.1 "
            "per point",
        )
    if ups:
        # small latents have few cells: enlarged pictures have more, and the shifts fill the
        # deepest layers' cells of 8 pixels, which know most
        deepest = f"down{ups - 1}.resnets.0"
        return DiftPreset(
            ("down0.resnets.0", deepest, "mid", "up0.resnets.0", "up0.resnets.1"),
            log_snr=4.0,
            ensemble=1,
            enlarge=2 if prior.latent_shape[-1] <= 16 else 1,
            shifts=(-3, 0, 3),
            centred=True,
            source="docs/correspondence.md, tuned on the embedded prior",
        )
    blocks = getattr(model, "transformer_blocks", None) or getattr(model, "layers", None)
    if blocks is None:
        raise ValueError(f"{prior.name}: no preset for a {type(model).__name__}; give one")
    return DiftPreset(
        (f"block{len(blocks) // 2}",),
        log_snr=0.644,
        source="the middle block at the level of Tang et al. 2023; not measured",
    )


def features(
    prior: FrozenPrior,
    images: Images,
    prompts: Prompts | None = None,
    *,
    preset: DiftPreset | None = None,
    seed: int = 0,
    batch_size: int = 16,
    memory: float | int = MEMORY_GIB,
    cache: FeatureCache | None = None,
) -> Float[Tensor, "b c fh fw"]:
    """Maps whose cosine tells which places of two pictures correspond.

    images: as `scorefield.images.as_images` takes them: files give their middle square at the
        prior's size; tensors and arrays, after enlarging, have a size that the codec and the
        network divide.
    prompts: one, or one per picture; Tang et al. name the category, "a photo of a cat".
    preset: None is that of the family, `dift_preset`.
    memory: GiB for a batch, beside the weights and the maps, as of `extract_features`.

    Raises:
        ValueError: as `extract_features` does.
    """
    check_is_prior(prior)
    images = as_images(images, prior.image_size).to(prior.device)
    preset = dift_preset(prior) if preset is None else preset
    level = preset.level(prior.schedule)
    size = [preset.enlarge * side for side in images.shape[-2:]]

    def tap(pictures: Tensor, texts: Prompts | None) -> dict[str, Tensor]:
        if preset.enlarge > 1:
            pictures = functional.interpolate(pictures, size=size, mode="bicubic", antialias=True)
            pictures = pictures.clamp(0, 1)
        return extract_features(
            prior,
            pictures,
            preset.layers,
            level,
            texts,
            ensemble=preset.ensemble,
            seed=seed,
            batch_size=batch_size,
            memory=memory,
            cache=cache,
        )

    found = _over_shifts(tap, images, prompts, preset.shifts)
    if preset.centred:
        empty = tap(torch.full_like(images[:1], 0.5), None)
        for name, maps in found.items():
            shown = maps - _resize(empty[name], maps)
            found[name] = shown - shown.mean((-2, -1), keepdim=True)
    return join_maps([found[name] for name in preset.layers])


def _over_shifts(
    tap: Callable[[Tensor, Prompts | None], dict[str, Tensor]],
    images: Tensor,
    prompts: Prompts | None,
    shifts: Sequence[int],
) -> dict[str, Tensor]:
    """Maps of the picture moved about, moved back and averaged; a vector per pixel if it moved."""
    if tuple(shifts) == (0,):
        return tap(images, prompts)
    reach = max(map(abs, shifts))
    height, width = images.shape[-2:]
    padded = functional.pad(images, [reach] * 4, mode="replicate")
    found: dict[str, Tensor] = {}
    for down in shifts:
        for right in shifts:
            top, left = reach - down, reach - right
            moved = padded[..., top : top + height, left : left + width]
            for name, maps in tap(moved, prompts).items():
                # cells that were moved out are those at the border
                wide = functional.pad(_resize(maps, images), [reach] * 4, mode="replicate")
                top, left = reach + down, reach + right
                back = wide[..., top : top + height, left : left + width] / len(shifts) ** 2
                found[name] = found[name] + back if name in found else back
    return found


def _resize(maps: Tensor, like: Tensor) -> Tensor:
    size = like.shape[-2:]
    return maps if maps.shape[-2:] == size else functional.interpolate(maps, size, mode="bilinear")


def join_maps(maps: Sequence[Float[Tensor, "b _c _h _w"]]) -> Float[Tensor, "b c h w"]:
    """Maps of several layers as one, so that its cosine is the mean of theirs.

    Each is interpolated to the largest grid and its vectors are brought to unit length. A single
    map is returned as it is.
    """
    if len(maps) == 1:
        return maps[0]
    grid = max((tuple(m.shape[-2:]) for m in maps), key=lambda side: side[0] * side[1])
    return torch.cat(
        [
            functional.normalize(functional.interpolate(m, size=grid, mode="bilinear"), dim=1)
            for m in maps
        ],
        dim=1,
    )


@torch.no_grad()
def match(
    prior: FrozenPrior,
    a: Images,
    b: Images,
    points: Points | None = None,
    prompts: Prompts | None = None,
    *,
    preset: DiftPreset | None = None,
    locate: Locate | None = None,
    sift: SiftFusion | None = None,
    seed: int = 0,
) -> list[Matches]:
    """Where points of image a are in image b; without points, the cells that agree mutually.

    Two batches are matched pair by pair. Pictures of another size are brought to the prior's
    square, as by Tang et al.; points remain those of the pictures given.

    a, b: one image each or a batch each, as `scorefield.images.as_images` takes them: tensors,
        arrays or paths, in a list also of several sizes. What is returned has one entry per pair.
    points: pixels (x, y) of a, the column first, see
        `scorefield.perception.correspondence.matching`: (N, 2) as a tensor, an array or a list of
        pairs of numbers, the same of every pair of images; or a list with those of each.
    prompts: one for both sides or one for each, a and b.
    locate: how points are found, see `match_features`; of a fusion, None is its own.
    sift: match dense SIFT together with the features; see `docs/correspondence.md` for when to.

    Raises:
        ValueError: as `features` and `match_features` do; or a and b are not equally many,
            or points are of another shape or outside of a.
    """
    check_is_prior(prior)
    sources, targets = each_image(a), each_image(b)
    if len(sources) != len(targets):
        raise ValueError(
            f"give as many images b as images a; got {len(targets)} and {len(sources)}"
        )
    pairs = list(zip(sources, targets, strict=True))
    texts = [prompts, prompts] if prompts is None or isinstance(prompts, str) else list(prompts)
    if len(texts) != 2:
        raise ValueError(f"give one prompt, or one for each of two pictures; got {len(texts)}")
    given = points_of_each(points, len(pairs))
    for image, some in zip(sources, given, strict=True):
        if some is not None:
            check_inside(some, (image.shape[1], image.shape[2]))
    return [
        _match(prior, *pair, some, texts, preset, locate, sift, seed)
        for pair, some in zip(pairs, given, strict=True)
    ]


def _match(
    prior: FrozenPrior,
    a: Float[Tensor, "3 _ha _wa"],
    b: Float[Tensor, "3 _hb _wb"],
    points: Float[Tensor, "points 2"] | None,
    texts: Sequence[str | None],
    preset: DiftPreset | None,
    locate: Locate | None,
    sift: SiftFusion | None,
    seed: int,
) -> Matches:
    """One pair; `match` says what the arguments are."""
    maps = [
        features(prior, resize_to_prior(image[None], prior), text, preset=preset, seed=seed)[0]
        for image, text in zip((a, b), texts, strict=True)
    ]
    if sift is not None:
        maps = [with_sift(m, image, prior, sift) for m, image in zip(maps, (a, b), strict=True)]
        locate = sift.locate if locate is None and points is not None else locate
    source, target = maps
    source_size, target_size = (a.shape[1], a.shape[2]), (b.shape[1], b.shape[2])
    if points is None:
        return mutual_matches(
            source, target, source_size=source_size, target_size=target_size, locate=locate
        )
    return match_features(
        source, target, points, source_size=source_size, target_size=target_size, locate=locate
    )


def with_sift(
    features: Float[Tensor, "c h w"],
    image: Float[Tensor, "3 height width"],
    prior: FrozenPrior,
    sift: SiftFusion,
) -> Float[Tensor, "c2 h w"]:
    """A map of `features` joined with SIFT of the picture.

    SIFT sees the picture's own pixels, up to four along each side of a cell.
    """
    cells = max(features.shape[-2:])
    side = min(max(*image.shape[-2:], cells), _PIXELS_PER_CELL * cells)
    return sift.join(features[None], resize_to_prior(image[None], prior, side))[0]
