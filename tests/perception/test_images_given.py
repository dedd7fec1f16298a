"""Functions that take images take paths, arrays and tensors, and answer the same."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from scorefield import classify, features, match, segment
from scorefield.images import load_image, save_image
from scorefield.perception import DiftPreset, KMeansClusters, clusters_preset
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.loading import load_prior
from scorefield.world import draw_scene, render

QUICK = DiftPreset(("up0",), log_snr=2.0, ensemble=1)


@pytest.fixture(scope="module")
def prior() -> FrozenPrior:
    return load_prior("shapes")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    image = render([draw_scene(3, 0, category="mushroom", color="red")]).images[0]
    return save_image(tmp_path_factory.mktemp("given") / "image.png", image)


@pytest.fixture
def forms(path: Path) -> list[str | Path | np.ndarray | Tensor]:
    tensor = load_image(path)
    pixels = (255 * tensor + 0.5).to(torch.uint8).permute(1, 2, 0).numpy()
    return [str(path), path, tensor, tensor[None], pixels]


def test_classify(prior: FrozenPrior, forms: list[object]) -> None:
    labels = {"mushroom": "a mushroom", "lamp": "a lamp"}
    found = [classify(prior, form, labels, budget=4) for form in forms]
    assert all(torch.equal(one.log_likelihoods, found[0].log_likelihoods) for one in found)
    with pytest.raises(ValueError, match="divide by 255"):
        classify(prior, np.full((64, 64, 3), 200.0), labels)


def test_features_and_match(prior: FrozenPrior, forms: list[object]) -> None:
    maps = [features(prior, form, preset=QUICK) for form in forms]
    assert maps[0].ndim == 4 and all(torch.equal(one, maps[0]) for one in maps)
    points = torch.tensor([[20.5, 30.5]])
    found = [match(prior, form, forms[0], points, preset=QUICK) for form in forms]
    assert all(torch.equal(one.target, found[0].target) for one in found)


def test_segment(prior: FrozenPrior, forms: list[object]) -> None:
    method = clusters_preset(prior, KMeansClusters())
    found = [segment(prior, form, 2, method) for form in forms]
    assert all(torch.equal(one.labels, found[0].labels) for one in found)
    with pytest.raises(ValueError, match="give one image; got 2"):
        segment(prior, torch.rand(2, 3, 64, 64), 2, method)
