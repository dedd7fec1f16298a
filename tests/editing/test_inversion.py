"""Inversions: what they return to, at what order, and exactly."""

import math
from itertools import pairwise

import pytest
import torch

from scorefield.priors import DiscreteSchedule, FlowSchedule, GaussianMixturePrior, load_prior
from scorefield.priors.editing import ddim_generate, ddim_invert, edit_friendly_invert
from scorefield.priors.guidance.classifier_free import ClassifierFreeGuidance
from scorefield.world import draw_scene, render

ZERO_SNR = DiscreteSchedule.scaled_linear().zero_terminal_snr()
SCHEDULES = [DiscreteSchedule.linear_beta(), ZERO_SNR, FlowSchedule()]


def mixture(schedule=ZERO_SNR, dtype=torch.float64) -> GaussianMixturePrior:
    means = torch.tensor([[-1.0, 0.5, 0.0], [1.0, -0.5, 0.3]], dtype=dtype)
    scales = torch.tensor([0.8, 0.7], dtype=dtype)
    return GaussianMixturePrior(means, scales, labels=["left", "right"], schedule=schedule)


@pytest.fixture(scope="module")
def shapes():
    return load_prior("shapes")


@pytest.fixture(scope="module")
def latents(shapes) -> torch.Tensor:
    scenes = [draw_scene(3, i, category="mushroom", color="red") for i in range(2)]
    return shapes.encode(render(scenes).images)


def round_trip(prior, x, steps, iterations) -> float:
    z = ddim_invert(prior, x, steps=steps, iterations=iterations)
    return float((ddim_generate(prior, z, steps=steps) - x).abs().mean())


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("iterations", [1, 2])
def test_the_error_of_ddim_inversion_falls_at_the_order_of_its_iterations(
    schedule, iterations
) -> None:
    prior = mixture(schedule)
    x = prior.sample(16)
    counts = (50, 100, 200)
    errors = [round_trip(prior, x, steps, iterations) for steps in counts]
    slopes = [math.log2(a / b) for a, b in pairwise(errors)]
    assert all(abs(slope - iterations) < 0.35 for slope in slopes), (errors, slopes)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_enough_iterations_invert_to_rounding(schedule) -> None:
    prior = mixture(schedule)
    assert round_trip(prior, prior.sample(4), 25, 25) < 1e-8


def test_partial_inversion_returns_from_where_it_stopped() -> None:
    prior = mixture()
    x = prior.sample(4)
    z = ddim_invert(prior, x, steps=20, strength=0.4, iterations=30)
    back = ddim_generate(prior, z, steps=20, strength=0.4)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-6)
    # of a Gaussian mixture of scale s, z at (alpha, sigma) has the spread of the noised samples
    assert z.std() < ddim_invert(prior, x, steps=20, iterations=30).std() + 0.5


def test_generating_under_another_prompt_edits() -> None:
    prior = mixture()
    x = prior.restrict("left").sample(8)
    z = ddim_invert(prior.condition("left"), x, steps=50, iterations=5)
    edited = ddim_generate(prior.condition("right"), z, steps=50)
    # One Gaussian to another: x -> m' + s'/s (x - m), the optimal transport, in the limit of steps
    expected = prior.means[1] + 0.7 / 0.8 * (x - prior.means[0])
    torch.testing.assert_close(edited, expected, rtol=0, atol=0.1)


