"""PCK of a prior's matches on the pairs of a benchmark, pair by pair."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from scorefield.images import load_image
from scorefield.perception.benchmarks.keypoint_pairs import KeypointPair
from scorefield.perception.correspondence.matching import Locate, NearestPixel, vectors_at
from scorefield.rows import Row, RowStore

ALPHAS = (0.1, 0.05, 0.01)
"""Shares of the size within which a point is right."""

Describe = Callable[[Tensor, str], Tensor]
"""From an image (3, h, w) and a category to a map (channels, h, w)."""


class KeptMaps:
    """Maps of images, which many pairs share; of them the last used, as memory allows.

    describe: makes one.
    memory: GiB for those that are kept; one always is.
    """

    def __init__(self, describe: Describe, memory: float | int = 1.0) -> None:
        self._describe = describe
        self._memory = memory * 2**30
        self._maps: OrderedDict[tuple[Path, str], tuple[Tensor, tuple[int, int]]] = OrderedDict()

    def __call__(self, path: Path, category: str) -> tuple[Tensor, tuple[int, int]]:
        """The map of an image, and the image's height and width."""
        key = path, category
        if key not in self._maps:
            image = load_image(path)
            size = (image.shape[1], image.shape[2])
            self._maps[key] = self._describe(image, category), size
        self._maps.move_to_end(key)
        while len(self._maps) > 1 and self._held() > self._memory:
            self._maps.popitem(last=False)
        return self._maps[key]

    def _held(self) -> int:
        return sum(found.numel() * found.element_size() for found, _ in self._maps.values())


@torch.no_grad()
def evaluate_keypoints(
    pairs: Sequence[KeypointPair],
    describe: Describe,
    rows: RowStore,
    *,
    locate: Locate | None = None,
    memory: float | int = 1.0,
    progress: bool = False,
) -> list[Row]:
    """The row of every pair: how many points it has and how many are right, or its error.

    Rows that are there are not computed again, but for those of
    pairs that could not be read.

    rows: with the key "pair".
    locate: how points are found; None is `NearestPixel`, the rule of Tang et al. 2023.
    memory: GiB for the maps of images that are kept for further pairs.
    """
    maps, locate = KeptMaps(describe, memory), NearestPixel() if locate is None else locate
    found = []
    for pair in tqdm(pairs, desc="pairs", disable=not progress):
        row = rows.get(pair=pair.name)
        if row is None or "error" in row:
            row = {"pair": pair.name, "category": pair.category, **_judged(pair, maps, locate)}
            rows.add(row)
        found.append(row)
    return found


def _judged(pair: KeypointPair, maps: KeptMaps, locate: Locate) -> Row:
    try:
        points = pair.read()
        (a, source_size), (b, target_size) = (
            maps(path, pair.category) for path in (pair.source, pair.target)
        )
        at = points.source.to(a)
        errors = [
            (locate(vectors_at(a, some, source_size), b, target_size, a)[0] - true.to(a))
            .norm(dim=1)
            .cpu()
            for some, true in zip(at.split(256), points.target.split(256), strict=True)
        ]
    except (OSError, ValueError) as error:
        return {"error": " ".join(str(error).split())}
    share = torch.cat(errors) / points.size if errors else torch.empty(0)
    return {
        "points": len(share),
        "right": {str(alpha): int((share <= alpha).sum()) for alpha in ALPHAS},
    }


def keypoint_metrics(rows: Sequence[Row]) -> dict[str, Any]:
    """PCK of the pairs that could be read, per point and per image, whole and by category.

    ``per_point`` is all right points of all points, ``per_image`` the mean of the pairs' shares;
    ``by_category`` is the mean of the categories' per_image. Pairs without a point count nowhere.
    """
    read = [row for row in rows if row.get("points")]
    categories = sorted({row["category"] for row in read})
    of = {name: _shares([r for r in read if r["category"] == name]) for name in categories}
    whole = _shares(read)
    if of:
        whole["by_category"] = {
            alpha: float(np.mean([one["per_image"][alpha] for one in of.values()]))
            for alpha in map(str, ALPHAS)
        }
    return {**whole, "categories": of, "unread": sum("error" in row for row in rows)}


def _shares(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    points = sum(row["points"] for row in rows)
    found: dict[str, Any] = {"pairs": len(rows), "points": points}
    if rows:
        found["per_point"] = {
            alpha: sum(row["right"][alpha] for row in rows) / points for alpha in map(str, ALPHAS)
        }
        found["per_image"] = {
            alpha: float(np.mean([row["right"][alpha] / row["points"] for row in rows]))
            for alpha in map(str, ALPHAS)
        }
    return found
