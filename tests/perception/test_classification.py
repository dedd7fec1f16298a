"""The diffusion classifier against Bayes' rule, on priors whose densities are known."""

import numpy as np
import pytest
import torch
from torch import Tensor

from scorefield.perception.classification.classify import classify, mixed_errors
from scorefield.perception.classification.error_measure import PARTS, ErrorMeasure
from scorefield.perception.classification.noise_inflation import noise_inflation
from scorefield.perception.classification.paired_errors import PairedErrors, Request, draw_positions
from scorefield.perception.classification.stopping import Race, Stages
from scorefield.perception.classification.text_scores import text_scores
from scorefield.priors.condition import Condition
from scorefield.priors.denoiser import ConditionedDenoiser
from scorefield.priors.exact.gaussian_mixture import GaussianMixturePrior
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import noise_generator
from scorefield.priors.prediction import Prediction
from scorefield.priors.schedule import DiscreteSchedule, FlowSchedule, NoiseSchedule

FLOW = FlowSchedule()
WIDE = ErrorMeasure(log_snr=(-9, 11))
KEEP_ALL = Stages((10_000,), (900,))


def two_in_1d() -> GaussianMixturePrior:
    """A pair of Gaussians against one Gaussian: the numbers of the reference."""
    return GaussianMixturePrior(
        torch.tensor([[-1.0], [1.0], [0.5]]).double(),
        torch.tensor([0.6, 0.8, 1.0]).double(),
        labels=["two", "two", "one"],
        schedule=FLOW,
    )


def full_in_2d(schedule: NoiseSchedule = FLOW) -> GaussianMixturePrior:
    covariances = torch.tensor(
        [[[0.5, 0.2], [0.2, 0.3]], [[0.2, -0.1], [-0.1, 0.6]], [[0.4, 0.0], [0.0, 0.1]]]
    )
    means = torch.tensor([[-0.6, 0.0], [0.6, 0.4], [0.2, -0.7]])
    return GaussianMixturePrior(
        means.double(), covariances.double(), labels=["a", "b", "c"], schedule=schedule
    )


def log_likelihoods(prior: GaussianMixturePrior, x: Tensor, labels: list[str]) -> Tensor:
    clean = FLOW.at_fraction(torch.tensor(0.0).double())
    return torch.stack([prior.condition(n).log_density(x, clean) for n in labels], dim=1)


def assert_within_standard_errors(value: Tensor, expected: Tensor, error: Tensor) -> None:
    assert bool(((value - expected).abs() <= 5 * error + 1e-3).all()), (value, expected, error)


@pytest.mark.parametrize(
    ("prior", "points", "labels"),
    [
        (two_in_1d(), [[0.2], [1.5], [-0.8]], ["two", "one"]),
        (full_in_2d(), [[0.1, 0.1], [-0.9, 0.3], [0.5, -0.5]], ["a", "b", "c"]),
    ],
    ids=["isotropic-1d", "full-2d"],
)
def test_equals_bayes(
    prior: GaussianMixturePrior, points: list[list[float]], labels: list[str]
) -> None:
    """To five standard errors of the estimate, plus what lies beyond log-SNR -9 and 11."""
    x = torch.tensor(points).double()
    found = classify(
        prior, x, labels, policy=KEEP_ALL, budget=20_000, measure=WIDE, batch_size=4096
    )
    exact = log_likelihoods(prior, x, labels)
    best = found.log_likelihoods.argmax(dim=1)
    assert best.tolist() == exact.argmax(dim=1).tolist()
    relative = exact - exact.gather(1, best[:, None])
    assert_within_standard_errors(found.log_likelihoods, relative, found.standard_errors)
    assert float(found.standard_errors.nanmean()) < 0.3
    torch.testing.assert_close(found.probabilities.sum(dim=1), torch.ones(3).double())
    torch.testing.assert_close(found.probabilities, exact.softmax(dim=1), atol=0.15, rtol=0)


