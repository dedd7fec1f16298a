"""Functions of priors that take images take paths, arrays and tensors, and answer the same."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from scorefield.images import load_image, save_image
from scorefield.priors.editing import inpaint
from scorefield.priors.features.extraction import extract_features
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.loading import load_prior
from scorefield.sds.image_distillation import edit_image

Form = str | Path | np.ndarray | Tensor | list[Path]
RED, BLUE = "a red boat", "a blue boat"


@pytest.fixture(scope="module")
def prior() -> FrozenPrior:
    return load_prior("shapes")


@pytest.fixture
def forms(tmp_path: Path) -> list[Form]:
    noise = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    path = save_image(tmp_path / "image.png", noise)
    tensor = load_image(path)
    pixels = (255 * tensor + 0.5).to(torch.uint8).permute(1, 2, 0).numpy()
    return [str(path), path, [path], tensor, tensor[None], pixels, tensor.numpy()]


def test_encode(prior: FrozenPrior, forms: list[Form]) -> None:
    latents = [prior.encode(form) for form in forms]
    assert latents[0].shape == (1, *prior.latent_shape)
    assert all(torch.equal(one, latents[0]) for one in latents)
    images = torch.rand(2, 3, 64, 64)
    assert len(prior.encode([*images])) == len(prior.encode(images)) == 2


def test_what_is_no_image_in_0_to_1_is_refused_with_the_remedy(prior: FrozenPrior) -> None:
    with pytest.raises(ValueError, match="divide by 255"):
        prior.encode(torch.full((1, 3, 64, 64), 200.0))
    with pytest.raises(ValueError, match="divide by 255"):
        extract_features(prior, np.full((64, 64, 3), 200.0), ["mid"], level(prior))
    with pytest.raises(ValueError, match="divide by 255"):
        edit_image(prior, torch.full((3, 64, 64), 200.0), RED, BLUE, steps=1)
    with pytest.raises(ValueError, match=r"encodes images \(b, 3, h, w\); got shape"):
        prior.encode(torch.rand(1, 2, 3, 64, 64))


def test_a_generators_images_may_overshoot_and_get_their_gradient(prior: FrozenPrior) -> None:
    images = torch.full((1, 3, 64, 64), 1.2, requires_grad=True)
    prior.encode(images).square().sum().backward()
    assert images.grad is not None and float(images.grad.abs().max()) > 0


def level(prior: FrozenPrior):
    return prior.schedule.at_timestep(261)


def test_features(prior: FrozenPrior, forms: list[Form]) -> None:
    maps = [extract_features(prior, form, ["mid"], level(prior), ensemble=1) for form in forms]
    assert all(torch.equal(one["mid"], maps[0]["mid"]) for one in maps)


def test_inpaint(prior: FrozenPrior, forms: list[Form], tmp_path: Path) -> None:
    """Masks, too: an image, truth values, numbers; one image or a batch of one."""
    truth = torch.zeros(64, 64, dtype=torch.bool)
    truth[10:30, 20:40] = True
    path = save_image(tmp_path / "mask.png", truth.float()[None])
    masks = [path, truth, truth.numpy(), truth.float(), truth.float()[None, None], path, truth]
    options = {"steps": 2, "resamplings": 1}
    made = [
        inpaint(prior, form, mask, RED, **options) for form, mask in zip(forms, masks, strict=True)
    ]
    assert all(torch.equal(one, made[0]) for one in made)
    assert torch.equal(made[0][0][:, ~truth], load_image(forms[0])[:, ~truth])


def test_edit_image(prior: FrozenPrior, forms: list[Form]) -> None:
    made = [edit_image(prior, form, RED, BLUE, steps=1) for form in (forms[0], *forms[3:6])]
    assert all(torch.equal(one, made[0]) for one in made)
