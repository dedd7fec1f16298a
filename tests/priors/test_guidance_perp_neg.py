import math

import pytest
import torch
from torch import Tensor

from scorefield.priors.condition import Condition
from scorefield.priors.denoiser import ConditionedDenoiser, Denoiser
from scorefield.priors.exact.gaussian_mixture import GaussianMixturePrior
from scorefield.priors.guidance.classifier_free import ClassifierFreeGuidance
from scorefield.priors.guidance.perp_neg import PerpNeg
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import keyed_noise
from scorefield.priors.prediction import Prediction
from scorefield.priors.schedule import DiscreteSchedule, FlowSchedule, NoiseSchedule

SCHEDULE = DiscreteSchedule.scaled_linear().zero_terminal_snr()
Z = keyed_noise(0, range(4), 0, (3,), torch.float64)
LEVEL = SCHEDULE.at_timestep(torch.tensor([50, 400, 700, 950]))


class At(Denoiser):
    """Predicts one x0, so that directions can be laid out by hand."""

    def __init__(self, *x0: float, schedule: NoiseSchedule = SCHEDULE) -> None:
        self.x0, self.schedule = torch.tensor(x0, dtype=torch.float64), schedule

    def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
        return Prediction.from_x0(z, level, self.x0.expand(len(z), 3))


UNCOND, COND = At(0.5, 0.5, 0.5), At(2.5, 0.5, 0.5)  # the positive direction is the first axis


def x0(denoiser: Denoiser) -> Tensor:
    return denoiser(Z, LEVEL).x0


def test_orthogonal_negatives_count_in_full() -> None:
    second, third = At(0.5, 1.5, 0.5), At(0.5, 0.5, 3.5)
    guided = PerpNeg(COND, UNCOND, [second, third], [0.5, 2.0], 3.0)
    expected = torch.tensor([0.5 + 3 * 2, 0.5 - 3 * 0.5 * 1, 0.5 - 3 * 2 * 3]).double()
    torch.testing.assert_close(x0(guided), expected.expand(4, 3))


@pytest.mark.parametrize("share", [0.3, 1.0, -2.0])
def test_a_parallel_negative_takes_nothing_away(share: float) -> None:
    parallel = At(0.5 + 2 * share, 0.5, 0.5)
    guided = PerpNeg(COND, UNCOND, [parallel], [1.0], 3.0)
    torch.testing.assert_close(x0(guided), x0(ClassifierFreeGuidance(COND, UNCOND, 3.0)))


def test_an_oblique_negative_never_changes_the_positive_component() -> None:
    oblique = At(1.5, 1.5, 0.5)
    guided = x0(PerpNeg(COND, UNCOND, [oblique], [0.7], 3.0))
    torch.testing.assert_close(guided, torch.tensor([6.5, 0.5 - 2.1, 0.5]).double().expand(4, 3))


def test_without_a_positive_direction_negatives_count_in_full() -> None:
    guided = PerpNeg(UNCOND, UNCOND, [At(1.5, 0.5, 0.5)], [1.0], 2.0)
    torch.testing.assert_close(x0(guided), torch.tensor([-1.5, 0.5, 0.5]).double().expand(4, 3))


MEANS = torch.tensor([[0.0, 1.0, 2.0], [1.0, -1.0, 0.5], [-2.0, 0.0, 0.3]], dtype=torch.float64)
MIXTURE = GaussianMixturePrior(
    MEANS, torch.tensor([0.5, 0.4, 0.6]).double(), None, ["cat", "dog", "cow"], SCHEDULE
)
CAT, DOG, COW = (MIXTURE.condition(label) for label in ("cat", "dog", "cow"))


@pytest.mark.parametrize("space", ["eps", "x0", "v", "velocity", "score"])
def test_the_law_is_the_same_in_every_space(space: str) -> None:
    guided = PerpNeg(CAT, MIXTURE.unconditional, [DOG, COW], [1.5, 0.5], 4.0)(Z, LEVEL)
    c, u, *n = (getattr(d(Z, LEVEL), space) for d in (CAT, MIXTURE.unconditional, DOG, COW))
    d = c - u
    expected = d
    for weight, away in zip((1.5, 0.5), (value - u for value in n), strict=True):
        overlap = (away * d).sum(1, keepdim=True) / (d * d).sum(1, keepdim=True)
        expected = expected - weight * (away - overlap * d)
    expected = u + 4 * expected
    torch.testing.assert_close(getattr(guided, space), expected, rtol=1e-6, atol=1e-6)


