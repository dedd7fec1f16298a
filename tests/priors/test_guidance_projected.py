import math
from itertools import pairwise

import pytest
import torch
from diffusers.guiders.adaptive_projected_guidance import MomentumBuffer, normalized_guidance
from torch import Tensor

from scorefield.priors.denoiser import Denoiser
from scorefield.priors.exact.gaussian_mixture import GaussianMixturePrior
from scorefield.priors.guidance.classifier_free import ClassifierFreeGuidance
from scorefield.priors.guidance.projected import AdaptiveProjectedGuidance
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import keyed_noise
from scorefield.priors.prediction import Prediction
from scorefield.priors.schedule import DiscreteSchedule
from scorefield.priors.steps import ddim_step, level_path

SCHEDULE = DiscreteSchedule.scaled_linear().zero_terminal_snr()
SHAPE = (3, 2, 2)
MIXTURE = GaussianMixturePrior(
    keyed_noise(5, range(3), 0, SHAPE, torch.float64),
    torch.tensor([0.5, 0.4, 0.6]).double(),
    None,
    ["cat", "dog", "cow"],
    SCHEDULE,
)
CAT, ANY = MIXTURE.condition("cat"), MIXTURE.unconditional
Z = keyed_noise(0, range(4), 0, SHAPE, torch.float64)
LEVEL = SCHEDULE.at_timestep(torch.tensor([50, 400, 700, 999]))


class Unreachable(Denoiser):
    schedule = SCHEDULE

    def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
        raise AssertionError("must not be evaluated")


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("max_norm", [None, 0.3, 50.0])
def test_arithmetic_is_that_of_diffusers(eta: float, max_norm: float | None) -> None:
    cond, uncond = CAT(Z, LEVEL).x0, ANY(Z, LEVEL).x0
    theirs = normalized_guidance(cond, uncond, 6.5, None, eta, max_norm or 0.0, True)
    ours = AdaptiveProjectedGuidance(CAT, ANY, 7.5, eta, max_norm)(Z, LEVEL).x0
    torch.testing.assert_close(ours, theirs)


def test_with_everything_kept_it_is_classifier_free_guidance() -> None:
    ours = AdaptiveProjectedGuidance(CAT, ANY, 7.5, eta=1)(Z, LEVEL)
    plain = ClassifierFreeGuidance(CAT, ANY, 7.5)(Z, LEVEL)
    torch.testing.assert_close(ours.x0, plain.x0)
    torch.testing.assert_close(ours.eps, plain.eps, rtol=1e-6, atol=1e-6)


def test_scale_one_is_the_conditional() -> None:
    guided = AdaptiveProjectedGuidance(CAT, Unreachable(), 1, 0.5, 0.1)
    assert torch.equal(guided(Z, LEVEL).v, CAT(Z, LEVEL).v)


def test_the_parallel_component_stays_that_of_the_conditional() -> None:
    cond = CAT(Z, LEVEL).x0
    guided = AdaptiveProjectedGuidance(CAT, ANY, 9.0, eta=0)(Z, LEVEL).x0
    products = ((guided - cond) * cond).flatten(1).sum(dim=1)
    torch.testing.assert_close(products, torch.zeros(4).double(), rtol=0, atol=1e-10)


def test_max_norm_bounds_the_shift() -> None:
    cond = CAT(Z, LEVEL).x0
    shift = AdaptiveProjectedGuidance(CAT, ANY, 9.0, 1, 0.1)(Z, LEVEL).x0 - cond
    full = (cond - ANY(Z, LEVEL).x0).flatten(1).norm(dim=1)
    torch.testing.assert_close(shift.flatten(1).norm(dim=1), 8 * full.clamp(max=0.1))


def test_equal_halves_change_nothing() -> None:
    guided = AdaptiveProjectedGuidance(CAT, CAT, 9.0, 0, 0.1)
    torch.testing.assert_close(guided(Z, LEVEL).x0, CAT(Z, LEVEL).x0)


def test_the_split_depends_on_the_space() -> None:
    """Why it says x0: made in v, the same formula is another guidance."""
    cond, uncond = CAT(Z, LEVEL), ANY(Z, LEVEL)
    in_v = normalized_guidance(cond.v, uncond.v, 6.5, None, 0.0, 0.0, True)
    ours = AdaptiveProjectedGuidance(CAT, ANY, 7.5)(Z, LEVEL).v
    assert float((in_v - ours).norm() / ours.norm()) > 0.1


@pytest.mark.parametrize("momentum", [-0.75, -0.5, 0.3])
def test_momentum_along_a_walk_is_that_of_diffusers(momentum: float) -> None:
    apg = AdaptiveProjectedGuidance(CAT, ANY, 4.0, 0.2, 1.5)
    path = level_path(SCHEDULE, 6)
    buffer = MomentumBuffer(momentum)
    z, running = Z, None
    for level, to in pairwise(path):
        prediction, running = apg.predict_with_momentum(z, level, running, momentum)
        cond, uncond = CAT(z, level).x0, ANY(z, level).x0
        theirs = normalized_guidance(cond, uncond, 3.0, buffer, 0.2, 1.5, True)
        torch.testing.assert_close(prediction.x0, theirs)
        z = ddim_step(prediction, to)


def test_walks_do_not_touch_each_other() -> None:
    """Two walks in turn on one object end where each ends alone."""
    apg = AdaptiveProjectedGuidance(CAT, ANY, 4.0)
    path = level_path(SCHEDULE, 4)

    def walk(starts: list[Tensor]) -> list[Tensor]:
        states: list[tuple[Tensor, Tensor | None]] = [(z, None) for z in starts]
        for level, to in pairwise(path):
            for i, (z, running) in enumerate(states):
                prediction, running = apg.predict_with_momentum(z, level, running, -0.5)
                states[i] = ddim_step(prediction, to), running
        return [z for z, _ in states]

    together = walk([Z[:2], Z[2:]])
    for alone, other in zip([*walk([Z[:2]]), *walk([Z[2:]])], together, strict=True):
        assert torch.equal(alone, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": math.nan}, "scale must be a finite number, got nan"),
        ({"eta": 1.5}, r"eta must lie in \[0, 1\], got 1.5"),
        ({"eta": math.nan}, r"eta must lie in \[0, 1\]"),
        ({"max_norm": 0.0}, "max_norm must be positive, got 0.0; None is no limit"),
        ({"max_norm": math.nan}, "max_norm must be positive"),
    ],
)
def test_refusals(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdaptiveProjectedGuidance(CAT, ANY, **{"scale": 2.0, **options})


def test_momentum_must_fade() -> None:
    with pytest.raises(ValueError, match=r"momentum must lie in \(-1, 1\), got -1"):
        AdaptiveProjectedGuidance(CAT, ANY, 2.0).predict_with_momentum(Z, LEVEL, None, -1)
