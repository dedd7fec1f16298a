"""Forward passes that are shared, and the operators of the base class."""

import pytest
import torch
from torch import Tensor

from scorefield.priors.condition import Condition
from scorefield.priors.denoiser import Composition, ConditionedDenoiser, Denoiser
from scorefield.priors.exact.gaussian_mixture import GaussianMixturePrior
from scorefield.priors.experts import predict_together
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import keyed_noise
from scorefield.priors.prediction import Prediction
from scorefield.priors.schedule import DiscreteSchedule

SCHEDULE = DiscreteSchedule.linear_beta()
MIXTURE = GaussianMixturePrior(
    torch.tensor([[0.0, 1.0], [1.0, -1.0]]), torch.tensor([0.5, 0.4]), labels=["a", "b"]
)
Z = keyed_noise(0, range(3), 0, (2,))
LEVEL = SCHEDULE.at_timestep(torch.tensor([100, 500, 900]))


class CountingPrior:
    """Counts the rows of its forward passes."""

    schedule = SCHEDULE

    def __init__(self) -> None:
        self.passes: list[int] = []

    def predict(self, z: Tensor, level: NoiseLevel, condition: Condition) -> Prediction:
        self.passes.append(len(z))
        return MIXTURE.predict(z, level, condition)

    def condition(self, label: str | None) -> ConditionedDenoiser:
        return ConditionedDenoiser(self, MIXTURE.condition(label).condition)


def test_one_prior_is_asked_once_and_two_are_asked_in_turn() -> None:
    one, other = CountingPrior(), CountingPrior()
    denoisers = [one.condition("a"), other.condition("b"), one.condition("b"), MIXTURE]
    together = predict_together(denoisers, Z, LEVEL)
    assert (one.passes, other.passes) == ([6], [3])
    for denoiser, prediction in zip(denoisers, together, strict=True):
        torch.testing.assert_close(prediction.v, denoiser(Z, LEVEL).v)


def test_conditions_that_do_not_fit_take_a_pass_each() -> None:
    class Any(CountingPrior):
        def predict(self, z: Tensor, level: NoiseLevel, condition: Condition) -> Prediction:
            self.passes.append(len(z))
            return MIXTURE(z, level)

    prior = Any()
    short, long = (
        ConditionedDenoiser(prior, Condition({"text": torch.zeros(1, n)})) for n in (4, 7)
    )
    predict_together([short, long, short], Z, LEVEL)
    assert sorted(prior.passes) == [3, 6]


@pytest.mark.parametrize(
    ("field", "weights"),
    [
        (MIXTURE * MIXTURE.condition("a"), (1.0, 1.0)),
        (MIXTURE / MIXTURE.condition("a"), (1.0, -1.0)),
        (MIXTURE.condition("a") ** 2, (0.0, 2.0)),
        (MIXTURE * (MIXTURE.condition("a") / MIXTURE) ** 3, (-2.0, 3.0)),
    ],
)
def test_operators(field: Composition, weights: tuple[float, float]) -> None:
    whole, part = MIXTURE.score(Z, LEVEL), MIXTURE.condition("a").score(Z, LEVEL)
    expected = weights[0] * whole + weights[1] * part
    torch.testing.assert_close(field.score(Z, LEVEL), expected)
    torch.testing.assert_close(field.energy_gradient(Z, LEVEL), -expected)


@pytest.mark.parametrize("operator", ["__mul__", "__truediv__"])
def test_operators_take_denoisers(operator: str) -> None:
    denoiser: Denoiser = MIXTURE
    assert getattr(denoiser, operator)(3) is NotImplemented
    with pytest.raises(TypeError):
        denoiser / 3  # type: ignore[operator]
