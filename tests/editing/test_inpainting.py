"""Inpainting: a Gaussian whose conditional is known, masks, and the embedded prior."""

import pytest
import torch

from scorefield.priors import (
    DiscreteSchedule,
    FlowSchedule,
    GaussianMixturePrior,
    ImagePrior,
    PixelCodec,
    load_prior,
)
from scorefield.priors.editing import inpaint, inpainting
from scorefield.priors.editing.inpainting import inpaint_latents
from scorefield.priors.editing.masks import composite, mask_cells

COPIES = 250


def gaussian(schedule=None, copies=1):
    """Places in fours, two known and two not, and the mean of the latter given the former.

    Several copies are independent of each other; in one row they cost one draw of noise.
    """
    mean = torch.tensor([0.5, -0.3, 0.2, 0.8]).double()
    place = torch.arange(4).double()
    covariance = 0.6 ** (place[:, None] - place).abs()
    every = torch.block_diag(*[covariance] * copies)
    prior = GaussianMixturePrior(mean.repeat(copies)[None], every[None], schedule=schedule)
    known = torch.tensor([1.5, -1.0]).double()
    gain = covariance[2:, :2] @ torch.linalg.inv(covariance[:2, :2])
    return prior, known, mean[2:] + gain @ (known - mean[:2])


@pytest.mark.parametrize("schedule", [DiscreteSchedule.linear_beta(), FlowSchedule()])
def test_resampling_approaches_the_conditional_mean(schedule, monkeypatch) -> None:
    # On a Gaussian every step is affine in the state and its noise: without noise it is the mean.
    monkeypatch.setattr(inpainting, "normal", lambda like, _: torch.zeros_like(like))
    monkeypatch.setattr(inpainting, "keyed_noise", lambda *args: torch.zeros(1, 4).double())
    prior, known, mean = gaussian(schedule)
    x = torch.cat([known, torch.full((2,), 9.0).double()])[None]
    mask = torch.tensor([0.0, 0.0, 1.0, 1.0])
    errors = []
    for resamplings in (1, 4, 25):
        made = inpaint_latents(prior, x, mask, steps=40, resamplings=resamplings, jump=1)
        assert torch.equal(made[0, :2], known)
        errors.append(float((made[0, 2:] - mean).norm()))
    # Measured 0.36, 0.22 and 0.08 on the discrete schedule, 0.35, 0.21 and 0.06 on the flow; the
    # mean that ignores what is known errs by 0.49.
    assert errors[0] > 0.3 > errors[1] > 0.1 > errors[2], errors


def test_what_lies_under_the_mask_is_not_read() -> None:
    prior, known, _ = gaussian()
    mask = torch.tensor([0.0, 0.0, 1.0, 1.0])
    made = [
        inpaint_latents(prior, torch.cat([known, hidden])[None], mask, steps=8, jump=2)
        for hidden in (torch.zeros(2).double(), torch.full((2,), 5.0).double())
    ]
    assert torch.equal(*made)


def test_a_full_mask_without_resampling_is_ancestral_sampling() -> None:
    prior, _, _ = gaussian(copies=COPIES)
    x = torch.zeros(1, 4 * COPIES).double()
    made = inpaint_latents(prior, x, torch.ones(4 * COPIES), steps=60, resamplings=1)
    made = made.reshape(COPIES, 4)
    error = made.mean(0) - prior.means[0, :4]
    assert float(error.abs().max()) < 5 / COPIES**0.5
    # entries of a sample covariance have a standard error of at most sqrt(2 / n)
    torch.testing.assert_close(
        made.T.cov(), prior.scales[0, :4, :4], rtol=0, atol=5 * (2 / COPIES) ** 0.5
    )


