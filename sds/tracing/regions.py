"""Connected regions of one colour, joined under a gradient where their border is soft."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage
from scipy.spatial import ConvexHull
from skimage import measure
from skimage.draw import polygon2mask

from scorefield.sds.tracing.palette import Labelled, oklab

__all__ = ["Region", "layered", "regions_of"]

_ASIDE = 1.5  # pixels of the image on both sides of a border between which it is soft or hard
_SOFT = 0.55  # share of the colours' difference that a soft border shows over that distance
_ALIKE = 0.16  # in OKLab: colours farther apart are two, however soft their border
_DEEP = 1.5  # pixels of the image to the middle of a region: thinner ones always look soft
_BORDER = 3  # pixels of the image: shorter borders say nothing
_THICK = 1.25  # pixels of the image to the middle of a region: thinner ones are blurred
_OTHER = 0.12  # in OKLab: a thin region that differs as much from its palette colour has its own
_EQUAL = 0.03  # in OKLab: regions whose colours differ less have one
_TOUCHING = 0.15  # share of its border along which a region must touch what it is given to


@dataclass(eq=False)
class Region:
    """An area of one paint.

    mask: its pixels, of the enlarged image.
    colour: RGB in [0, 1], where `ends` is None; regions of one paint share the array.
    ends: of a linear gradient: two points (x, y) in pixels, and the colours there.
    wide: the mask and all inside of its hull that lies under others, where a simpler outline may
        run unseen.
    """

    mask: Bool[np.ndarray, "h w"]
    colour: Float[np.ndarray, "3"]
    ends: tuple[Float[np.ndarray, "2 2"], Float[np.ndarray, "2 3"]] | None = None
    wide: Bool[np.ndarray, "h w"] | None = None


def regions_of(labelled: Labelled, most: int = 32, faint: float = 0.3) -> list[Region]:
    """The regions of an image; those of the ground that touch the border are left out.

    most: regions; beyond that those that are missed least are given to their neighbours.
    faint: area in pixels of the image times change of colour in OKLab: less is not missed.
    """
    numbers = measure.label(labelled.labels + 1, connectivity=1)
    first = np.zeros(int(numbers.max()) + 1, int)
    first[numbers.ravel()] = labelled.labels.ravel()
    rim = np.concatenate([numbers[0], numbers[-1], numbers[:, 0], numbers[:, -1]])
    ground = {int(k) for k in np.unique(rim) if first[k] == labelled.ground}
    colours = _shown(numbers, first, labelled)
    numbers = _merged(numbers, colours, labelled.scale, ground, faint, len(colours))
    groups = _joined(numbers, colours, labelled, ground)
    while len(groups) > most:
        count = len(np.unique(numbers)) - len(ground)
        numbers = _merged(numbers, colours, labelled.scale, ground, 0.0, count - 1)
        groups = _joined(numbers, colours, labelled, ground)
    found: list[Region] = []
    for group in sorted(groups, key=lambda group: -int(np.isin(numbers, group).sum())):
        mask = np.isin(numbers, group)
        region = Region(mask, _shared(colours[group[0]], [other.colour for other in found]))
        if len(group) > 1:
            inner = ndimage.binary_erosion(mask, iterations=max(1, round(labelled.scale)))
            region.ends = _gradient(labelled.fine, inner if inner.sum() > 50 else mask)
        found.append(region)
    return found


def _shown(
    numbers: np.ndarray, first: np.ndarray, labelled: Labelled
) -> Float[np.ndarray, "regions 3"]:
    """The colour of each region: that of its deepest pixels, or of the palette where it is thin."""
    depth = _depth(numbers)
    there = np.unique(numbers)
    deepest = np.zeros(len(first))
    deepest[there] = ndimage.maximum(depth, numbers, there)
    deep = np.where(depth >= 0.7 * deepest[numbers], numbers, 0)
    seen = np.stack([ndimage.median(labelled.fine[..., k], deep, there) for k in range(3)], axis=-1)
    colours = labelled.colours[first]
    away = np.linalg.norm(oklab(seen) - oklab(colours[there]), axis=-1)
    own = (deepest[there] > _THICK * labelled.scale) | (away > _OTHER)
    colours[there[own]] = seen[own]
    return colours


def _depth(numbers: np.ndarray) -> np.ndarray:
    """How far each pixel lies inside of its region."""
    inside = np.pad(numbers, 1)
    same = ndimage.minimum_filter(inside, 3) == ndimage.maximum_filter(inside, 3)
    return ndimage.distance_transform_edt(same)[1:-1, 1:-1] + 1


def _shared(colour: np.ndarray, known: list[np.ndarray]) -> np.ndarray:
    """The known colour that is as good as equal, or the colour itself."""
    away = [float(np.linalg.norm(oklab(colour) - oklab(other))) for other in known]
    return known[int(np.argmin(away))] if away and min(away) < _EQUAL else colour


def _merged(
    numbers: np.ndarray,
    colours: Float[np.ndarray, "regions 3"],
    scale: float,
    ground: set[int],
    least: float,
    most: int,
) -> np.ndarray:
    """Regions given to a neighbour, those first that are missed least: area times change of colour.

    least: those that are missed less than this.
    most: regions that may stay.
    """
    lab = oklab(colours)
    area = np.bincount(numbers.ravel(), minlength=len(colours)) / max(scale, 1) ** 2
    border: dict[int, dict[int, int]] = {int(k): {} for k in np.unique(numbers)}
    for axis in (0, 1):
        low, high = (np.take(numbers, range(s, numbers.shape[axis] - 1 + s), axis) for s in (0, 1))
        apart = low != high
        pairs, counts = np.unique(
            np.stack([low[apart], high[apart]], axis=1), axis=0, return_counts=True
        )
        for (a, b), count in zip(pairs.tolist(), counts.tolist(), strict=True):
            border[a][b] = border[a].get(b, 0) + count
            border[b][a] = border[b].get(a, 0) + count
    owner = np.arange(len(colours))

    def cheapest(k: int) -> tuple[float, int]:
        total = sum(border[k].values())
        near = [j for j, length in border[k].items() if length >= _TOUCHING * total] or border[k]
        return min((area[k] * float(np.linalg.norm(lab[k] - lab[j])), j) for j in near)

    while True:
        free = [k for k in border if k not in ground and border[k]]
        if not free:
            break
        (missed, to), gone = min((cheapest(k), k) for k in free)
        if missed >= least and len(free) <= most:
            break
        owner[owner == gone] = to
        area[to] += area[gone]
        for j, length in border.pop(gone).items():
            del border[j][gone]
            if j != to:
                border[to][j] = border[to].get(j, 0) + length
                border[j][to] = border[to][j]
    return owner[numbers]


def _joined(
    numbers: np.ndarray,
    colours: Float[np.ndarray, "regions 3"],
    labelled: Labelled,
    ground: set[int],
) -> list[list[int]]:
    """Groups of regions whose common borders are soft."""
    parent = list(range(len(colours)))

    def root(k: int) -> int:
        while parent[k] != k:
            k = parent[k]
        return k

    lab, depth = oklab(colours), _depth(numbers)
    there = np.unique(numbers)
    deepest = dict(zip(there.tolist(), ndimage.maximum(depth, numbers, there), strict=True))
    for (a, b), values in _softness(numbers, colours, labelled).items():
        long_enough = len(values) >= _BORDER * labelled.scale
        alike = np.linalg.norm(lab[a] - lab[b]) < _ALIKE
        deep = min(deepest[a], deepest[b]) > _DEEP * labelled.scale
        soft = alike and deep and long_enough and np.median(values) < _SOFT
        if soft and not {a, b} & ground:
            parent[root(a)] = root(b)
    groups: dict[int, list[int]] = {}
    for k in there.tolist():
        if k not in ground:
            groups.setdefault(root(k), []).append(k)
    return list(groups.values())


def _softness(
    numbers: np.ndarray, colours: Float[np.ndarray, "regions 3"], labelled: Labelled
) -> dict[tuple[int, int], np.ndarray]:
    """Along the border of two regions: which share of their colours' difference it shows."""
    aside = max(1, round(_ASIDE * labelled.scale))
    pairs, values = [], []
    for axis in (0, 1):
        low, high = (np.take(numbers, range(s, numbers.shape[axis] - 1 + s), axis) for s in (0, 1))
        before = np.argwhere(low != high)
        after = before.copy()
        before[:, axis] -= aside - 1
        after[:, axis] += aside
        within = (before[:, axis] >= 0) & (after[:, axis] < numbers.shape[axis])
        at, to = tuple(before[within].T), tuple(after[within].T)
        place = tuple(np.argwhere(low != high)[within].T)
        a, b = numbers[at], numbers[to]
        plain = (a == low[place]) & (b == high[place])
        step = np.linalg.norm(labelled.fine[to] - labelled.fine[at], axis=-1)
        between = np.maximum(np.linalg.norm(colours[a] - colours[b], axis=-1), 1e-6)
        pairs.append(np.stack([np.minimum(a, b), np.maximum(a, b)], axis=1)[plain])
        values.append((step / between)[plain])
    keys, index = np.unique(np.concatenate(pairs), axis=0, return_inverse=True)
    index, found = index.ravel(), np.concatenate(values)
    return {(int(a), int(b)): found[index == k] for k, (a, b) in enumerate(keys)}


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
    hulls = [_hull(region.mask) for region in regions]
    order = np.argsort([-int(hull.sum()) for hull in hulls], kind="stable")
    lowest_first = [(regions[k], hulls[k]) for k in order]
    shape = regions[0].mask.shape if regions else (0, 0)
    above = np.zeros(shape, bool)
    layers: list[Region] = []
    for region, hull in reversed(lowest_first):
        holes = ndimage.binary_fill_holes(region.mask) & ~region.mask
        parts, count = ndimage.label(holes)
        covered = np.zeros(shape, bool)
        for number in range(1, count + 1):
            hole = parts == number
            if (hole & ~above).sum() <= 0.02 * hole.sum():
                covered |= hole
        grown = ndimage.binary_dilation(region.mask, iterations=underlap) & above
        mask = region.mask | covered | grown
        layers.append(Region(mask, region.colour, region.ends, mask | (hull & above)))
        above |= region.mask
    return layers[::-1]


def _hull(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    rim = np.argwhere(mask & ~ndimage.binary_erosion(mask))
    sides = np.array([(dy, dx) for dy in (-0.4, 0.4) for dx in (-0.4, 0.4)])
    corners = (rim[:, None] + sides).reshape(-1, 2)
    return polygon2mask(mask.shape, corners[ConvexHull(corners).vertices])
