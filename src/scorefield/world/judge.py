"""The judge: a small classifier of the world's images, independent of any diffusion prior.

It is trained on renders alone (seed 1 of the world), never on samples, and tells category, colour
and view. It scores what the embedded prior makes: samples, text-to-3D, vector graphics.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file
from torch import Tensor, nn

from scorefield.integrity import check_finite_weights, check_seal
from scorefield.views import VIEWS
from scorefield.world import CATEGORIES, COLORS

SIZE = 64
"""Side of the images the judge looks at; others are resized."""


class JudgeNet(nn.Module):
    """Four strided stages with a residual block each, a pooled feature of 128, three heads."""

    def __init__(self) -> None:
        super().__init__()
        widths = (32, 64, 128, 128)
        stages, last = [], 3
        for width in widths:
            stages += [
                nn.Conv2d(last, width, 3, stride=2, padding=1),
                nn.GroupNorm(8, width),
                nn.SiLU(),
                _Residual(width),
            ]
            last = width
        self.trunk = nn.Sequential(*stages)
        self.category = nn.Linear(last, len(CATEGORIES))
        self.color = nn.Linear(last, len(COLORS))
        self.view = nn.Linear(last, len(VIEWS))

    def features(self, images: Float[Tensor, "b 3 64 64"]) -> Float[Tensor, "b 128"]:
        """Pooled features of images in [0, 1]."""
        out: Tensor = self.trunk(images * 2 - 1)
        return out.mean((2, 3))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of category, colour and view."""
        h = self.features(images)
        return self.category(h), self.color(h), self.view(h)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(8, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = nn.functional.silu(x + self.body(x))
        return out


@dataclass(frozen=True)
class Verdict:
    """What the judge saw: one row per image, probabilities over the world's words."""

    category: Float[Tensor, "b categories"]
    color: Float[Tensor, "b colors"]
    view: Float[Tensor, "b views"]

    @property
    def categories(self) -> list[str]:
        """Most probable category of each image."""
        return _names(self.category, list(CATEGORIES))

    @property
    def colors(self) -> list[str]:
        """Most probable colour of each image."""
        return _names(self.color, list(COLORS))

    @property
    def views(self) -> list[str]:
        """Most probable view of each image; means something where the object has a front."""
        return _names(self.view, list(VIEWS))


def _names(probabilities: Tensor, names: Sequence[str]) -> list[str]:
    return [names[i] for i in probabilities.argmax(1).tolist()]


class Judge:
    """Category, colour and view of images of the world's kind."""

    def __init__(self, net: JudgeNet) -> None:
        self.net = net.eval().requires_grad_(False)

    @classmethod
    def load(cls, path: Path | None = None) -> "Judge":
        """The judge that ships with the package, or one from a safetensors file.

        Raises:
            ValueError: the file is missing, not the one that was sealed, or not finite.
        """
        net = JudgeNet()
        source = path or Path(str(files("scorefield.world") / "weights/judge.safetensors"))
        if not source.is_file():
            raise ValueError(
                f"{source}: missing; install scorefield again, or train a judge with "
                "scorefield.training.shapes.train_judge"
            )
        check_seal(source.parent)
        weights = load_file(source)
        check_finite_weights(weights, source)
        net.load_state_dict({k: v.float() for k, v in weights.items()})
        return cls(net)

    @torch.no_grad()
    def __call__(self, images: Float[Tensor, "b 3 h w"]) -> Verdict:
        """Verdict on images in [0, 1]."""
        heads = [self.net(chunk) for chunk in self._inputs(images).split(128)]
        category, color, view = (torch.cat(parts).softmax(1) for parts in zip(*heads, strict=True))
        return Verdict(category, color, view)

    @torch.no_grad()
    def features(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 128"]:
        """The features that `frechet_distance` compares."""
        return torch.cat([self.net.features(chunk) for chunk in self._inputs(images).split(128)])

    def _inputs(self, images: Tensor) -> Tensor:
        """The images at the net's size, where and in the precision that its weights are."""
        images = images.to(self.net.category.weight)
        if images.shape[-2:] == (SIZE, SIZE):
            return images
        return nn.functional.interpolate(
            images, (SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False
        )


def frechet_distance(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> float:
    """|mean difference|^2 + tr(A + B - 2 (A B)^(1/2)) of two feature sets (Heusel et al. 2017).

    The trace of the root is that of the symmetric A^(1/2) B A^(1/2), whose eigenvalues are real.

    Raises:
        ValueError: a set of fewer than two rows, which has no covariance.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"each set needs two rows or more, got {len(a)} and {len(b)}")
    x, y = a.cpu().double().numpy(), b.cpu().double().numpy()
    cov_x, cov_y = (np.atleast_2d(np.cov(rows, rowvar=False)) for rows in (x, y))
    values, vectors = np.linalg.eigh(cov_x)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ cov_y @ root).clip(0)).sum()
    gap = np.square(x.mean(0) - y.mean(0)).sum()
    return float(gap + np.trace(cov_x) + np.trace(cov_y) - 2 * cross)


def class_indices(names: Sequence[str], known: Sequence[str]) -> Int[Tensor, "n"]:
    """Positions of names in a list of known ones."""
    return torch.tensor([list(known).index(name) for name in names])
