"""Segmentation of a picture by a frozen prior: which pixels belong together."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scorefield.images import Images, each_image
from scorefield.perception.resize import resize_to_prior
from scorefield.perception.segmentation.clustering import (
    FeatureClusters,
    largest_first,
    resized_argmax,
)
from scorefield.perception.segmentation.emerdiff import (
    EmerDiff,
    check_layers,
    difference_maps,
    normalised,
)
from scorefield.perception.segmentation.memory import rows_that_fit
from scorefield.perception.segmentation.presets import emerdiff_preset
from scorefield.priors.features.extraction import extract_features
from scorefield.priors.features.memory import MEMORY_GIB, size_multiple
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.prior import Prompts, check_is_prior

Method = EmerDiff | FeatureClusters


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The regions of a picture, numbered from 0.

    labels: of the picture's pixels.
    scores: by region, on the square that the prior saw; labels are their argmax, enlarged.
    low_res: labels of the cells of the features, before they were sharpened.
    evaluations: of the network for one picture of the size it saw; a pass that ends early, as those
        that read features do, counts as one.
    """

    labels: Int[Tensor, "height width"]
    scores: Float[Tensor, "k h w"]
    low_res: Int[Tensor, "lh lw"]
    evaluations: int

    @property
    def k(self) -> int:
        """The number of regions."""
        return len(self.scores)


@torch.no_grad()
def segment(
    prior: FrozenPrior,
    images: Images,
    k: int,
    method: Method | None = None,
    prompts: Prompts | None = None,
    *,
    low_res: Int[Tensor, "lh lw"] | Int[Tensor, "b lh lw"] | None = None,
    memory: float | int = MEMORY_GIB,
    seed: int = 0,
    progress: bool = False,
) -> list[Segmentation]:
    """Divide each image, of any size, into at most k regions of its own.

    The prior sees it as a square, and its labels are brought back to the picture's size, so that a
    large picture needs no more of the network's memory than a small one.

    images: one or a batch, as `scorefield.images.as_images` takes them: tensors, arrays or paths,
        in a list also of several sizes. What is returned has one entry per image.
    method: None is `emerdiff_preset`; a prior without cross-attention takes `clusters_preset`.
    prompts: what the images show, one or one per image; without, as the paper does.
    low_res: labels of the cells from elsewhere, such as `cell_labels` of many pictures together;
        None are each picture's own clusters, the largest first.
    memory: GiB for the recorded attention and one batch, beside the weights; it sets how many walks
        go together, which does not change the result.
    seed: of noise and clusters; the noise also depends on the picture.

    Raises:
        ValueError: k of more than there are cells, layers that the prior does not have, labels on
            another grid, a size for which there is no memory, or not one prompt or one grid of
            labels per image.
    """
    check_is_prior(prior)
    each = each_image(images)
    method = emerdiff_preset(prior) if method is None else method
    rows = check_method(prior, method, memory)
    texts = [prompts] * len(each) if prompts is None or isinstance(prompts, str) else [*prompts]
    cells = [None] * len(each) if low_res is None else [*low_res.reshape(-1, *low_res.shape[-2:])]
    for what, given in (("prompts", texts), ("grids of low_res", cells)):
        if len(given) != len(each):
            raise ValueError(f"give one of the {what} per image: {len(each)}; got {len(given)}")
    return [
        _segment(prior, *one, k, method, rows, memory=memory, seed=seed, progress=progress)
        for one in zip(each, texts, cells, strict=True)
    ]


def _segment(
    prior: FrozenPrior,
    image: Float[Tensor, "3 height width"],
    prompts: Prompts | None,
    low_res: Int[Tensor, "lh lw"] | None,
    k: int,
    method: Method,
    rows: int,
    *,
    memory: float | int,
    seed: int,
    progress: bool,
) -> Segmentation:
    """The regions of one image; `segment` says what the arguments are."""
    square = resize_to_prior(image[None], prior, method.size)
    spent = 0
    if low_res is None:
        spent += method.ensemble
        low_res = cell_labels(
            prior, image[None], k, method, prompts, rows=rows, memory=memory, seed=seed
        )[0]
        low_res = largest_first(low_res)
    if not 0 <= int(low_res.min()) <= int(low_res.max()) < k:
        raise ValueError(
            f"low_res must hold labels 0 ... {k - 1}; got {int(low_res.min())} ... "
            f"{int(low_res.max())}"
        )
    if isinstance(method, EmerDiff):
        there = low_res.unique()  # a region without cells changes nothing
        place = torch.searchsorted(there, low_res)
        found = difference_maps(
            prior, square, place, len(there), method, prompts,
            seed=seed, rows=rows, progress=progress,
        ).cpu()  # fmt: skip
        scores = torch.full((k, *found.shape[1:]), -1.0)
        scores[there] = normalised(found) if method.normalised else found
        spent += method.steps * (1 + (1 if method.one_sided else 2) * len(there))
    else:
        scores = method.upsample(low_res, square[0].cpu(), k)
    labels = resized_argmax(scores, (image.shape[1], image.shape[2]))
    return Segmentation(labels, scores, low_res, spent)


def cell_features(
    prior: FrozenPrior,
    images: Float[Tensor, "b 3 h w"],
    method: Method,
    prompts: Prompts | None = None,
    *,
    rows: int = 16,
    memory: float | int = MEMORY_GIB,
    seed: int = 0,
) -> Float[Tensor, "b c lh lw"]:
    """The features that a method clusters, of pictures in [0, 1] of any one size."""
    seen = resize_to_prior(images, prior, method.size)
    maps = extract_features(
        prior, seen, [method.queries], method.query_level, prompts,
        ensemble=method.ensemble, seed=seed, batch_size=rows, memory=memory,
    )  # fmt: skip
    return maps[method.queries]


def cell_labels(
    prior: FrozenPrior,
    images: Float[Tensor, "b 3 h w"] | Sequence[Float[Tensor, "3 _h _w"]],
    k: int,
    method: Method,
    prompts: Prompts | None = None,
    *,
    rows: int = 16,
    memory: float | int = MEMORY_GIB,
    seed: int = 0,
) -> Int[Tensor, "b lh lw"]:
    """Labels of the cells of pictures, clustered together: a label means the same in all of them.

    Given to `segment` one by one, they become labels of pixels.
    """
    maps = [
        cell_features(prior, i[None], method, prompts, rows=rows, memory=memory, seed=seed)
        for i in images
    ]
    return method.clusters(torch.cat(maps), k, seed)


def check_method(prior: FrozenPrior, method: Method, memory: float | int = MEMORY_GIB) -> int:
    """Refuse a method that a prior cannot follow; the rows of a batch that memory allows.

    Raises:
        ValueError: layers that the prior does not have, a size that its network does not divide,
            or for which there is no memory.
    """
    if prior.is_video:
        raise ValueError(f"{prior.name} is a prior of videos; give one of pictures")
    size = prior.image_size if method.size is None else method.size
    cell = size_multiple(prior)
    if size < 1 or size % cell:
        raise ValueError(f"size must be a multiple of {cell} pixels for {prior.name}; got {size}")
    steps = 0
    if isinstance(method, EmerDiff):
        check_layers(prior.model, method)
        steps = method.steps
    return rows_that_fit(prior, size, steps, memory)
