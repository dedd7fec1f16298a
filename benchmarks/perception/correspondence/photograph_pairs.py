"""Pairs of views of real photographs whose homography is known."""

from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Change = Literal["homography", "photometric", "both"]
CHANGES: tuple[Change, ...] = get_args(Change)
_NAMES = ("china", "flower")
_DISPLACED = 0.18


@dataclass(frozen=True)
class PhotographPair:
    """Two views of one photograph.

    images: in [0, 1].
    homography: from pixels (x, y) of the first to those of the second; pixel (row i, column j)
        covers x from j to j + 1 and y from i to i + 1.
    """

    name: str
    images: Float[Tensor, "2 3 size size"]
    homography: Float[Tensor, "3 3"]

    def keypoints(self, step: int = 16) -> tuple[Tensor, Tensor]:
        """Points of a grid on the first view that the second shows, and where: (points, 2) each."""
        size = self.images.shape[-1]
        line = torch.arange(step / 2, size, step)
        y, x = torch.meshgrid(line, line, indexing="ij")
        source = torch.stack([x, y], -1).reshape(-1, 2)
        ends = torch.cat([source, torch.ones(len(source), 1)], 1) @ self.homography.T
        target = ends[:, :2] / ends[:, 2:]
        seen = ((target >= 0) & (target <= size)).all(1)
        return source[seen], target[seen]


def draw_photograph_pairs(
    seed: int, n: int, change: Change = "both", *, size: int = 256
) -> list[PhotographPair]:
    """Pairs number 0 to n - 1 of a seed, in turn of scikit-learn's two photographs.

    A square of the photograph is the first view. Its corners move by up to 18% of its side along
    each axis, and the photograph that the new square cuts out is the second. A photometric change
    is a gain of each colour within 0.7 to 1.3, a gamma within 0.6 to 1.7 and noise of 0.02.

    size: of the views, pixels, at most 427.

    Raises:
        ValueError: another size.
    """
    photographs = _photographs()
    if not 16 <= size <= 427:
        raise ValueError(f"size must lie in 16 to 427, the photographs' height; got {size}")
    pairs = []
    for index in range(n):
        rng = np.random.default_rng([seed, index, CHANGES.index(change)])
        name = _NAMES[index % 2]
        pairs.append(_draw(rng, name, photographs[name], change, size))
    return pairs


def _draw(
    rng: np.random.Generator, name: str, photograph: Tensor, change: Change, size: int
) -> PhotographPair:
    from kornia.geometry import get_perspective_transform, warp_perspective

    height, width = photograph.shape[1:]
    top, left = int(rng.integers(height - size + 1)), int(rng.integers(width - size + 1))
    first = photograph[:, top : top + size, left : left + size]
    homography = torch.eye(3)
    second = first
    if change != "photometric":
        corners = size * torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
        moved = corners + size * torch.tensor(rng.uniform(-_DISPLACED, _DISPLACED, (4, 2))).float()
        homography = get_perspective_transform(corners[None], moved[None])[0]
        cut = torch.eye(3)
        cut[:2, 2] = -torch.tensor([left, top]).float()
        # kornia's pixels have their centres at whole numbers
        half = torch.eye(3)
        half[:2, 2] = 0.5
        whole = torch.linalg.inv(half) @ homography @ cut @ half
        second = warp_perspective(
            photograph[None], whole[None], (size, size), padding_mode="reflection"
        )[0]
    if change != "homography":
        gain = torch.tensor(rng.uniform(0.7, 1.3, (3, 1, 1))).float()
        gamma = float(np.exp(rng.uniform(np.log(0.6), np.log(1.7))))
        noise = 0.02 * torch.tensor(rng.standard_normal(second.shape)).float()
        second = (gain * second.clamp(min=0).pow(gamma) + noise).clamp(0, 1)
    return PhotographPair(name, torch.stack([first, second.clamp(0, 1)]), homography)


@cache
def _photographs() -> dict[str, Tensor]:
    from sklearn.datasets import load_sample_image

    return {
        name: torch.tensor(load_sample_image(f"{name}.jpg")).permute(2, 0, 1).float() / 255
        for name in _NAMES
    }
