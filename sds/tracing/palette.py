"""The few colours of an image, and which of them each pixel shows."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from sklearn.cluster import KMeans
from torch import Tensor

__all__ = ["Labelled", "label_pixels", "oklab"]

FINE = 256
"""Longer side of the enlarged image that is traced, pixels."""

_FLAT = 0.06  # largest range of OKLab in 3x3 pixels of the image that counts as flat
_FAR, _FAR_SHARE = 0.07, 0.015  # so much of the flat ink may be so far from all colours
_SAME = 0.045  # colours nearer than this are one
_REACH = 2.5  # pixels of the image from an edge within which its two colours lie flat
_MIXED = 0.06  # a worse mix of two colours is none
_SPECK = 2.0  # area below which a region is one, pixels of the image
_GROUND_WEIGHT = 0.15
_PLATEAU_CELL, _PLATEAU_SHARE = 0.008, 0.02  # so near each other, and of so much of the image
_PLATEAU_FLAT, _PLATEAU_APART = 0.9, 0.016  # so flat, and so far from other colours


@dataclass(frozen=True, eq=False)
class Labelled:
    """An enlarged image whose pixels are numbered by the colour they show.

    fine: the enlarged image, RGB in [0, 1].
    labels: number of a colour, per pixel.
    colours: RGB in [0, 1] of each number.
    ground: number of the colour of the border, or None where it has several.
    scale: fine pixels per pixel of the image.
    """

    fine: Float[np.ndarray, "height width 3"]
    labels: Int[np.ndarray, "height width"]
    colours: Float[np.ndarray, "colours 3"]
    ground: int | None
    scale: float


def label_pixels(image: Float[Tensor, "3 h w"], colours: int = 10) -> Labelled:
    """The palette of an image, grown until it holds the flat ink, and each pixel's colour in it.

    Flat pixels show the nearest colour. Those at an edge are a mix of two that lie flat nearby, and
    show the larger part: so no layer of in-between colours is left along edges.

    image: in [0, 1].
    colours: at most.
    """
    height, width = image.shape[-2:]
    scale = FINE / max(height, width)
    size = max(1, round(scale * height)), max(1, round(scale * width))
    fine = _enlarged(image, size) if scale > 1 else _resized(image, size, "area")
    fine = fine.clamp(0, 1)
    pixels = fine.permute(1, 2, 0).double().numpy()
    coarse = image.permute(1, 2, 0).double().numpy() if scale > 1 else pixels
    flatness = _flatness(coarse)
    border = np.concatenate([coarse[0], coarse[-1], coarse[:, 0], coarse[:, -1]])
    found = _palette(coarse, flatness, border, colours)
    flat = F.interpolate(torch.from_numpy(flatness)[None, None], size, mode="bilinear")[0, 0]
    labels = _labels(pixels, found, flat.numpy() > 0.5, _REACH * max(scale, 1))
    labels = _without_specks(labels, found, max(scale, 1))
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    counts = np.bincount(edge, minlength=len(found))
    ground = int(counts.argmax()) if counts.max() >= 0.6 * len(edge) else None
    return Labelled(pixels, labels, found, ground, scale)


def _enlarged(image: Float[Tensor, "3 h w"], size: tuple[int, int]) -> Float[Tensor, "3 H W"]:
    """Bicubic, but no pixel outside the range of those around it.

    Beside an edge the cubic goes beyond both colours, and on a pale panel the halo would be white.
    """
    most = F.max_pool2d(image[None].float(), 3, stride=1, padding=1)[0]
    least = -F.max_pool2d(-image[None].float(), 3, stride=1, padding=1)[0]
    low, high = (_resized(one, size, "nearest-exact") for one in (least, most))
    return torch.minimum(torch.maximum(_resized(image, size, "bicubic"), low), high)


def _resized(
    image: Float[Tensor, "3 h w"], size: tuple[int, int], mode: str
) -> Float[Tensor, "3 H W"]:
    return F.interpolate(image[None].float(), size, mode=mode)[0]


def oklab(rgb: Float[np.ndarray, "*shape 3"]) -> Float[np.ndarray, "*shape 3"]:
    """Ottosson's OKLab (2020) of sRGB in [0, 1]: distances are about as they are seen."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((np.maximum(rgb, 0) + 0.055) / 1.055) ** 2.4)
    lms = np.cbrt(linear @ _TO_LMS.T)
    return lms @ _TO_LAB.T