def test_pairing_reduces_the_variance_of_differences() -> None:
    """At given levels, two labels that differ little share most of their error."""
    means = torch.zeros(2, 16).double()
    means[1, 0] = 0.3
    prior = GaussianMixturePrior(means, torch.ones(2).double(), labels=["a", "b"], schedule=FLOW)
    x = prior.sample(1, seed=3)
    one, other = (
        PairedErrors(prior.condition(["a", "b"]), x, ErrorMeasure(log_snr=(-1, 1)), seed=seed)
        for seed in (0, 1)
    )
    a, b = one.evaluate([Request(0, (0, 1), 0, 400)])[0].sum(axis=2)
    unpaired = other.evaluate([Request(0, (1,), 0, 400)])[0][0].sum(axis=1)
    assert np.var(a - unpaired) > 20 * np.var(a - b)


def test_any_prefix_of_the_draws_covers_the_levels() -> None:
    for draws in (1, 2, 3, 5, 8, 17, 50):
        u = draw_positions(7, 3, range(draws)).sort().values
        gaps = torch.cat([u.diff(), u[:1] + 1 - u[-1:]])
        assert float(gaps.max()) < 2.7 / draws + 1e-9  # three-distance theorem, golden ratio
    firsts = torch.stack([draw_positions(0, item, [0])[0] for item in range(400)])
    assert abs(float(firsts.mean()) - 0.5) < 5 / (12 * 400) ** 0.5


def test_a_longer_run_begins_like_a_shorter_one() -> None:
    source = PairedErrors(full_in_2d().condition(["a", "b"]), torch.zeros(1, 2), ErrorMeasure())
    short, long = source.evaluate([Request(0, (0, 1), 0, 5), Request(0, (0, 1), 0, 12)])
    np.testing.assert_allclose(short, long[:, :5], rtol=1e-5)
    (rest,) = source.evaluate([Request(0, (1,), 5, 12)])
    np.testing.assert_allclose(rest[0], long[1, 5:], rtol=1e-5)


def test_batch_size_and_order_do_not_matter() -> None:
    prior = full_in_2d()
    x = prior.sample(6, seed=1)
    kwargs = {"policy": Race(0.9), "budget": 300}
    together = classify(prior, x, ["a", "b", "c"], **kwargs)
    small = classify(prior, x, ["a", "b", "c"], batch_size=5, **kwargs)
    order = [4, 0, 5, 2, 1, 3]
    shuffled = classify(prior, x[order], ["a", "b", "c"], items=order, **kwargs)
    alone = classify(prior, x[3:4], ["a", "b", "c"], items=[3], **kwargs)
    for other, rows in ((small, slice(None)), (shuffled, order), (alone, slice(3, 4))):
        torch.testing.assert_close(other.log_likelihoods, together.log_likelihoods[rows])
        assert other.evaluations.tolist() == together.evaluations[rows].tolist()


@pytest.mark.parametrize("quantity", ["eps", "x0", "v"])
@pytest.mark.parametrize("kind", ["eps", "x0", "v", "velocity"])
def test_what_the_prior_predicts_does_not_matter(kind: str, quantity: str) -> None:
    class Wrapped:
        def __init__(self, prior: GaussianMixturePrior) -> None:
            self.prior, self.schedule = prior, prior.schedule

        def predict(self, z: Tensor, level: NoiseLevel, condition: Condition) -> Prediction:
            found = self.prior.predict(z, level, condition)
            return getattr(Prediction, f"from_{kind}")(z, level, getattr(found, kind))

        def condition(self, prompts: list[str]) -> ConditionedDenoiser:
            return ConditionedDenoiser(self, self.prior.condition(prompts).condition)

    prior = full_in_2d(DiscreteSchedule.linear_beta())
    x, measure = prior.sample(2, seed=5), ErrorMeasure(quantity, log_snr=(-3, 3))  # type: ignore[arg-type]
    one = classify(prior, x, ["a", "b"], policy=Stages((2,), (20,)), measure=measure)
    other = classify(Wrapped(prior), x, ["a", "b"], policy=Stages((2,), (20,)), measure=measure)
    torch.testing.assert_close(one.log_likelihoods, other.log_likelihoods)


