"""OR and AND on Gaussians, whose densities are known."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from scorefield.priors.composition.superposition import Superposition, superpose_and, superpose_or
from scorefield.priors.exact.gaussian_mixture import GaussianMixturePrior
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.schedule import DiscreteSchedule, FlowSchedule, NoiseSchedule

LINEAR = DiscreteSchedule.linear_beta()
CLEAN = NoiseLevel(*torch.tensor([[1.0], [1e-3]]).double())


def gaussian(
    mean: float, scale: float, dims: int = 1, schedule: NoiseSchedule = LINEAR
) -> GaussianMixturePrior:
    return GaussianMixturePrior(
        torch.full((1, dims), mean).double(), torch.tensor([scale]).double(), schedule=schedule
    )


LEFT, RIGHT = gaussian(-2.0, 0.5), gaussian(1.5, 0.8)


def exact(found: Superposition, *experts: GaussianMixturePrior) -> torch.Tensor:
    return torch.stack([expert.log_density(found.samples, CLEAN) for expert in experts])


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_or_is_the_mixture(share: float) -> None:
    n = 500
    bias = [math.log(share), math.log(1 - share)]
    found = superpose_or(
        [LEFT, RIGHT], (1,), n, bias=bias, steps=100, batch_size=n, dtype=torch.float64
    )
    x = found.samples[:, 0]
    left = x < -0.5
    # 5 standard errors of the share, the means and the deviations, and 0.05 of discretisation
    assert float(left.double().mean()) == pytest.approx(share, abs=2.5 / math.sqrt(n) + 0.02)
    for part, mean, scale in ((x[left], -2.0, 0.5), (x[~left], 1.5, 0.8)):
        error = 5 * scale / math.sqrt(len(part))
        assert float(part.mean()) == pytest.approx(mean, abs=error + 0.05)
        assert float(part.std()) == pytest.approx(scale, abs=error / math.sqrt(2) + 0.05)
    # what an item came from, it knows the density of best
    log_density = exact(found, LEFT, RIGHT)
    own = torch.where(left, found.log_density[0], found.log_density[1])
    truth = torch.where(left, log_density[0], log_density[1])
    assert float((own - truth).abs().mean()) < 0.1


@pytest.mark.parametrize("other", [LINEAR, FlowSchedule()], ids=repr)
def test_and_gives_all_the_same_density(other: NoiseSchedule) -> None:
    """Gaussians of one scale: samples on the plane half-way, free along it."""
    n, dims = 200, 2
    a, b = gaussian(-1.0, 0.6, dims), gaussian(0.5, 0.6, dims, other)
    found = superpose_and([a, b], (dims,), n, steps=150, batch_size=n, dtype=torch.float64)
    gap = exact(found, a, b).diff(dim=0)[0]
    # the noise of the last steps is left: less than 0.1 nats, where the experts differ by 20
    assert float(gap.mean()) == pytest.approx(0.0, abs=0.05)
    assert float(gap.std()) < 0.2
    assert float((found.log_density[1] - found.log_density[0] - gap).abs().mean()) < 0.1
    along = (found.samples[:, 0] - found.samples[:, 1]) / 2**0.5
    # 5 standard errors, and 0.05 of discretisation
    assert float(along.std()) == pytest.approx(0.6, abs=5 * 0.6 / math.sqrt(2 * n) + 0.05)


def test_and_of_unlike_scales_comes_closer_with_steps() -> None:
    gaps = []
    for steps in (50, 200):
        found = superpose_and(
            [LEFT, RIGHT], (1,), 100, steps=steps, batch_size=100, dtype=torch.float64
        )
        gaps.append(float(exact(found, LEFT, RIGHT).diff(dim=0).mean().abs()))
    assert gaps[1] < 0.15
    assert gaps[1] < gaps[0]


def test_and_of_three() -> None:
    experts = [gaussian(-1.0, 0.5, 3), gaussian(1.0, 0.5, 3)]
    means = torch.tensor([[1.0, -1.0, 0.0]]).double()
    experts.append(GaussianMixturePrior(means, torch.tensor([0.5]).double(), schedule=LINEAR))
    found = superpose_and(experts, (3,), 50, steps=100, batch_size=50, dtype=torch.float64)
    gaps = exact(found, *experts).diff(dim=0)
    assert float(gaps.mean().abs()) < 0.15
    assert float(gaps.std()) < 0.5


def test_experts_that_agree_are_followed() -> None:
    found = superpose_and([LEFT, gaussian(-2.0, 0.5)], (1,), 100, steps=30, batch_size=100)
    assert float(found.samples.mean()) == pytest.approx(-2.0, abs=0.25)
    torch.testing.assert_close(found.log_density[0], found.log_density[1])


@pytest.mark.parametrize("superpose", [superpose_or, superpose_and])
def test_items_depend_on_seed_and_item_alone(superpose: Callable[..., Superposition]) -> None:
    prior = GaussianMixturePrior(
        torch.tensor([[-1.0], [1.0]]), torch.tensor([0.3, 0.4]), labels=["a", "b"]
    )
    each = prior.condition(["a", "b", "a", "b", "b"])
    whole = superpose([each, prior], (1,), 5, steps=8)
    parts = superpose([each, prior], (1,), 5, steps=8, batch_size=2)
    torch.testing.assert_close(parts.samples, whole.samples)
    torch.testing.assert_close(parts.log_density, whole.log_density)
    assert not torch.allclose(
        superpose([each, prior], (1,), 5, steps=8, seed=1).samples, whole.samples
    )


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: superpose_or([LEFT], (1,)), "two or more experts, got 1"),
        (lambda: superpose_or([LEFT, RIGHT], (1,), bias=[0.0]), "got 1 of 2"),
        (lambda: superpose_or([LEFT, RIGHT], (1,), temperature=0), "temperature must be > 0"),
        (lambda: superpose_and([LEFT, RIGHT], (1,), 0), "n and batch_size must be >= 1"),
        (lambda: superpose_and([LEFT, RIGHT], (1,), relaxation=2), r"\(0, 1\], got 2"),
        (lambda: superpose_and([LEFT, gaussian(0.0, 1.0, 2)], (1,)), "do not combine"),
    ],
)
def test_refused(run: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run()
