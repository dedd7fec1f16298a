from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from scorefield.priors.denoiser import Denoiser
from scorefield.priors.exact.gaussian_mixture import GaussianMixturePrior
from scorefield.priors.experts import predict_together
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import keyed_noise
from scorefield.priors.prediction import Prediction
from scorefield.priors.schedule import DiscreteSchedule, FlowSchedule, NoiseSchedule

LABELS = ["cat", "dog", "cat", "bird"]


def parts(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Four components in (2, 3): means, isotropic scales, weights, in float64."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(4, 2, 3, generator=generator, dtype=torch.float64)
    scales = 0.2 + torch.rand(4, generator=generator, dtype=torch.float64)
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    return means, scales, weights


def covariances(seed: int = 1) -> Tensor:
    root = torch.randn(4, 6, 6, generator=torch.Generator().manual_seed(seed)).double()
    return root @ root.mT / 6 + 0.05 * torch.eye(6).double()


def mixture(full: bool = False, schedule: NoiseSchedule | None = None) -> GaussianMixturePrior:
    means, scales, weights = parts()
    return GaussianMixturePrior(means, covariances() if full else scales, weights, LABELS, schedule)


def points(n: int = 5) -> Tensor:
    return keyed_noise(3, range(n), 0, (2, 3), torch.float64)


FRACTIONS = torch.tensor([0.001, 0.2, 0.5, 0.8, 1.0], dtype=torch.float64)


@pytest.mark.parametrize(
    "schedule", [DiscreteSchedule.cosine().zero_terminal_snr(), FlowSchedule()]
)
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("label", [None, "cat"])
def test_score_is_the_gradient_of_the_log_density(
    schedule: NoiseSchedule, full: bool, label: str | None
) -> None:
    denoiser = mixture(full, schedule).condition(label)
    z = points().requires_grad_()
    level = schedule.at_fraction(FRACTIONS)
    (gradient,) = torch.autograd.grad(denoiser.log_density(z, level).sum(), z)
    torch.testing.assert_close(denoiser.score(z, level), gradient)
    torch.testing.assert_close(denoiser.energy_gradient(z, level), -gradient)
    torch.testing.assert_close(denoiser(z, level).score, gradient, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(denoiser.energy(z, level), -denoiser.log_density(z, level))


def test_log_density_is_that_of_torch() -> None:
    means, _, weights = parts()
    level = DiscreteSchedule.linear_beta().at_timestep(torch.tensor(300.0).double())
    alpha, sigma = level.alpha, level.sigma
    noisy = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(weights),
        torch.distributions.MultivariateNormal(
            alpha * means.flatten(1), alpha**2 * covariances() + sigma**2 * torch.eye(6).double()
        ),
    )
    z = points()
    torch.testing.assert_close(
        mixture(full=True).log_density(z, level), noisy.log_prob(z.flatten(1))
    )


def test_full_covariance_of_spheres_is_isotropic() -> None:
    means, scales, weights = parts()
    spheres = GaussianMixturePrior(
        means, scales[:, None, None] ** 2 * torch.eye(6).double(), weights, LABELS
    )
    z, level = points(), spheres.schedule.at_fraction(FRACTIONS)
    for read in ("x0", "eps", "score"):
        torch.testing.assert_close(
            getattr(spheres(z, level), read), getattr(mixture()(z, level), read)
        )
    torch.testing.assert_close(spheres.log_density(z, level), mixture().log_density(z, level))


@pytest.mark.parametrize("full", [False, True])
def test_x0_is_the_posterior_mean(full: bool) -> None:
    """Against importance sampling from the prior, within 5 standard errors."""
    prior = mixture(full)
    x = prior.sample(20000, seed=5)
    level = prior.schedule.at_timestep(torch.tensor(700.0).double())
    z = points(1)
    log_w = -((z - level.alpha * x) ** 2).flatten(1).sum(1) / (2 * level.sigma**2)
    w = log_w.softmax(0)[:, None, None]
    mean = (w * x).sum(0)
    error = (w**2 * (x - mean) ** 2).sum(0).sqrt()
    assert bool(((prior(z, level).x0[0] - mean).abs() < 5 * error).all())


@pytest.mark.parametrize("full", [False, True])
def test_sample_moments(full: bool) -> None:
    prior = mixture(full)
    means, scales, weights = parts()
    n = 20000
    x = prior.sample(n, seed=1).flatten(1)
    within = covariances() if full else scales[:, None, None] ** 2 * torch.eye(6).double()
    m = means.flatten(1)
    mean = weights @ m
    second = torch.einsum("k,kij->ij", weights, within + m[:, :, None] * m[:, None, :])
    assert bool(((x.mean(0) - mean).abs() < 5 * x.std(0) / n**0.5).all())
    products = x[:, :, None] * x[:, None, :]
    assert bool(((products.mean(0) - second).abs() < 5 * products.std(0) / n**0.5).all())
    assert torch.equal(prior.sample(10, seed=1), prior.sample(n, seed=1)[:10])


def test_condition_is_the_restricted_mixture() -> None:
    means, scales, weights = parts()
    cats = GaussianMixturePrior(means[[0, 2]], scales[[0, 2]], weights[[0, 2]])
    prior = mixture()
    z, level = points(), prior.schedule.at_timestep(400)
    for candidate in (prior.condition("cat"), prior.restrict("cat")):
        torch.testing.assert_close(candidate(z, level).x0, cats(z, level).x0)
        torch.testing.assert_close(candidate.log_density(z, level), cats.log_density(z, level))
    torch.testing.assert_close(prior.unconditional(z, level).x0, prior(z, level).x0)


def test_labels_per_item_and_their_rows() -> None:
    prior = mixture()
    z, level = points(3), prior.schedule.at_timestep(400)
    mixed = prior.condition(["cat", "bird", "dog"])
    for i, label in enumerate(["cat", "bird", "dog"]):
        one = prior.condition(label)(z[i : i + 1], level).x0
        torch.testing.assert_close(mixed(z, level).x0[i : i + 1], one)
        torch.testing.assert_close(mixed.rows([i])(z[i : i + 1], level).x0, one)
    with pytest.raises(ValueError, match="condition of 3 items does not fit a batch of 5"):
        mixed(points(5), level)


def test_unknown_label_names_the_known() -> None:
    with pytest.raises(ValueError, match="'cow'; labels are 'cat', 'dog', 'bird'"):
        mixture().condition("cow")


def test_bad_arguments() -> None:
    means, scales, weights = parts()
    with pytest.raises(ValueError, match=r"scales must have shape \(4,\)"):
        GaussianMixturePrior(means, scales[:, None])
    with pytest.raises(ValueError, match="weights must be 4 positive"):
        GaussianMixturePrior(means, scales, weights - 0.1)
    with pytest.raises(ValueError, match="labels must name each of the 4"):
        GaussianMixturePrior(means, scales, weights, ["a"])
    with pytest.raises(ValueError, match="standard deviations must be >= 0"):
        GaussianMixturePrior(means, -scales)
    with pytest.raises(ValueError, match="positive semi-definite"):
        GaussianMixturePrior(means, -covariances())
    points_at_rest = GaussianMixturePrior(means, 0 * scales, schedule=FlowSchedule())
    with pytest.raises(ValueError, match="no density at sigma = 0"):
        points_at_rest(points(), FlowSchedule().at_fraction(0.0))


def test_score_exists_at_the_clean_end() -> None:
    prior = mixture(schedule=FlowSchedule())
    z = points().requires_grad_()
    level = FlowSchedule().at_fraction(torch.tensor(0.0).double())
    (gradient,) = torch.autograd.grad(prior.log_density(z, level).sum(), z)
    torch.testing.assert_close(prior.score(z, level), gradient)


def test_two_schedules_at_equal_log_snr_agree() -> None:
    """A variance-preserving z is alpha y; scores in y coordinates agree at equal sigma / alpha."""
    linear, scaled = DiscreteSchedule.linear_beta(), DiscreteSchedule.scaled_linear()
    y = points(3)
    at = scaled.at_timestep(torch.tensor([10.0, 400.0, 900.0]).double())
    for other in (linear, FlowSchedule()):
        match = other.at_log_snr(at.log_snr)
        scores = []
        for schedule, level in ((scaled, at), (other, match)):
            alpha, _ = level.like(y)
            scores.append(alpha * mixture(schedule=schedule).score(alpha * y, level))
        torch.testing.assert_close(scores[0], scores[1])
    # and equal timesteps are not equal levels: 600 of one is 736 of the other
    half_linear = DiscreteSchedule.linear_beta(1000, 0.00085, 0.012)
    twin = half_linear.timestep(half_linear.at_log_snr(float(linear.at_timestep(600).log_snr)))
    assert float(twin) == pytest.approx(736, abs=1)


class Wrapped(Denoiser):
    """A prior that only lets one kind of prediction through, as a network does."""

    def __init__(self, prior: GaussianMixturePrior, kind: str) -> None:
        self.prior, self.kind, self.schedule = prior, kind, prior.schedule

    def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
        make: Callable[..., Prediction] = getattr(Prediction, f"from_{self.kind}")
        return make(z, level, getattr(self.prior(z, level), self.kind))


@pytest.mark.parametrize("schedule", [DiscreteSchedule.cosine(), FlowSchedule()], ids=repr)
def test_the_score_does_not_depend_on_the_parameterisation(schedule: NoiseSchedule) -> None:
    gaussian = GaussianMixturePrior(
        torch.full((1, 2, 3), 0.4), torch.tensor([0.7]), None, None, schedule
    )
    z = points(4).float()
    level = schedule.at_fraction(torch.tensor([0.05, 0.3, 0.6, 0.9]))
    for kind in ("eps", "x0", "v", "velocity"):
        torch.testing.assert_close(
            Wrapped(gaussian, kind).score(z, level), gaussian.score(z, level), rtol=1e-5, atol=1e-5
        )


def test_denoiser_jacobian_is_symmetric() -> None:
    """x0 = (z + sigma^2 score) / alpha, and the score is a gradient."""
    prior = mixture(full=True)
    level = prior.schedule.at_timestep(500)
    jacobian = torch.autograd.functional.jacobian(
        lambda z: prior(z.reshape(1, 2, 3), level).x0.flatten(), points(1).flatten()
    )
    torch.testing.assert_close(jacobian, jacobian.T)


def test_one_prior_under_several_conditions_takes_one_pass() -> None:
    prior = mixture()
    calls = []
    predict = prior.predict

    def counted(z: Tensor, level: NoiseLevel, condition: object = None) -> Prediction:
        calls.append(len(z))
        return predict(z, level, condition)  # type: ignore[arg-type]

    prior.predict = counted  # type: ignore[method-assign, assignment]
    z, level = points(4), prior.schedule.at_timestep(torch.tensor([1, 300, 600, 900]))
    denoisers = [prior.condition("cat"), mixture(True), prior.condition("dog"), prior]
    together = predict_together(denoisers, z, level)
    assert calls == [8, 4]
    for one, denoiser in zip(together, denoisers, strict=True):
        torch.testing.assert_close(one.x0, denoiser(z, level).x0)


def test_unknown_labels_are_all_named_at_once() -> None:
    prior = GaussianMixturePrior(
        torch.zeros(2, 1), torch.ones(2), labels=["cat", "dog"], schedule=FlowSchedule()
    )

    with pytest.raises(ValueError, match="labelled 'cow' or 'owl'; labels are 'cat', 'dog'"):
        prior.condition(["cow", "cat", "owl"])
