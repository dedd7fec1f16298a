"""The algebra of experts on Gaussians and mixtures, where products are known."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from scorefield.priors.composition.compose import compose, conjunction
from scorefield.priors.composition.normalisable import check_density
from scorefield.priors.condition import Condition
from scorefield.priors.denoiser import (
    Composition,
    ConditionedDenoiser,
    Denoiser,
    EnergyComposition,
    combine,
)
from scorefield.priors.exact.gaussian_mixture import GaussianMixturePrior
from scorefield.priors.expert_weights import Window
from scorefield.priors.guidance.classifier_free import ClassifierFreeGuidance
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import keyed_noise
from scorefield.priors.prediction import Prediction
from scorefield.priors.sampling import sample
from scorefield.priors.schedule import DiscreteSchedule, FlowSchedule, NoiseSchedule

LINEAR = DiscreteSchedule.linear_beta()
ZERO_SNR = DiscreteSchedule.scaled_linear().zero_terminal_snr()
MEANS = torch.tensor([[0.0, 1.0, 2.0], [1.0, -1.0, 0.5], [-2.0, 0.0, 0.3]], dtype=torch.float64)
SCALES = torch.tensor([0.5, 0.4, 0.6]).double()
Z = keyed_noise(0, range(4), 0, (3,), torch.float64)


def mixture(schedule: NoiseSchedule = LINEAR) -> GaussianMixturePrior:
    return GaussianMixturePrior(MEANS, SCALES, None, ["cat", "dog", "cow"], schedule)


def gaussian(mean: float, scale: float, schedule: NoiseSchedule = LINEAR) -> GaussianMixturePrior:
    return GaussianMixturePrior(
        torch.full((1, 3), mean).double(), torch.tensor([scale]).double(), schedule=schedule
    )


PRIOR = mixture()
CAT, DOG, ANY = PRIOR.condition("cat"), PRIOR.condition("dog"), PRIOR.unconditional
LEVEL = LINEAR.at_timestep(torch.tensor([50.0, 400.0, 700.0, 950.0]).double())
C, D, U = (denoiser.score(Z, LEVEL) for denoiser in (CAT, DOG, ANY))


class CountingPrior:
    """A prior whose forward passes are counted, by rows."""

    def __init__(self, schedule: NoiseSchedule = LINEAR) -> None:
        self.inner = mixture(schedule)
        self.schedule = schedule
        self.passes: list[int] = []

    def predict(self, z: Tensor, level: NoiseLevel, condition: Condition) -> Prediction:
        self.passes.append(len(z))
        return self.inner.predict(z, level, condition)

    def condition(self, label: str | None) -> ConditionedDenoiser:
        return ConditionedDenoiser(self, self.inner.condition(label).condition)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (CAT * DOG, C + D),
        (CAT**1.7, 1.7 * C),
        (CAT / DOG, C - D),
        (ANY * (CAT / ANY) ** 3 * (DOG / ANY) ** -1, U + 3 * (C - U) - (D - U)),
        ((CAT**0.5 * DOG**0.5) ** 2, C + D),
        (conjunction(ANY, {CAT: 3.0, DOG: -1.0}), U + 3 * (C - U) - (D - U)),
        (ClassifierFreeGuidance(CAT, ANY, 3.0) * DOG, U + 3 * (C - U) + D),
    ],
    ids=["product", "power", "quotient", "negation", "nested", "conjunction", "guided"],
)
def test_the_algebra_is_that_of_scores(field: Composition, expected: Tensor) -> None:
    torch.testing.assert_close(field.score(Z, LEVEL), expected)
    # what it predicts is the same field
    torch.testing.assert_close(field(Z, LEVEL).score, expected)


def test_conjunction_is_composable_diffusion_and_of_one_concept_guidance() -> None:
    """eps_u + sum w_i (eps_i - eps_u), Liu et al. 2022, equation 11."""
    eps = {name: d(Z, LEVEL).eps for name, d in (("c", CAT), ("d", DOG), ("u", ANY))}
    both = conjunction(ANY, {CAT: 7.5, DOG: -2.5})
    expected = eps["u"] + 7.5 * (eps["c"] - eps["u"]) - 2.5 * (eps["d"] - eps["u"])
    torch.testing.assert_close(both(Z, LEVEL).eps, expected)
    one = conjunction(ANY, [(CAT, 7.5)])
    guided = ClassifierFreeGuidance(CAT, ANY, 7.5)
    torch.testing.assert_close(one(Z, LEVEL).x0, guided(Z, LEVEL).x0)


def test_like_terms_are_merged_and_nothing_is_left_of_nothing() -> None:
    q = ANY * (CAT / ANY) * (PRIOR.condition("cat") / PRIOR.condition("dog"))
    assert [(term.denoiser, term.weight) for term in q.terms[:1]] == [(CAT, 2.0)]
    assert len(q.terms) == 2
    with pytest.raises(ValueError, match="at least one expert"):
        CAT / CAT
    with pytest.raises(TypeError, match="unsupported operand"):
        CAT * 2  # type: ignore[operator]


def test_one_network_one_pass_and_none_without_weight() -> None:
    prior, other = CountingPrior(), CountingPrior()
    cat, dog = prior.condition("cat"), prior.condition("dog")
    guided = ClassifierFreeGuidance(cat, prior.condition(None), 3.0)
    q = compose([(guided, 1.0), (dog, 0.5), (other.condition("cow"), Window(-4, 4, 0.5))])
    assert "forward passes per evaluation: 2, for 4 experts" in q.explain()
    q(Z, LINEAR.at_timestep(400))
    assert prior.passes == [12]
    assert other.passes == [4]
    q(Z, LINEAR.at_timestep(990))
    assert other.passes == [4]


def test_explain() -> None:
    text = compose([(CAT, 1.5), (DOG, Window(-math.inf, 0, -0.5))]).explain()
    assert "1.5  expert 1 (GaussianMixturePrior)" in text
    assert "0 -0.5 -0.5  expert 2" in text
    assert "1.5 1 1  sum of weights" in text


def test_the_product_of_noisy_densities_is_not_the_noised_product() -> None:
    """Reference 2.3, no. 6: equal as the noise vanishes, different above."""
    means, scales, weights = (-1.0, 1.0), (1.0, 0.5), (1.0, 1.0)
    experts = [gaussian(m, s) for m, s in zip(means, scales, strict=True)]
    summed = compose(list(zip(experts, weights, strict=True)))
    precision = sum(w / s**2 for w, s in zip(weights, scales, strict=True))
    mean = sum(w * m / s**2 for w, m, s in zip(weights, means, scales, strict=True)) / precision
    product = gaussian(mean, precision**-0.5)
    clean, noisy = NoiseLevel(*torch.tensor([[1.0], [1e-5]]).double()), LINEAR.at_timestep(600)
    torch.testing.assert_close(
        summed.score(Z, clean), product.score(Z, clean), rtol=1e-6, atol=1e-6
    )
    alpha, sigma = float(noisy.alpha), float(noisy.sigma)
    exact = -(Z - alpha * mean) / (alpha**2 / precision + sigma**2)
    torch.testing.assert_close(product.score(Z, noisy), exact, rtol=1e-6, atol=1e-6)
    assert float((summed.score(Z, noisy) - exact).abs().median()) > 0.5


@pytest.mark.parametrize(("weights", "equal"), [((0.4, 0.6), True), ((1.0, 1.0), False)])
@pytest.mark.parametrize("space", ["x0", "v", "velocity"])
def test_the_space_matters_unless_the_weights_sum_to_one(
    weights: tuple[float, float], equal: bool, space: str
) -> None:
    """Reference 2.3, no. 15."""
    composed = getattr(compose(list(zip((CAT, DOG), weights, strict=True)))(Z, LEVEL), space)
    naive = sum(w * getattr(d(Z, LEVEL), space) for w, d in zip(weights, (CAT, DOG), strict=True))
    assert torch.allclose(composed, naive, rtol=1e-5, atol=1e-5) == equal


@pytest.mark.parametrize("other", [FlowSchedule(), DiscreteSchedule.cosine()], ids=repr)
@pytest.mark.parametrize("weights", [(1.0, 1.0), (-0.5, 1.5)])
def test_experts_meet_at_equal_log_snr(other: NoiseSchedule, weights: tuple[float, float]) -> None:
    """Reference 2.3, no. 16: one mixture through two schedules is one field."""
    there = mixture(other).condition("dog")
    plain = compose([(CAT, weights[0]), (DOG, weights[1])], schedule=LINEAR)
    mixed = compose([(CAT, weights[0]), (there, weights[1])], schedule=LINEAR)
    level = LINEAR.at_timestep(torch.tensor([100.0, 400.0, 700.0, 900.0]).double())
    torch.testing.assert_close(mixed.score(Z, level), plain.score(Z, level))
    torch.testing.assert_close(mixed(Z, level).v, plain(Z, level).v)
    # also seen from the other schedule, whose z is another multiple
    turned = compose([(mixture(other).condition("cat"), weights[0]), (there, weights[1])])
    own = other.at_log_snr(level.log_snr)
    ratio = ((own.alpha + own.sigma) / (level.alpha + level.sigma))[:, None]
    torch.testing.assert_close(turned(ratio * Z, own).eps, plain(Z, level).eps)
    # log p(z) = log p(c z) + D log c
    assert isinstance(mixed, EnergyComposition) and isinstance(plain, EnergyComposition)
    torch.testing.assert_close(mixed.energy(Z, level), plain.energy(Z, level))


def test_the_schedule_is_one_that_all_experts_reach() -> None:
    scaled = DiscreteSchedule.scaled_linear()
    narrow = mixture(scaled).condition("cat")
    q = compose([(mixture(FlowSchedule()).condition("dog"), 0.5), (CAT, 0.5), (narrow, 0.5)])
    assert q.schedule is scaled
    with pytest.raises(ValueError, match=r"expert 2 .* asked at log-SNR .* outside its Discrete"):
        compose([(CAT, 1.0), (narrow, 1.0)], schedule=LINEAR)
    # where it has no weight, an expert is not asked
    compose([(CAT, 1.0), (narrow, Window(-4, 6, 1.0))], schedule=LINEAR)


def test_zero_terminal_snr() -> None:
    """Reference 2.3, no. 17: v at the last level where the weights sum to one, the score always."""
    prior = mixture(ZERO_SNR)
    cat, dog, anything = prior.condition("cat"), prior.condition("dog"), prior.unconditional
    level = ZERO_SNR.at_timestep(999)
    x0 = conjunction(anything, {cat: 2.0, dog: -1.0})(Z, level).x0
    torch.testing.assert_close(x0, (2 * MEANS[0] - MEANS[1]).expand(4, 3))
    with pytest.raises(ValueError, match="alpha = 0 here and the weights sum to 2"):
        (cat * dog)(Z, level)
    torch.testing.assert_close((cat * dog).score(Z, level), -2 * Z)

    class OnlyNoise(Denoiser):
        schedule = ZERO_SNR

        def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
            return Prediction.from_eps(z, level, z)

    with pytest.raises(ValueError, match="zero terminal SNR the noise says nothing"):
        compose([(cat, 0.5), (OnlyNoise(), 0.5)])(Z, level)


def test_energy_is_that_of_the_field() -> None:
    z = Z.clone().requires_grad_()
    q = ANY * (CAT / ANY) ** 3
    assert isinstance(q, EnergyComposition)
    (gradient,) = torch.autograd.grad(q.energy(z, LEVEL).sum(), z)
    torch.testing.assert_close(gradient, -q.score(Z, LEVEL))
    torch.testing.assert_close(gradient, q.energy_gradient(Z, LEVEL))
    prior = CountingPrior()
    assert not isinstance(prior.condition("cat") * CAT, EnergyComposition)


def test_gradients_flow_if_they_flow_through_all_experts() -> None:
    class Frozen(Denoiser):
        schedule = LINEAR

        def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
            return CAT(z.detach(), level)

    z = Z.clone().requires_grad_()
    assert (CAT * DOG)(z, LEVEL).eps.requires_grad
    assert not (Frozen() * DOG)(z, LEVEL).eps.requires_grad
    assert not (Frozen() * DOG).score(z, LEVEL).requires_grad


def test_weights_per_level() -> None:
    def fading(log_snr: Tensor) -> Tensor:
        return torch.sigmoid(log_snr)

    q = compose({CAT: fading, DOG: Window(-2, 2, 0.5)})
    log_snr = LEVEL.log_snr
    inside = ((log_snr >= -2) & (log_snr < 2)).double()[:, None]
    assert 0 < float(inside.sum()) < 4
    expected = torch.sigmoid(log_snr)[:, None] * C + 0.5 * inside * D
    torch.testing.assert_close(q.score(Z, LEVEL), expected)
    torch.testing.assert_close((q**2 / CAT).score(Z, LEVEL), 2 * expected - C)


def test_normalize() -> None:
    convex = compose(
        [(CAT, 3.0), (DOG, lambda log_snr: torch.sigmoid(log_snr))], normalize="convex"
    )
    w = torch.sigmoid(LEVEL.log_snr)[:, None]
    torch.testing.assert_close(convex.score(Z, LEVEL), (3 * C + w * D) / (3 + w))
    ones = torch.ones(4).double()
    torch.testing.assert_close(convex.weight_sum(LEVEL.log_snr), ones)
    product = compose([(CAT, 1.0), (DOG, 1.0)], normalize="reference", reference=ANY)
    torch.testing.assert_close(product.score(Z, LEVEL), C + D - U)
    # the reference N(0, I): a schedule of alpha^2 + sigma^2 = 1 has the score -z everywhere
    plain = compose([(CAT, 1.0), (DOG, 1.0)], normalize="reference")
    torch.testing.assert_close(plain.score(Z, LEVEL), C + D + Z)
    assert isinstance(plain, EnergyComposition)


def test_rows_follow_their_items() -> None:
    each = PRIOR.condition(["cat", "dog", "cow", "cat"])
    q = compose([(each, 2.0), (ANY, Window(-5, 5, -1.0))])
    part = q.rows([1, 2])
    assert type(part) is type(q)
    torch.testing.assert_close(part(Z[1:3], LEVEL[1:3]).v, q(Z, LEVEL).v[1:3])
    scores = q.expert_scores(Z, LEVEL)
    torch.testing.assert_close(scores[1], U)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CAT**math.nan, r"weight of expert 1 .* must be finite, got nan"),
        (
            lambda: compose([(CAT, 1.0), (DOG, math.inf)]),
            r"weight of expert 2 .* must be finite, got inf",
        ),
        (lambda: CAT**torch.log, r"must be finite, got nan at log-SNR -"),
        (lambda: CAT ** (lambda x: x.sum()), r"must map log-SNRs of shape \(33,\) to that shape"),
        (lambda: Window(2, 1), "low < high in log-SNR, got 2, 1"),
        (lambda: compose([(CAT, 1.0), (DOG, -0.5)], normalize="convex"), "weights that are >= 0"),
        (lambda: compose([(CAT, 1.0)], reference=DOG), "normalize='reference' only, got None"),
        (
            lambda: CAT * GaussianMixturePrior(torch.zeros(1, 4), torch.ones(1)),
            r"expert 1 .* and expert 2 .* shapes \(3,\) and \(4,\)",
        ),
        (
            lambda: gaussian_video(8) * gaussian_video(16),
            r"their videos have 8 and 16 \(latent\) frames",
        ),
    ],
)
def test_refused_when_composed(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


def gaussian_video(frames: int) -> GaussianMixturePrior:
    return GaussianMixturePrior(torch.zeros(1, frames, 1, 2, 2), torch.ones(1))


@pytest.mark.parametrize(
    ("weights", "scales", "message"),
    [
        ((1.0, -1.0), (1.0, 2.0), "weights sum to 0 where all is noise"),
        ((-1.0, 1.5), (0.5, 1.0), "the product of the data has precision -2.5"),
        ((-1.0, 2.0), (0.5**0.5, 1.0), "the product of the data has precision"),
        ((1.0, -3.0, 3.0), (0.1, 1.0, 10.0), "the product at log-SNR .* not normalisable"),
    ],
)
def test_what_is_no_density_is_not_sampled(
    weights: tuple[float, ...], scales: tuple[float, ...], message: str
) -> None:
    """Reference 2.3, no. 10; the field as such may be asked."""
    q = compose([(gaussian(0.0, s), w) for w, s in zip(weights, scales, strict=True)])
    assert bool(q.score(Z, LEVEL).isfinite().all())
    with pytest.raises(ValueError, match=message):
        sample(q, (3,), 2)


def test_normalisable_with_covariances() -> None:
    def elongated(long: float, short: float) -> GaussianMixturePrior:
        covariance = torch.diag(torch.tensor([long, short, short])).double()
        return GaussianMixturePrior(torch.zeros(1, 3).double(), covariance[None])

    check_density(elongated(4.0, 1.0) ** 2 / gaussian(0.0, 2.0))
    with pytest.raises(ValueError, match=r"precision -0\.25"):
        check_density(elongated(4.0, 1.0) ** 3 / gaussian(0.0, 1.0))
    # what nobody knows is not refused
    check_density(CountingPrior().condition("cat") ** 3 / CAT)


class Codec:
    def __init__(self, **config: float) -> None:
        self.vae = type("Vae", (), {"config": config})()


class Words:
    def __init__(self, *words: str) -> None:
        self.vocabulary = frozenset(words)


class Prior(CountingPrior):
    """A prior of networks, as far as composition looks at one."""

    name = "tiny"

    def __init__(self, codec: Codec, text: Any, shape: tuple[int, ...] = (3,)) -> None:
        super().__init__()
        self.codec, self.text, self.latent_shape = codec, text, shape


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Prior(Codec(scaling_factor=0.7), Words("a")), "codecs differ in scaling_factor, 1.1 and"),
        (Prior(Codec(scaling_factor=1.1), Words("a", "b")), "differ in the words b"),
        (Prior(Codec(scaling_factor=1.1), Codec()), "text encoders are Words and Codec"),
        (Prior(Codec(scaling_factor=1.1), Words("a"), (4, 1)), r"shapes \(3,\) and \(4, 1\)"),
    ],
)
def test_priors_that_do_not_fit(other: Prior, message: str) -> None:
    prior = Prior(Codec(scaling_factor=1.1, sample_size=512), Words("a"))
    cat, dog = prior.condition("cat"), other.condition("dog")
    with pytest.raises(ValueError, match=message):
        cat * dog
    # also where a half of guidance is not taken apart
    with pytest.raises(ValueError, match=message):
        cat * ClassifierFreeGuidance(dog, dog, 2.0, rescale=0.5)


def test_unlike_text_encoders_can_be_allowed() -> None:
    one, other = (Prior(Codec(scaling_factor=1.1), Words(*words)) for words in ("ab", "bc"))
    q = compose([(one.condition("cat"), 0.5), (other.condition("dog"), 0.5)], same_text=False)
    # and stays allowed in what is made of it
    assert len((q * one.condition("cow")).terms) == 3
    assert len(combine([(q, 2.0)]).terms) == 2