_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def _flatness(coarse: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
    """1 where the colour hardly changes over 3x3 pixels, towards 0 where it does."""
    lab = oklab(coarse)
    reach = (3, 3, 1)
    span = ndimage.maximum_filter(lab, reach) - ndimage.minimum_filter(lab, reach)
    return np.exp(-((np.linalg.norm(span, axis=-1) / _FLAT) ** 2) * np.log(2))


def _palette(
    coarse: Float[np.ndarray, "h w 3"],
    flatness: Float[np.ndarray, "h w"],
    border: Float[np.ndarray, "n 3"],
    most: int,
) -> Float[np.ndarray, "colours 3"]:
    lab, rgb = oklab(coarse).reshape(-1, 3), coarse.reshape(-1, 3)
    ground = oklab(np.median(border, axis=0))
    weight = flatness.ravel() + 0.08
    weight = np.where(np.linalg.norm(lab - ground, axis=1) < _SAME, _GROUND_WEIGHT * weight, weight)
    distinct = len(np.unique(np.round(lab, 3), axis=0))
    for count in range(min(2, distinct), min(most, distinct) + 1):
        means = KMeans(count, n_init=2, random_state=0).fit(lab, sample_weight=weight)
        far = np.linalg.norm(lab - means.cluster_centers_[means.labels_], axis=1) > _FAR
        if (weight * far).sum() < _FAR_SHARE * weight.sum():
            break
    centres, mine, keep = means.cluster_centers_, means.labels_, list[int]()
    sizes = np.bincount(mine, weight, minlength=len(centres))
    for number in np.argsort(-sizes):
        if all(np.linalg.norm(centres[number] - centres[k]) > _SAME for k in keep):
            keep.append(int(number))
    # the colour of the flattest pixels of each cluster: its mean holds some of every edge
    chosen = []
    for number in keep:
        inside = mine == number
        flattest = inside & (flatness.ravel() >= np.quantile(flatness.ravel()[inside], 0.6))
        chosen.append(np.median(rgb[flattest], axis=0))
    for plateau in _plateaus(coarse, flatness):
        near = np.linalg.norm(oklab(np.array(chosen)) - oklab(plateau), axis=1).min()
        if near > _PLATEAU_APART and len(chosen) < most:
            chosen.append(plateau)
    return np.array(chosen)


def _plateaus(
    coarse: Float[np.ndarray, "h w 3"], flatness: Float[np.ndarray, "h w"]
) -> list[Float[np.ndarray, "3"]]:
    """Colours that a large part of the image shows exactly, the largest first.

    However near another one such a colour is, as a cream panel to a white ground, it was chosen;
    the colours of a soft shade are as near and nowhere alike.
    """
    flat = flatness.ravel() > _PLATEAU_FLAT
    rgb = coarse.reshape(-1, 3)[flat]
    lab = oklab(rgb)
    cells = np.round(lab / _PLATEAU_CELL).astype(int)
    _, mine, counts = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    found = []
    for number in np.argsort(-counts, kind="stable"):
        if counts[number] < _PLATEAU_SHARE * flatness.size:
            break
        centre = np.median(lab[mine.ravel() == number], axis=0)
        away = np.linalg.norm(lab - centre, axis=1)
        on = away < _PLATEAU_CELL
        around = (away < 2.5 * _PLATEAU_CELL) & ~on
        if around.sum() < on.sum() / 4:
            found.append(np.median(rgb[on], axis=0))
    return found


def _labels(
    pixels: Float[np.ndarray, "h w 3"],
    colours: Float[np.ndarray, "k 3"],
    flat: Bool[np.ndarray, "h w"],
    reach: float,
) -> Int[np.ndarray, "h w"]:
    distance = np.linalg.norm(oklab(pixels)[:, :, None] - oklab(colours), axis=-1)
    labels = distance.argmin(-1)
    near = [
        ndimage.distance_transform_edt(~(flat & (labels == k) & (distance[..., k] < _FAR))) <= reach
        if (flat & (labels == k)).any()
        else np.zeros_like(flat)
        for k in range(len(colours))
    ]
    edge = ~flat | (distance.min(-1) > _FAR)
    best = np.where(edge, _MIXED, -1.0)
    for a in range(len(colours)):
        for b in range(a + 1, len(colours)):
            where = edge & near[a] & near[b]
            if not where.any():
                continue
            along = colours[b] - colours[a]
            inside = pixels[where] - colours[a]
            share = np.clip(inside @ along / max(along @ along, 1e-9), 0, 1)
            error = np.linalg.norm(inside - share[:, None] * along, axis=1)
            better = error < best[where]
            index = tuple(axis[better] for axis in np.nonzero(where))
            best[index] = error[better]
            labels[index] = np.where(share[better] < 0.5, a, b)
    return labels


def _without_specks(
    labels: Int[np.ndarray, "h w"], colours: Float[np.ndarray, "k 3"], scale: float
) -> Int[np.ndarray, "h w"]:
    """Specks, and slivers between the two colours that theirs is a mix of, go to what is around."""
    gone = np.zeros(labels.shape, bool)
    for colour in range(len(colours)):
        parts = ndimage.label(labels == colour)[0]
        depth = ndimage.distance_transform_edt(labels == colour)
        for number, place in enumerate(ndimage.find_objects(parts), 1):
            grown = tuple(slice(max(s.start - 2, 0), s.stop + 2) for s in place)
            mine = parts[grown] == number
            thin = (depth[grown] * mine).max() < 0.75 * scale
            speck = mine.sum() < _SPECK * scale**2
            if speck or (thin and _between(colour, mine, labels[grown], colours)):
                gone[grown] |= mine
    if not gone.any() or gone.all():
        return labels
    _, nearest = ndimage.distance_transform_edt(gone, return_indices=True)
    return labels[tuple(nearest)]


def _between(
    colour: int,
    mine: Bool[np.ndarray, "h w"],
    labels: Int[np.ndarray, "h w"],
    colours: Float[np.ndarray, "k 3"],
) -> bool:
    around = ndimage.binary_dilation(mine, iterations=2) & ~mine
    counts = np.bincount(labels[around], minlength=len(colours))
    a, b = np.argsort(-counts)[:2]
    if counts[b] < 0.1 * counts.sum():
        return False
    along, inside = colours[b] - colours[a], colours[colour] - colours[a]
    share = inside @ along / max(along @ along, 1e-9)
    return bool(0 < share < 1 and np.linalg.norm(inside - share * along) < 0.15)