def test_ddim_inversion_does_not_see_the_batch(shapes, latents) -> None:
    denoiser = shapes.condition("a red mushroom")
    both = ddim_invert(denoiser, latents, steps=3, strength=0.5)
    one = ddim_invert(denoiser, latents[1:], steps=3, strength=0.5)
    torch.testing.assert_close(one, both[1:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("skip", [0, 7])
def test_edit_friendly_replay_is_exact_in_float32(schedule, skip) -> None:
    prior = mixture(schedule, torch.float32)
    x = prior.sample(8)
    guided = ClassifierFreeGuidance(prior.condition("left"), prior.unconditional, 3)
    for denoiser in (prior, guided):
        maps = edit_friendly_invert(denoiser, x, steps=20, seed=2)
        assert maps.residuals.shape == (20, 8, 3)
        torch.testing.assert_close(maps.replay(denoiser, skip=skip), x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [1, 3.5])
def test_edit_friendly_replay_is_exact_on_the_embedded_network(shapes, latents, scale) -> None:
    denoiser = shapes.guided("a red mushroom", scale)
    maps = edit_friendly_invert(denoiser, latents, steps=6)
    error = (maps.replay(denoiser) - latents).abs().max()
    assert float(error) < 1e-4
    edited = maps.replay(shapes.guided("a blue mushroom", scale), skip=2)
    assert (edited - latents).abs().mean() > 0.05


def test_residuals_are_those_of_ancestral_steps_between_independent_noisings() -> None:
    # On a prior of one point, mean(z) = alpha' m + kept eps, known in closed form.
    mean = 0.4
    prior = GaussianMixturePrior(torch.full((1, 2), mean).double(), torch.zeros(1).double())
    x = torch.full((1, 2), mean).double()
    maps = edit_friendly_invert(prior, x, steps=5, seed=9)
    for i, (level, to) in enumerate(zip(maps.levels[:-1], maps.levels[1:-1], strict=False)):
        eps, eps_to = (
            (maps.start(i + k) - one.alpha * mean) / one.sigma for k, one in enumerate((level, to))
        )
        # without x in the way: sigma' (eps' - k eps), k = (u' / u)
        ratio = to.sigma * level.alpha / (to.alpha * level.sigma)
        torch.testing.assert_close(maps.residuals[i], to.sigma * (eps_to - ratio * eps))
    torch.testing.assert_close(maps.residuals[-1], torch.zeros_like(x))


def test_noise_maps_do_not_depend_on_batch_or_order_and_twice_repeats_them() -> None:
    prior = mixture()
    x = prior.sample(4)
    whole = edit_friendly_invert(prior, x, steps=6, seed=1)
    again = edit_friendly_invert(prior, x, steps=6, seed=1)
    assert torch.equal(whole.residuals, again.residuals)
    order = [3, 1]
    some = edit_friendly_invert(prior, x[order], steps=6, seed=1, items=order)
    torch.testing.assert_close(some.residuals, whole.residuals[:, order])
    assert torch.equal(some.start(2), whole.start(2)[order])
    other = edit_friendly_invert(prior, x, steps=6, seed=2)
    assert not torch.allclose(other.residuals, whole.residuals, atol=1e-2)
    pairs = some.twice()
    assert torch.equal(pairs.start(), some.start().repeat(2, 1))
    torch.testing.assert_close(pairs.replay(prior), x[[*order, *order]])


def test_an_edit_moves_to_the_other_mode_and_skipping_keeps_more() -> None:
    prior = mixture()
    x = prior.restrict("left").sample(16)
    maps = edit_friendly_invert(prior.condition("left"), x, steps=40)
    right = prior.condition("right")
    far, near = (maps.replay(right, skip=skip) for skip in (0, 25))
    assert (far - prior.means[1]).norm() < (x - prior.means[1]).norm()
    assert (near - x).norm() < (far - x).norm()


def test_refusals() -> None:
    prior, x = mixture(), torch.zeros(2, 3).double()
    with pytest.raises(ValueError, match="iterations must be >= 1"):
        ddim_invert(prior, x, iterations=0)
    with pytest.raises(ValueError, match="cannot be inverted; use more steps than 1"):
        ddim_invert(prior, x, steps=1)
    with pytest.raises(ValueError, match="strength must lie"):
        ddim_generate(prior, x, strength=0)
    maps = edit_friendly_invert(prior, x, steps=3)
    with pytest.raises(ValueError, match=r"skip must lie in 0 ... 2, got 3"):
        maps.replay(prior, skip=3)
    with pytest.raises(ValueError, match="each of the 2 rows, got 3"):
        edit_friendly_invert(prior, x, items=[1, 2, 3])
    with pytest.raises(FloatingPointError, match="not finite"):
        edit_friendly_invert(prior, x * float("inf"), steps=2)