def test_neither_batch_nor_order_changes_an_item_and_seeds_do() -> None:
    prior, _, _ = gaussian()
    x, mask = prior.sample(4), torch.tensor([0.0, 1.0, 0.0, 1.0])

    def make(x, **options):
        return inpaint_latents(prior, x, mask, steps=7, resamplings=2, jump=3, **options)

    whole = make(x, seed=5)
    assert torch.equal(whole, make(x, seed=5))
    order = [3, 0]
    some = make(x[order], seed=5, items=order)
    torch.testing.assert_close(some, whole[order], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(whole, make(x, seed=6), atol=1e-2)


@pytest.mark.parametrize(("steps", "resamplings", "jump"), [(1, 3, 2), (7, 3, 3), (9, 2, 4)])
def test_the_evaluations_are_as_many_as_stated(steps, resamplings, jump) -> None:
    prior, _, _ = gaussian()
    calls = []
    predict = prior.predict
    prior.predict = lambda z, level: (calls.append(level), predict(z, level))[1]
    mask = torch.tensor([0.0, 0.0, 1.0, 1.0])
    numbers = {"steps": steps, "resamplings": resamplings, "jump": jump}
    inpaint_latents(prior, torch.zeros(1, 4).double(), mask, **numbers)
    assert len(calls) == resamplings * (steps - 1) + 1


def test_a_cell_is_known_only_if_all_its_pixels_are() -> None:
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 3, 4] = 0.1
    cells = mask_cells(mask, 4)
    assert cells.tolist() == [[[[0, 1], [0, 0]]]]
    assert mask_cells(torch.zeros(1, 1, 8, 8), 4).sum() == 0


def test_known_pixels_are_put_back_bit_for_bit() -> None:
    images, made = torch.rand(2, 2, 3, 4, 4)
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1
    mask[..., 2] = 0.5
    mixed = composite(images, made, mask)
    assert torch.equal(mixed[..., 3], images[..., 3])
    assert torch.equal(mixed[..., :2], made[..., :2])
    torch.testing.assert_close(mixed[..., 2], (images + made)[..., 2] / 2)


def test_images_of_the_embedded_prior() -> None:
    prior = load_prior("shapes")
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 10:30, 20:40] = 1
    options = {"steps": 3, "resamplings": 2, "jump": 1}
    made = inpaint(prior, images, mask, "a red cup", **options)
    assert torch.equal(torch.where(mask == 0, made, 0), torch.where(mask == 0, images, 0))
    assert (made - images)[..., 10:30, 20:40].abs().mean() > 0.05
    through_codec = inpaint(prior, images, mask, "a red cup", keep_pixels=False, **options)
    assert not torch.equal(through_codec[..., 40:, :], images[..., 40:, :])


def pictures() -> ImagePrior:
    means = torch.zeros(1, 3, 8, 8)
    return ImagePrior(
        GaussianMixturePrior(means, torch.ones(1), labels=["grey"]), PixelCodec(), image_size=8
    )


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(1, 1, 4, 4), r"shape \(1, 1, 8, 8\) or \(2, 1, 8, 8\), as the images; got"),
        (torch.ones(3, 1, 8, 8), r"got \(3, 1, 8, 8\)"),
        (torch.full((1, 1, 8, 8), 2.0), "values must lie in .0, 1., .* got 2 to 2"),
        (torch.full((1, 1, 8, 8), -0.1), "values must lie in"),
        (torch.full((1, 1, 8, 8), float("nan")), "values must lie in"),
        (torch.zeros(1, 1, 8, 8), "zero everywhere"),
        (torch.cat([torch.ones(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)]), "zero everywhere"),
    ],
)
def test_masks_that_do_not_fit_are_refused_in_one_line(mask, message) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        inpaint(pictures(), torch.rand(2, 3, 8, 8), mask, "grey")
    assert "\n" not in str(refusal.value)


def test_refusals() -> None:
    prior, _, _ = gaussian()
    x, mask = torch.zeros(2, 4).double(), torch.tensor([0.0, 0.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="images must be 8x8 pixels"):
        inpaint(pictures(), torch.rand(1, 3, 8, 9), torch.ones(1, 1, 8, 9), "grey")
    with pytest.raises(ValueError, match="resamplings and jump must be >= 1, got 0 and 2"):
        inpaint_latents(prior, x, mask, resamplings=0)
    with pytest.raises(ValueError, match="holds 0 and 1 only"):
        inpaint_latents(prior, x, mask / 2)
    with pytest.raises(ValueError, match=r"shape \(3,\) does not broadcast"):
        inpaint_latents(prior, x, torch.ones(3))
    with pytest.raises(FloatingPointError, match="not finite"):
        inpaint_latents(prior, x * float("nan"), mask, steps=2)
