"""The SDS gradient against its closed forms on Gaussian priors."""

import pytest
import torch

from scorefield.priors import (
    ClassifierFreeGuidance,
    DiscreteSchedule,
    EmpiricalPrior,
    GaussianMixturePrior,
    ImagePrior,
    PixelCodec,
)
from scorefield.sds import distill
from scorefield.sds.objective import SDS, PromptedDenoisers, sigma_squared, uniform

SCHEDULE = DiscreteSchedule.scaled_linear()


def gaussian(mean: float, scale: float, shape: tuple[int, ...] = (5,)) -> GaussianMixturePrior:
    means = torch.full((1, *shape), mean, dtype=torch.float64)
    return GaussianMixturePrior(means, torch.tensor([scale]).double(), schedule=SCHEDULE)


@pytest.mark.parametrize("timestep", [20, 300, 700, 980])
@pytest.mark.parametrize("weight", [sigma_squared, uniform])
def test_expected_gradient_on_a_gaussian(timestep: int, weight: object) -> None:
    """E[w (eps_hat - eps)] = w sigma alpha (x - m) / v, noise w alpha^2 s^2 / v a dimension.

    v = alpha^2 s^2 + sigma^2. Tolerance: five standard errors of the mean.
    """
    mean, scale, n = 0.7, 0.5, 20_000
    prior = gaussian(mean, scale)
    level = SCHEDULE.at_timestep(torch.tensor(float(timestep), dtype=torch.float64))
    x = torch.linspace(-2, 2, 5).double()
    eps = torch.randn(n, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    out = distill(prior, x.expand(n, 5), level, eps, objective=SDS(weight))  # type: ignore[arg-type]

    alpha, sigma = level.alpha, level.sigma
    w = weight(level)  # type: ignore[operator]
    v = alpha**2 * scale**2 + sigma**2
    expected = w * sigma * alpha * (x - mean) / v
    noise = w * alpha**2 * scale**2 / v
    torch.testing.assert_close(
        out.gradient.mean(0), expected, rtol=0, atol=float(5 * noise / n**0.5)
    )
    torch.testing.assert_close(out.gradient.std(0), noise.expand(5), rtol=0.05, atol=0)


def test_gradient_is_that_of_the_weighted_kl() -> None:
    """For w = 1 it is (sigma / alpha) grad_x KL(N(alpha x, sigma^2) || p_t), compose.md's law.

    On a Gaussian the KL is log(s_t / sigma) + (sigma^2 + alpha^2 (x - m)^2) / (2 v) - 1/2.
    """
    mean, scale = -0.3, 0.8
    level = SCHEDULE.at_timestep(torch.tensor(400.0, dtype=torch.float64))
    x = torch.linspace(-1, 1, 5).double().requires_grad_()
    v = level.alpha**2 * scale**2 + level.sigma**2
    kl = ((level.sigma**2 + level.alpha**2 * (x - mean) ** 2) / (2 * v)).sum()
    (expected,) = torch.autograd.grad(kl, x)
    # Antithetic noise cancels the noise part, which is linear in eps, exactly.
    eps = torch.randn(1, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    both = torch.cat([eps, -eps])
    out = distill(gaussian(mean, scale), x.expand(2, 5), level, both, objective=SDS(uniform))
    torch.testing.assert_close(out.gradient.mean(0), level.sigma / level.alpha * expected)


def test_fixed_point_is_the_mode() -> None:
    """At x = m the expected gradient vanishes; descent from anywhere arrives there."""
    prior = gaussian(0.4, 0.3)
    x = torch.zeros(1, 5, dtype=torch.float64, requires_grad=True)
    generator = torch.Generator().manual_seed(2)
    optimizer = torch.optim.SGD([x], lr=0.2)
    for _ in range(300):
        eps = torch.randn(1, 5, generator=generator, dtype=torch.float64)
        level = SCHEDULE.at_fraction(torch.rand((), generator=generator, dtype=torch.float64))
        both = distill(prior, x.expand(2, 5), level, torch.cat([eps, -eps]))
        optimizer.zero_grad()
        both.loss.backward()
        optimizer.step()
    torch.testing.assert_close(x.detach(), torch.full((1, 5), 0.4).double(), atol=1e-4, rtol=0)


def test_loss_has_the_stated_gradient() -> None:
    """d loss / d latents = gradient / batch, factor included."""
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(3)).double().requires_grad_()
    eps = torch.randn(3, 5, generator=torch.Generator().manual_seed(4)).double()
    out = distill(gaussian(0.0, 1.0), x, SCHEDULE.at_timestep(500), eps)
    (gradient,) = torch.autograd.grad(out.loss, x)
    torch.testing.assert_close(gradient, out.gradient / 3)


def test_gradient_reaches_through_a_codec() -> None:
    """The chain rule through PixelCodec's 2 x - 1 doubles the latent gradient."""
    prior = gaussian(0.0, 1.0, (3, 2, 2))
    images = torch.rand(2, 3, 2, 2, generator=torch.Generator().manual_seed(5)).double()
    images.requires_grad_()
    eps = torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(6)).double()
    out = distill(prior, PixelCodec().encode(images), SCHEDULE.at_timestep(300), eps)
    (gradient,) = torch.autograd.grad(out.loss, images)
    torch.testing.assert_close(gradient, 2 * out.gradient / 2)


