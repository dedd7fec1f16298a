import math

import pytest
import torch
from torch import Tensor

from scorefield.priors.denoiser import Denoiser
from scorefield.priors.exact.gaussian_mixture import GaussianMixturePrior
from scorefield.priors.guidance.classifier import ClassifierGuidance, NoisyClassifier
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import keyed_noise
from scorefield.priors.sampling import sample
from scorefield.priors.schedule import DiscreteSchedule, FlowSchedule, NoiseSchedule

LABELS = ["cat", "dog", "cow"]
MEANS = torch.tensor([[0.0, 1.0, 2.0], [1.0, -1.0, 0.5], [-2.0, 0.0, 0.3]], dtype=torch.float64)
WEIGHTS = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
VP = DiscreteSchedule.scaled_linear()
Z = keyed_noise(0, range(4), 0, (3,), torch.float64)
LEVEL = VP.at_timestep(torch.tensor([50, 400, 700, 950]))


def mixture(schedule: NoiseSchedule) -> GaussianMixturePrior:
    scales = torch.tensor([0.5, 0.4, 0.6]).double()
    return GaussianMixturePrior(MEANS, scales, WEIGHTS, LABELS, schedule)


class Bayes:
    """The exact classifier of a mixture's noisy samples; logits are joint log-densities."""

    def __init__(self, prior: GaussianMixturePrior) -> None:
        self.prior = prior
        self.asked = 0

    def __call__(self, z: Tensor, level: NoiseLevel) -> Tensor:
        self.asked += len(z)
        log_densities = [self.prior.condition(name).log_density(z, level) for name in LABELS]
        return torch.stack(log_densities, dim=1) + self.prior.weights.log()


PRIOR = mixture(VP)
CLASSIFIER = Bayes(PRIOR)


def test_it_is_a_noisy_classifier() -> None:
    assert isinstance(CLASSIFIER, NoisyClassifier)


@pytest.mark.parametrize("schedule", [VP, FlowSchedule()])
@pytest.mark.parametrize("label", range(3))
def test_bayes_rule(schedule: NoiseSchedule, label: int) -> None:
    """Scale 1 and the exact classifier: the conditional score."""
    prior = mixture(schedule)
    level = schedule.at_fraction(torch.tensor([0.05, 0.4, 0.7, 0.95], dtype=torch.float64))
    guided = ClassifierGuidance(prior, Bayes(prior), label, 1)
    cond = prior.condition(LABELS[label])
    torch.testing.assert_close(guided.score(Z, level), cond.score(Z, level), rtol=0, atol=1e-5)
    torch.testing.assert_close(guided(Z, level).x0, cond(Z, level).x0, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [-0.5, 0.5, 4.0])
def test_law_in_every_space(scale: float) -> None:
    prediction = PRIOR(Z, LEVEL)
    guided = ClassifierGuidance(PRIOR, CLASSIFIER, 1, scale)(Z, LEVEL)
    slope = PRIOR.condition("dog").score(Z, LEVEL) - PRIOR.score(Z, LEVEL)
    alpha, sigma = LEVEL.like(Z)
    expected = prediction.eps - scale * sigma * slope
    torch.testing.assert_close(guided.eps, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(guided.x0, (Z - sigma * expected) / alpha, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(guided.score, -expected / sigma, rtol=1e-6, atol=1e-6)


def test_scale_zero_is_the_prior_and_asks_no_classifier() -> None:
    classifier = Bayes(PRIOR)
    guided = ClassifierGuidance(PRIOR, classifier, 0, 0)
    assert torch.equal(guided(Z, LEVEL).v, PRIOR(Z, LEVEL).v)
    assert classifier.asked == 0


def test_zero_terminal_snr_is_the_prior_and_finite() -> None:
    schedule = VP.zero_terminal_snr()
    prior = mixture(schedule)
    guided = ClassifierGuidance(prior, Bayes(prior), 0, 5.0)
    level = schedule.at_timestep(torch.tensor([999, 999, 500, 999]))
    prediction = guided(Z, level)
    assert torch.equal(prediction.v[[0, 1, 3]], prior(Z, level).v[[0, 1, 3]])
    assert not torch.equal(prediction.v[2], prior(Z, level).v[2])
    assert bool(prediction.x0.isfinite().all())


def test_samples_are_of_the_class() -> None:
    guided = ClassifierGuidance(PRIOR, CLASSIFIER, 1, 1)
    ours = sample(guided, (3,), 8, steps=10, dtype=torch.float64)
    conditional = sample(PRIOR.condition("dog"), (3,), 8, steps=10, dtype=torch.float64)
    torch.testing.assert_close(ours, conditional, rtol=0, atol=1e-4)


def test_labels_of_each_item() -> None:
    guided = ClassifierGuidance(PRIOR, CLASSIFIER, [0, 1, 2, 1], 2.0)
    together = guided(Z, LEVEL).v
    for item, label in enumerate([0, 1, 2, 1]):
        one = slice(item, item + 1)
        alone = ClassifierGuidance(PRIOR, CLASSIFIER, label, 2.0)(Z[one], LEVEL[one]).v
        torch.testing.assert_close(alone[0], together[item])
    part = guided.rows([2, 0])(Z[[2, 0]], LEVEL[[2, 0]]).v
    torch.testing.assert_close(part, together[[2, 0]])
    with pytest.raises(ValueError, match="4 labels do not fit a batch of 3; give one or 3"):
        guided(Z[:3], LEVEL[:3])


def test_log_probabilities_are_as_good_as_logits() -> None:
    def normalised(z: Tensor, level: NoiseLevel) -> Tensor:
        return CLASSIFIER(z, level).log_softmax(dim=1)

    a = ClassifierGuidance(PRIOR, CLASSIFIER, 2, 3.0)(Z, LEVEL).v
    torch.testing.assert_close(ClassifierGuidance(PRIOR, normalised, 2, 3.0)(Z, LEVEL).v, a)


def test_differentiable_where_z_is() -> None:
    """The Jacobian of the guided score is the Hessian of log p(z | label)."""
    guided = ClassifierGuidance(PRIOR, CLASSIFIER, 0, 1)
    z = Z[1:2].clone().requires_grad_()
    level = LEVEL[1:2]
    (row,) = torch.autograd.grad(guided.score(z, level)[0, 0], z)
    cond = PRIOR.condition("cat")
    (expected,) = torch.autograd.grad(cond.score(z, level)[0, 0], z)
    torch.testing.assert_close(row, expected, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        assert not guided(z, level).v.requires_grad
    assert not guided(Z, LEVEL).v.requires_grad


@pytest.mark.parametrize(
    ("classifier", "message"),
    [
        (
            lambda z, level: z[:, 0],
            r"must return \(batch, classes\) = \(4, 3 or more\), got \(4,\)",
        ),
        (lambda z, level: z[:, :2], r"\(4, 3 or more\), got \(4, 2\)"),
        (lambda z, level: z.detach(), "does not depend on z"),
    ],
)
def test_bad_classifiers(classifier: NoisyClassifier, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClassifierGuidance(PRIOR, classifier, 2, 1.0)(Z, LEVEL)


def test_refusals() -> None:
    denoiser: Denoiser = PRIOR
    with pytest.raises(ValueError, match="labels must be >= 0"):
        ClassifierGuidance(denoiser, CLASSIFIER, [0, -1], 1.0)
    with pytest.raises(ValueError, match="scale must be a finite number, got nan"):
        ClassifierGuidance(denoiser, CLASSIFIER, 0, math.nan)
