"""Feature taps: maps that a frozen prior's layers see in an image at a level of noise.

f = mean over k of layer(alpha z_k + sigma eps_k): z_k draws of the codec's posterior, eps_k noise
(Tang et al. 2023, DIFT, section 4.2). Each image is encoded once, all draws of all images go
through the network together, and no further than the last wanted layer.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.images import Images
from scorefield.priors.codec import LatentCodec
from scorefield.priors.condition import Condition
from scorefield.priors.features.cache import FeatureCache, feature_key
from scorefield.priors.features.memory import MEMORY_GIB, memory_estimate, size_that_fits
from scorefield.priors.features.taps import layer_path, tapped, to_maps
from scorefield.priors.frozen_prior import FrozenPrior, prior_digest
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import keyed_noise
from scorefield.priors.prior import Prompts


def image_key(image: Float[Tensor, "*shape"]) -> int:
    """A 63-bit BLAKE2b digest of an image's shape and float32 values: what its noise hangs on."""
    values = image.detach().to("cpu", torch.float32).contiguous()
    digest = hashlib.blake2b(str(tuple(values.shape)).encode(), digest_size=8)
    digest.update(values.numpy().tobytes())
    return int.from_bytes(digest.digest(), "little") >> 1


@torch.no_grad()
def extract_features(
    prior: FrozenPrior,
    images: Images,
    layers: Sequence[str],
    level: NoiseLevel,
    prompts: Prompts | None = None,
    *,
    ensemble: int = 8,
    seed: int = 0,
    batch_size: int = 16,
    memory: float | int = MEMORY_GIB,
    cache: FeatureCache | None = None,
) -> dict[str, Float[Tensor, "b *lf _c _h _w"]]:
    """What layers of the network see in images, or videos, at a level of noise: float32 maps.

    The mean over `ensemble` draws of codec posterior and noise (Tang et al. 2023). The noise of
    an image is keyed by (seed, its content, draw), so that neither the batch nor the order
    matters. Each image is encoded once, and the network runs as far as the last layer named.

    images: one or a batch, as `ImagePrior.encode` takes them.
    layers: short names as `scorefield info` lists them ("up1", "mid", "block12"), or paths of
        modules; the maps come under the same names.
    level: of shape (); `prior.schedule.at_timestep(261)`, say.
    prompts: one, or one per image; None is no prompt.
    batch_size: rows, images times draws, in the network at once, at most.
    memory: GiB for a batch of images larger than the prior's own, beside the weights and the
        maps. Fewer rows than batch_size go together where all would need more.
    cache: where maps are kept and looked for.

    Raises:
        ValueError: no such layer (the valid ones are listed), a layer that is not one of
            places, no images, or images of a size that the codec does not divide or for
            which there is no memory (the largest side that fits is said).
    """
    if ensemble < 1 or batch_size < 1:
        raise ValueError(
            f"ensemble and batch_size must be at least 1; got {ensemble} and {batch_size}"
        )
    if not layers:
        raise ValueError("no layers were given; `scorefield info` lists those of a prior")
    if isinstance(images, Tensor | np.ndarray | Sequence) and not len(images):
        raise ValueError("no images were given; give at least one")
    if level.alpha.ndim:
        raise ValueError("features are those of one level; give a level of shape ()")
    images = prior.pixels(images).to(prior.device, torch.float32)
    model = prior.model
    paths = {name: layer_path(model, name) for name in layers}
    condition = prior.condition(prompts).condition.expand(len(images))
    batch_size = _rows_that_fit(prior, images, prompts, batch_size, memory)
    keys = [image_key(image) for image in images]
    found: dict[int, dict[str, Tensor]] = {}
    names: dict[int, dict[str, str]] = {}
    if cache is not None:
        of_prior = prior_digest(prior)
        for i, key in enumerate(keys):
            tensors = condition.rows([i]).tensors
            names[i] = {
                path: feature_key(of_prior, key, path, level, tensors, ensemble, seed)
                for path in paths.values()
            }
            found[i] = {p: m for p, n in names[i].items() if (m := cache.read(n)) is not None}
    todo = [i for i in range(len(images)) if len(found.get(i, {})) < len(set(paths.values()))]
    if todo:
        fresh = _compute(
            prior, images[todo], [keys[i] for i in todo], condition.rows(todo),
            sorted(set(paths.values())), level, ensemble, seed, batch_size,
        )  # fmt: skip
        for i, maps in zip(todo, fresh, strict=True):
            found[i] = maps
            if cache is not None:
                for path, values in maps.items():
                    cache.write(names[i][path], values)
    return {
        name: torch.stack([found[i][path].to(images.device) for i in range(len(images))])
        for name, path in paths.items()
    }


def _compute(
    prior: FrozenPrior,
    images: Tensor,
    keys: Sequence[int],
    condition: Condition,
    paths: Sequence[str],
    level: NoiseLevel,
    ensemble: int,
    seed: int,
    batch_size: int,
) -> list[dict[str, Tensor]]:
    """Maps by layer, for each image."""
    codec = prior.codec
    # the codecs of pixels and of videos are taken at their mean
    encoded = [
        codec.posterior(part)
        if isinstance(codec, LatentCodec)
        else (z := prior.encode(part), torch.zeros_like(z))
        for part in images.split(batch_size)
    ]
    mean, std = (torch.cat(parts) for parts in zip(*encoded, strict=True))
    rows = [(i, draw) for i in range(len(images)) for draw in range(ensemble)]
    sums: list[dict[str, Tensor]] = [{} for _ in images]
    for first in range(0, len(rows), batch_size):
        chunk = rows[first : first + batch_size]
        index = [i for i, _ in chunk]
        z = level.add_noise(
            mean[index] + std[index] * _noise(seed, keys, chunk, mean, 1),
            _noise(seed, keys, chunk, mean, 0),
        )
        with tapped(prior.model, paths) as outputs:
            prior.predict(z, level.expand(len(z)), condition.rows(index).expand(len(z)))
        for path in paths:
            patch = getattr(prior.network, "patch", 2)
            maps = to_maps(outputs[path], path, z.shape[1:], len(z), patch).float() / ensemble
            for i, values in zip(index, maps, strict=True):
                sums[i][path] = sums[i][path] + values if path in sums[i] else values
    return sums


def _rows_that_fit(
    prior: FrozenPrior,
    images: Tensor,
    prompts: Prompts | None,
    batch_size: int,
    memory: float | int,
) -> int:
    """At most `batch_size`; images no larger than the prior's own are not counted."""
    area = images[0].numel() / (3 * prior.image_size**2 * (prior.frames or 1))
    if area <= 1:
        return batch_size
    prompt = prompts if prompts is None or isinstance(prompts, str) else prompts[0]
    most, room = memory_estimate(prior, area, prompt).most, memory * 2**30
    if most > room:
        height, width = images.shape[-2:]
        fits = size_that_fits(prior, max(height, width), most, room)
        hint = f"resize them to {fits} on the longer side" if fits else "no size fits"
        raise ValueError(
            f"images of {height}x{width} pixels need {most / 2**30:.3g} GiB in {prior.name}, and "
            f"memory is {memory:.3g} GiB; {hint}, or give more memory"
        )
    return min(batch_size, int(room // most))


def _noise(
    seed: int, keys: Sequence[int], rows: Sequence[tuple[int, int]], like: Tensor, stream: int
) -> Tensor:
    """Rows of noise, each keyed by its image and draw."""
    shape = like.shape[1:]
    return torch.cat(
        [
            keyed_noise(seed, [keys[i]], 2 * draw + stream, shape, like.dtype, like.device)
            for i, draw in rows
        ]
    )