def test_no_graph_reaches_the_denoiser() -> None:
    """The prior's Jacobian is left out: the gradient has no graph of its own."""
    x = torch.zeros(1, 5, dtype=torch.float64, requires_grad=True)
    out = distill(gaussian(1.0, 1.0), x, SCHEDULE.at_timestep(300), torch.ones_like(x))
    assert not out.gradient.requires_grad and not out.x0.requires_grad


def test_clip_bounds_the_root_mean_square_and_keeps_the_direction() -> None:
    x = torch.full((2, 5), 30.0).double()
    x[1] = 0.01
    eps = torch.zeros_like(x)
    free = distill(gaussian(0.0, 1.0), x, SCHEDULE.at_timestep(500), eps)
    clipped = distill(gaussian(0.0, 1.0), x, SCHEDULE.at_timestep(500), eps, clip=0.5)
    assert clipped.gradient[0].square().mean().sqrt().item() == pytest.approx(0.5)
    torch.testing.assert_close(clipped.gradient[1], free.gradient[1])
    cosine = torch.cosine_similarity(clipped.gradient[0], free.gradient[0], dim=0)
    assert cosine.item() == pytest.approx(1)


def test_guidance_moves_the_fixed_point_of_a_gaussian() -> None:
    """Guided SDS stops where the guided score does, beyond the conditional mean.

    cond N(1, 1), uncond N(0, 1): guided eps = sigma (x_t - alpha s) / v for scale s, whose fixed
    point is x = s. DreamFusion's omega = s - 1 has the same.
    """
    scale = 3.0
    guided = ClassifierFreeGuidance(gaussian(1.0, 1.0), gaussian(0.0, 1.0), scale)
    x = torch.full((2, 5), scale, dtype=torch.float64)
    eps = torch.randn(1, 5, generator=torch.Generator().manual_seed(7)).double()
    out = distill(guided, x, SCHEDULE.at_timestep(600), torch.cat([eps, -eps]))
    torch.testing.assert_close(out.gradient.mean(0), torch.zeros(5).double(), atol=1e-6, rtol=0)


def test_what_is_distilled_is_guided_as_samples_are() -> None:
    """Of a prior whose guidance is of a kind of its own, such as Qwen-Image."""

    class Doubled(ClassifierFreeGuidance):
        pass

    field = EmpiricalPrior(torch.rand(2, 3, 4, 4), ["cup", "chair"], schedule=SCHEDULE)
    prior = ImagePrior(field, PixelCodec(), image_size=4, guidance_kind=Doubled)
    denoisers = PromptedDenoisers.of(prior, "cup", 3.0)
    assert type(denoisers.guided) is type(prior.guided("cup", 3.0)) is Doubled