def test_without_negatives_it_is_classifier_free_guidance() -> None:
    plain = ClassifierFreeGuidance(CAT, MIXTURE.unconditional, 5.0)(Z, LEVEL)
    for negatives, weights in (([], []), ([DOG, COW], [0, 0.0])):
        guided = PerpNeg(CAT, MIXTURE.unconditional, negatives, weights, 5.0)
        torch.testing.assert_close(guided(Z, LEVEL).v, plain.v)


class CountingPrior:
    schedule = SCHEDULE

    def __init__(self) -> None:
        self.asked: list[int] = []

    def predict(self, z: Tensor, level: NoiseLevel, condition: Condition) -> Prediction:
        self.asked.append(len(z))
        return Prediction.from_v(z, level, condition.tensors["v"].expand_as(z))


def test_one_forward_pass_and_none_for_weight_zero() -> None:
    prior = CountingPrior()
    a, b, c, d = (
        ConditionedDenoiser(prior, Condition({"v": torch.full((1, 3), v).double()}))
        for v in (1.0, 2.0, 3.0, 4.0)
    )
    PerpNeg(a, b, [c, d], [1.0, 1.0], 2.0)(Z, LEVEL)
    PerpNeg(a, b, [c, d], [1.0, 0.0], 2.0)(Z, LEVEL)
    PerpNeg(a, b, [c, d], [0.0, 0.0], 1.0)(Z, LEVEL)
    PerpNeg(a, b, [c, d], [1.0, 1.0], 0.0)(Z, LEVEL)
    assert prior.asked == [16, 12, 4, 4]


def test_weights_of_each_item() -> None:
    weights = torch.tensor([[0.0, 1.0, 0.5, 2.0]])
    guided = PerpNeg(CAT, MIXTURE.unconditional, [DOG], weights, 3.0)
    for item in range(4):
        alone = PerpNeg(CAT, MIXTURE.unconditional, [DOG], weights[:, item], 3.0)
        expected = alone(Z[item : item + 1], LEVEL[item : item + 1]).v[0]
        torch.testing.assert_close(guided(Z, LEVEL).v[item], expected)
    part = guided.rows([3, 1])(Z[[3, 1]], LEVEL[[3, 1]])
    torch.testing.assert_close(part.v, guided(Z, LEVEL).v[[3, 1]])
    with pytest.raises(ValueError, match="weights for 4 items do not fit a batch of 2"):
        guided(Z[:2], LEVEL[:2])


def test_a_flow_too() -> None:
    flow = FlowSchedule()
    ends = At(0.5, 0.5, 0.5, schedule=flow), At(2.5, 0.5, 0.5, schedule=flow)
    guided = PerpNeg(ends[1], ends[0], [At(0.5, 1.5, 0.5, schedule=flow)], [1.0], 2.0)
    at = guided(Z, flow.at_fraction(torch.tensor([0.1, 0.4, 0.7, 0.9], dtype=torch.float64)))
    torch.testing.assert_close(at.x0, torch.tensor([4.5, -1.5, 0.5]).double().expand(4, 3))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([-1.0], "weights must be finite and >= 0, got .* they are subtracted"),
        ([math.nan], "weights must be finite and >= 0"),
        ([math.inf], "weights must be finite and >= 0"),
        ([1.0, 2.0], r"weights must have shape \(1,\) or \(1, items\)"),
        ([], r"one for each negative, got \(0,\)"),
    ],
)
def test_weights_are_refused(weights: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PerpNeg(CAT, MIXTURE.unconditional, [DOG], weights, 2.0)


def test_scale_must_be_finite() -> None:
    with pytest.raises(ValueError, match="scale must be a finite number, got nan"):
        PerpNeg(CAT, MIXTURE.unconditional, [DOG], [1.0], math.nan)