def test_weights_of_x0_and_v() -> None:
    """|x - x0|^2 = e^-l |eps - eps_hat|^2 and |v - v_hat|^2 = |eps - eps_hat|^2 / alpha^2 (VP)."""
    prior = full_in_2d(DiscreteSchedule.linear_beta())
    x, eps = prior.sample(4, seed=2), torch.randn(4, 2, generator=noise_generator(0)).double()
    level = prior.schedule.at_log_snr(torch.tensor([-2.0, 0, 1, 3]).double())
    prediction = prior.condition("a")(level.add_noise(x, eps), level)
    errors = {q: ErrorMeasure(q)(prediction, x, eps).sum(1) for q in ("eps", "x0", "v")}
    torch.testing.assert_close(errors["x0"], errors["eps"] * (-level.log_snr).exp())
    torch.testing.assert_close(errors["v"], errors["eps"] / level.alpha**2)
    l1 = ErrorMeasure(loss="l1")(prediction, x, eps).sum(1)
    torch.testing.assert_close(l1, (prediction.eps - eps).abs().sum(dim=1) / 2)
    huber = ErrorMeasure(loss="huber")(prediction, x, eps).sum(1)
    exact = 2 * torch.nn.functional.huber_loss(prediction.eps, eps, reduction="none")
    torch.testing.assert_close(huber, exact.sum(dim=1) / 2)


def test_parts_add_up_and_are_the_same_dimensions_for_all() -> None:
    dims = 130  # parts of two or three
    x, eps = torch.randn(2, 3, dims, generator=noise_generator(0))
    prior = GaussianMixturePrior(torch.zeros(1, dims), torch.ones(1), schedule=FLOW)
    level = FLOW.at_log_snr(torch.zeros(3).double())
    prediction = prior.condition(None)(level.add_noise(x, eps), level)
    parts = ErrorMeasure()(prediction, x, eps)
    assert parts.shape == (3, PARTS)
    whole = (prediction.eps - eps).square().sum(1) / 2
    torch.testing.assert_close(parts.sum(1), whole)
    flipped = prior.condition(None)(level.add_noise(x, eps).flip(0), level)
    torch.testing.assert_close(ErrorMeasure()(flipped, x.flip(0), eps.flip(0)).flip(0), parts)


def test_the_papers_levels_are_the_schedules_timesteps() -> None:
    schedule = DiscreteSchedule.linear_beta()
    measure = ErrorMeasure(spacing="fraction", log_snr=(-12, 12))
    u = torch.tensor([0.0, 0.25, 1.0])
    assert measure.width(schedule) == pytest.approx(1)
    torch.testing.assert_close(
        schedule.fraction(measure.levels(schedule, u)), torch.tensor([1.0, 0.75, 0.0]).double()
    )


def test_prompts_of_a_label_do_not_compete() -> None:
    """A label of several prompts has their mixture's likelihood; repeating one changes nothing."""
    prior = two_in_1d()
    parts = GaussianMixturePrior(
        prior.means, prior.scales, labels=["left", "right", "one"], schedule=FLOW
    )
    x = torch.tensor([[0.2], [1.5]]).double()
    labels = {"two": ["left", "right"], "one": ["one"] * 3}
    found = classify(
        parts, x, labels, policy=KEEP_ALL, budget=40_000, measure=WIDE, batch_size=4096
    )
    exact = log_likelihoods(prior, x, ["two", "one"])
    relative = exact - exact.amax(dim=1, keepdim=True)
    assert_within_standard_errors(found.log_likelihoods, relative, found.standard_errors)
    errors = np.random.default_rng(0).normal(size=(1, 9, 5))
    np.testing.assert_allclose(mixed_errors(np.repeat(errors, 4, axis=0)), errors[0])


