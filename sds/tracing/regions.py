"""Connected regions of one colour, joined under a gradient where their border is soft."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage
from skimage import measure
from skimage.morphology import convex_hull_image

from scorefield.sds.tracing.palette import Labelled, oklab

__all__ = ["Region", "layered", "regions_of"]

_ASIDE = 1.5  # pixels of the picture on both sides of a border between which it is soft or hard
_SOFT = 0.55  # share of the colours' difference that a soft border shows over that distance
_ALIKE = 0.16  # in OKLab: colours farther apart are two, however soft their border
_DEEP = 1.5  # pixels of the picture to the middle of a region: thinner ones always look soft
_BORDER = 3  # pixels of the picture: shorter borders say nothing


@dataclass(eq=False)
class Region:
    """An area of one paint.

    mask: its pixels, of the enlarged picture.
    colour: RGB in [0, 1], where `ends` is None.
    ends: of a linear gradient: two points (x, y) in pixels, and the colours there.
    """

    mask: Bool[np.ndarray, "h w"]
    colour: Float[np.ndarray, "3"]
    ends: tuple[Float[np.ndarray, "2 2"], Float[np.ndarray, "2 3"]] | None = None


def regions_of(labelled: Labelled) -> list[Region]:
    """The regions of a picture; those of the ground that touch the border are left out."""
    numbers = measure.label(labelled.labels + 1, connectivity=1)
    count = int(numbers.max())
    first = np.zeros(count + 1, int)
    first[numbers.ravel()] = labelled.labels.ravel()
    rim = np.concatenate([numbers[0], numbers[-1], numbers[:, 0], numbers[:, -1]])
    ground = {int(k) for k in np.unique(rim) if first[k] == labelled.ground}
    groups = _joined(numbers, first, labelled, ground)
    found = []
    for group in groups:
        mask = np.isin(numbers, group)
        inner = ndimage.binary_erosion(mask, iterations=max(1, round(labelled.scale)))
        region = Region(mask, labelled.colours[first[group[0]]])
        if len(group) > 1:
            region.ends = _gradient(labelled.fine, inner if inner.sum() > 50 else mask)
        elif inner.sum() > 4 * labelled.scale**2:
            region.colour = np.median(labelled.fine[inner], axis=0)
        found.append(region)
    return found


def _joined(
    numbers: np.ndarray, first: np.ndarray, labelled: Labelled, ground: set[int]
) -> list[list[int]]:
    """Groups of regions whose common borders are soft."""
    parent = list(range(len(first)))

    def root(k: int) -> int:
        while parent[k] != k:
            k = parent[k]
        return k

    aside = max(1, round(_ASIDE * labelled.scale))
    softness: dict[tuple[int, int], list[float]] = {}
    for axis in (0, 1):
        low, high = (np.take(numbers, range(s, numbers.shape[axis] - 1 + s), axis) for s in (0, 1))
        for y, x in np.argwhere(low != high):
            place = np.array([y, x])
            before, after = place.copy(), place.copy()
            before[axis] -= aside - 1
            after[axis] += aside
            if before[axis] < 0 or after[axis] >= numbers.shape[axis]:
                continue
            a, b = int(numbers[tuple(before)]), int(numbers[tuple(after)])
            if {a, b} != {int(low[y, x]), int(high[y, x])}:
                continue
            step = np.linalg.norm(labelled.fine[tuple(after)] - labelled.fine[tuple(before)])
            between = np.linalg.norm(labelled.colours[first[a]] - labelled.colours[first[b]])
            softness.setdefault((min(a, b), max(a, b)), []).append(
                float(step) / max(float(between), 1e-6)
            )
    lab = oklab(labelled.colours)
    inside = np.pad(numbers, 1)
    same = ndimage.minimum_filter(inside, 3) == ndimage.maximum_filter(inside, 3)
    depth = ndimage.distance_transform_edt(same)[1:-1, 1:-1] + 1
    deepest = ndimage.maximum(depth, numbers, range(len(first)))
    for (a, b), values in softness.items():
        long_enough = len(values) >= _BORDER * labelled.scale
        alike = np.linalg.norm(lab[first[a]] - lab[first[b]]) < _ALIKE
        deep = min(deepest[a], deepest[b]) > _DEEP * labelled.scale
        soft = alike and deep and long_enough and np.median(values) < _SOFT
        if soft and not {a, b} & ground:
            parent[root(a)] = root(b)
    groups: dict[int, list[int]] = {}
    for k in range(1, len(first)):
        if k not in ground:
            groups.setdefault(root(k), []).append(k)
    return list(groups.values())


def _gradient(
    fine: Float[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"]
) -> tuple[Float[np.ndarray, "2 2"], Float[np.ndarray, "2 3"]]:
    """The linear gradient nearest to the colours of a mask."""
    y, x = np.nonzero(mask)
    matrix = np.stack([np.ones(len(x)), x, y], axis=1)
    fitted, *_ = np.linalg.lstsq(matrix, fine[y, x], rcond=None)
    direction = np.linalg.svd(fitted[1:].T)[2][0]
    along = np.stack([x, y], axis=1) @ direction
    middle = np.array([x.mean(), y.mean()])
    low, high = np.quantile(along, 0.02), np.quantile(along, 0.98)
    design = np.stack([np.ones(len(along)), along], axis=1)
    line, *_ = np.linalg.lstsq(design, fine[y, x], rcond=None)
    points = np.stack([middle + (at - middle @ direction) * direction for at in (low, high)])
    return points + 0.5, np.clip(np.stack([line[0] + at * line[1] for at in (low, high)]), 0, 1)


def layered(regions: list[Region], underlap: int) -> list[Region]:
    """The regions from the lowest to the topmost, each reaching under those above it.

    Lower are those of the larger hull. A layer goes on some pixels under its upper neighbours, so
    that no line of the ground shows between them, and under all of what lies in its holes.
    """
    hulls = [float(convex_hull_image(region.mask).sum()) for region in regions]
    order = np.argsort(-np.array(hulls), kind="stable")
    lowest_first = [regions[k] for k in order]
    shape = regions[0].mask.shape if regions else (0, 0)
    above = np.zeros(shape, bool)
    layers: list[Region] = []
    for region in reversed(lowest_first):
        holes = ndimage.binary_fill_holes(region.mask) & ~region.mask
        parts, count = ndimage.label(holes)
        covered = np.zeros(shape, bool)
        for number in range(1, count + 1):
            hole = parts == number
            if (hole & ~above).sum() <= 0.02 * hole.sum():
                covered |= hole
        grown = ndimage.binary_dilation(region.mask, iterations=underlap) & above
        layers.append(Region(region.mask | covered | grown, region.colour, region.ends))
        above |= region.mask
    return layers[::-1]
