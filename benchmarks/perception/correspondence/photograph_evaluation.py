"""Homographies between views of real photographs, by features and by descriptors."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from baseline_descriptors import DenseSift, RgbPatches
from jaxtyping import Float
from landmark_errors import part_of
from photograph_pairs import CHANGES, PhotographPair, draw_photograph_pairs
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from scorefield.perception.correspondence.matches import Matches
from scorefield.perception.correspondence.matching import match_features, mutual_matches
from scorefield.perception.correspondence.metrics import corner_error
from scorefield.rows import RowStore

CORNERS = (1, 3, 5, 10)
"""Pixels within which the corners must be."""

ALPHAS = (0.1, 0.05, 0.01)
_CELLS = 64
_SIZE = 256
_FAILED = 1e6


def evaluate_photographs(
    describe: Mapping[str, Callable[[Tensor], Tensor]],
    *,
    n: int,
    seed: int,
    side: int,
    parts: RowStore | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Corner accuracy and PCK on pairs of photographs of 256 pixels, by kind of change and method.

    Corners are right within 1, 3, 5 and 10 pixels on the mean of the four, under the homography
    that RANSAC finds in the mutual matches; PCK@alpha is the share of a grid's points that are
    found within alpha times 256 pixels. Beside the methods given: dense SIFT and patches of colours
    at 64 x 64 places of the whole view, and SIFT at its own keypoints, the usual tool for this.

    describe: methods that see the views at side x side pixels.
    n: pairs of each kind of change; 0 for none.
    """
    parts = RowStore(None, {}, ["part"]) if parts is None else parts
    methods: dict[str, Callable[[Tensor], Tensor]] = {
        **{name: _small(one, side) for name, one in describe.items()},
        "dense SIFT": lambda images: _coarse(DenseSift(8)(images)),
        "RGB patches": lambda images: _coarse(RgbPatches(9)(images)),
    }
    found: dict[str, Any] = {}
    for change in CHANGES if n else ():
        pairs = draw_photograph_pairs(seed, n, change, size=_SIZE)
        found[change] = {}
        for name in tqdm(
            (*methods, "SIFT keypoints"), desc=f"photographs, {change}", disable=not progress
        ):
            rows = [
                part_of(
                    parts,
                    f"photographs, {name}, {change} {i}",
                    lambda pair=pair, name=name: (  # type: ignore[misc]
                        _of_maps(methods[name], pair) if name in methods else _of_keypoints(pair)
                    ),
                )
                for i, pair in enumerate(pairs)
            ]
            found[change][name] = _shares(rows)
    return found


def sift_matches(images: Float[Tensor, "2 3 h w"]) -> Matches:
    """SIFT keypoints of two views (Lowe 2004), matched mutually and by the ratio test of 0.9."""
    from kornia.color import rgb_to_grayscale
    from kornia.feature import SIFTFeature, get_laf_center, match_smnn

    sift = SIFTFeature(num_features=1000, upright=True)
    with torch.no_grad():
        frames, _, descriptors = zip(*(sift(rgb_to_grayscale(i[None])) for i in images),
                                     strict=True)  # fmt: skip
        distance, pairs = match_smnn(descriptors[0][0], descriptors[1][0], 0.9)
    # kornia's pixels have their centres at whole numbers
    points = [get_laf_center(f)[0][pairs[:, k]] + 0.5 for k, f in enumerate(frames)]
    none = torch.zeros(len(pairs))
    return Matches(points[0], points[1], 1 - distance[:, 0], none, distance[:, 0])


def _small(describe: Callable[[Tensor], Tensor], side: int) -> Callable[[Tensor], Tensor]:
    def described(images: Tensor) -> Tensor:
        size = (side, side)
        resized = functional.interpolate(images, size, mode="bicubic", antialias=True)
        maps = describe(resized.clamp(0, 1))
        return _coarse(maps) if maps.shape[-1] > _CELLS else maps

    return described


def _coarse(maps: Tensor) -> Tensor:
    """What the maps hold at the centres of 64 x 64 cells."""
    return functional.interpolate(maps, (_CELLS, _CELLS), mode="bilinear")


@torch.no_grad()
def _of_maps(describe: Callable[[Tensor], Tensor], pair: PhotographPair) -> dict[str, Any]:
    a, b = describe(pair.images)
    sizes: dict[str, Any] = {"source_size": (_SIZE, _SIZE), "target_size": (_SIZE, _SIZE)}
    source, target = pair.keypoints()
    matches = match_features(a, b, source, **sizes)
    errors = (matches.target - target).norm(dim=1) / _SIZE
    return {
        "corners": _corners(mutual_matches(a, b, **sizes), pair),
        "pck": {str(alpha): float((errors <= alpha).float().mean()) for alpha in ALPHAS},
    }


def _of_keypoints(pair: PhotographPair) -> dict[str, Any]:
    return {"corners": _corners(sift_matches(pair.images), pair)}


def _corners(matches: Matches, pair: PhotographPair) -> float:
    try:
        found, _ = matches.homography(3.0)
    except ValueError:
        return _FAILED
    error = corner_error(found.detach(), pair.homography, (_SIZE, _SIZE))
    return error if error < _FAILED else _FAILED


def _shares(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    metrics = {
        f"corners within {pixels} px": sum(row["corners"] <= pixels for row in rows) / len(rows)
        for pixels in CORNERS
    }
    if "pck" in rows[0]:
        metrics |= {
            f"pck@{alpha}": sum(row["pck"][str(alpha)] for row in rows) / len(rows)
            for alpha in ALPHAS
        }
    return metrics