def test_a_string_is_one_prompt() -> None:
    prior, x = two_in_1d(), torch.tensor([[0.2]]).double()
    one, listed = (
        classify(prior, x, labels, budget=40)
        for labels in ({"pair": "two", "single": "one"}, {"pair": ["two"], "single": ["one"]})
    )
    torch.testing.assert_close(one.log_likelihoods, listed.log_likelihoods, rtol=0, atol=0)
    scores = text_scores(prior, x, "two", draws=4)
    torch.testing.assert_close(scores.values, text_scores(prior, x, ["two"], draws=4).values)
    with pytest.raises(ValueError, match=r"all different; got \['two'\]"):
        classify(prior, x, "two")
    with pytest.raises(ValueError, match="got 1 prompts"):
        noise_inflation(prior, x, "two")


def test_the_race_agrees_and_costs_less() -> None:
    prior = GaussianMixturePrior(
        2.5 * torch.eye(8).double(), torch.full((8,), 0.5).double(), labels=list("abcdefgh")
    )
    x = prior.sample(24, seed=4)
    full = classify(prior, x, list("abcdefgh"), policy=Stages((8,), (60,)), budget=10_000)
    race = classify(prior, x, list("abcdefgh"), policy=Race(0.99), budget=480)
    assert race.best == full.best
    assert bool(race.decided.float().mean() > 0.9)
    assert race.evaluations.float().mean() < 0.5 * full.evaluations.float().mean()
    assert bool((race.evaluations <= 480).all())
    assert float(race.confidence[race.decided].min()) == pytest.approx(0.99)
    assert float(full.confidence.nansum()) == 0


def test_a_budget_is_kept() -> None:
    prior = full_in_2d()
    x = prior.sample(3, seed=1)
    found = classify(prior, x, ["a", "b", "c"], policy=Race(0.999), budget=7)
    assert found.evaluations.tolist() == [6, 6, 6]  # 7 / 3 draws of all three
    assert not found.decided.any() and float(found.confidence.max()) < 0.95


def test_text_scores_compare_images() -> None:
    """log p(x | prompt) - log p(x), within its standard error; images may be ranked by it."""
    prior = full_in_2d()
    x = torch.tensor([[-0.9, 0.3], [0.6, 0.4], [0.2, -0.9]]).double()
    found = text_scores(prior, x, ["a", "c"], draws=900, measure=WIDE, batch_size=4096)
    clean = FLOW.at_fraction(torch.tensor(0.0).double())
    exact = log_likelihoods(prior, x, ["a", "c"]) - prior.log_density(x, clean)[:, None]
    assert_within_standard_errors(found.values, exact, found.standard_errors)
    assert found.values.argmax(dim=0).tolist() == [0, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ["a"]}, "two or more labels"),
        ({"labels": ["a", "a"]}, "all different"),
        ({"labels": {"a": ["a"], "b": []}}, "'b' has no prompt"),
        ({"labels": ["a", "zebra"]}, "labelled 'zebra'"),
        ({"budget": 2}, "does not reach for one draw of each of the 3 prompts"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"items": [1]}, "items must name each of the 2"),
        ({"batch_size": 0}, "batch_size must be >= 1"),
        ({"images": torch.zeros(0, 2)}, "at least one image"),
        ({"measure": ErrorMeasure(log_snr=(20, 30))}, "overlap the schedule's range"),
    ],
)
def test_refuses(change: dict[str, object], message: str) -> None:
    prior = full_in_2d(DiscreteSchedule.linear_beta())
    kwargs = {"images": torch.zeros(2, 2), "labels": ["a", "b", "c"]} | change
    with pytest.raises(ValueError, match=message):
        classify(prior, kwargs.pop("images"), kwargs.pop("labels"), **kwargs)


def test_an_empty_range_of_levels_is_refused() -> None:
    with pytest.raises(ValueError, match="low < high"):
        ErrorMeasure(log_snr=(3, 3))
