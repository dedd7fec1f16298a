"""Functions that take images take paths, arrays and tensors, and answer the same."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
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
def forms(path: Path) -> list[str | Path | Image.Image | np.ndarray | Tensor]:
    tensor = load_image(path)
    pixels = (255 * tensor + 0.5).to(torch.uint8).permute(1, 2, 0).numpy()
    return [str(path), path, tensor, tensor[None], pixels, Image.fromarray(pixels)]


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
    found = [match(prior, form, forms[0], points, preset=QUICK)[0] for form in forms]
    assert all(torch.equal(one.target, found[0].target) for one in found)
    # a batch is matched pair by pair, each with its points and its size
    wide = Image.open(str(forms[0])).resize((96, 80))
    more = torch.tensor([[10.5, 40.5], [33.0, 12.0]])
    both = match(
        prior, [forms[0], wide], [wide, forms[0]], [points, more], "a mushroom", preset=QUICK
    )
    for one, a, b, some in zip(
        both, (forms[0], wide), (wide, forms[0]), (points, more), strict=True
    ):
        alone = match(prior, a, b, some, "a mushroom", preset=QUICK)[0]
        assert torch.equal(one.target, alone.target)
    batch = torch.stack([forms[2], forms[2]])
    assert len(match(prior, batch, batch, points, preset=QUICK)) == 2
    with pytest.raises(ValueError, match="as many images b as images a; got 1 and 2"):
        match(prior, batch, forms[0])
    with pytest.raises(ValueError, match="points for each of the 2 pairs; got 1"):
        match(prior, batch, batch, [points])


def test_segment(prior: FrozenPrior, forms: list[object]) -> None:
    method = clusters_preset(prior, KMeansClusters())
    found = [segment(prior, form, 2, method)[0] for form in forms]
    assert all(torch.equal(one.labels, found[0].labels) for one in found)
    # a batch is divided image by image, each at its size
    wide = Image.open(str(forms[0])).resize((96, 80))
    both = segment(prior, [forms[0], wide], 2, method, ["a mushroom", "a lamp"])
    for one, image, prompt in zip(both, (forms[0], wide), ("a mushroom", "a lamp"), strict=True):
        alone = segment(prior, image, 2, method, prompt)[0]
        assert torch.equal(one.labels, alone.labels)
    assert [tuple(one.labels.shape) for one in both] == [(64, 64), (80, 96)]
    batch = torch.stack([forms[2], forms[2]])
    cells = torch.stack([both[0].low_res, both[0].low_res])
    assert len(segment(prior, batch, 2, method, low_res=cells)) == 2
    with pytest.raises(ValueError, match="one of the grids of low_res per image: 2; got 1"):
        segment(prior, batch, 2, method, low_res=cells[0])
    with pytest.raises(ValueError, match="one of the prompts per image: 2; got 1"):
        segment(prior, batch, 2, method, ["a mushroom"])
