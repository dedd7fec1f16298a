"""Sampling by chains alone, against moments in closed form."""

import pytest
import torch

from scorefield.priors.energy.langevin import annealed_langevin, langevin
from scorefield.priors.energy.mcmc import MALA, ULA
from scorefield.priors.exact.gaussian_mixture import GaussianMixturePrior
from scorefield.priors.noise import keyed_noise
from scorefield.priors.schedule import DiscreteSchedule, FlowSchedule, NoiseSchedule

ZERO_SNR = DiscreteSchedule.cosine().zero_terminal_snr()


def two_bumps(schedule: NoiseSchedule) -> GaussianMixturePrior:
    means = torch.tensor([[-1.0], [1.0]]).double()
    weights = torch.tensor([0.25, 0.75]).double()
    return GaussianMixturePrior(means, torch.tensor([0.3, 0.3]).double(), weights, None, schedule)


def test_langevin_finds_the_density_of_its_level() -> None:
    """One chain of 20000 dimensions, started at 0; 5 standard errors of the variance."""
    n = 20000
    prior = GaussianMixturePrior(torch.ones(1, n).double(), torch.tensor([0.5]).double())
    level = prior.schedule.at_timestep(torch.tensor(400.0).double())
    z, acceptance = langevin(prior, torch.zeros(1, n).double(), level, ULA(100, 0.1))
    v = float(0.25 * level.alpha**2 + level.sigma**2)
    v_ula = v / (1 - 0.1 * float(level.sigma) ** 2 / (2 * v))
    assert abs(float(z.mean() - level.alpha)) < 5 * (v_ula / n) ** 0.5
    assert abs(float(z.var()) / v_ula - 1) < 5 * (2 / n) ** 0.5
    assert acceptance.tolist() == [1.0]


@pytest.mark.parametrize("schedule", [ZERO_SNR, FlowSchedule()])
def test_annealing_finds_the_weights_and_widths_of_the_modes(schedule: NoiseSchedule) -> None:
    """Weights within 5 standard errors; widths within them and 10% for the steps."""
    n = 300
    prior = two_bumps(schedule)
    x = annealed_langevin(
        prior, (1,), n, corrector=ULA(4, 0.2), levels=30, dtype=torch.float64
    ).squeeze(1)
    right = x > 0
    assert abs(float(right.double().mean()) - 0.75) < 5 * (0.75 * 0.25 / n) ** 0.5
    for side, mean in ((right, 1.0), (~right, -1.0)):
        count = int(side.sum())
        assert abs(float(x[side].mean()) - mean) < 5 * 0.3 / count**0.5 + 0.03
        assert abs(float(x[side].std()) / 0.3 - 1) < 5 / (2 * count) ** 0.5 + 0.1


def test_an_item_does_not_depend_on_its_batch() -> None:
    prior, order = two_bumps(ZERO_SNR), [3, 1]
    options = {"corrector": MALA(1, 0.5), "levels": 4}
    whole = annealed_langevin(prior, (1,), 4, **options)
    some = annealed_langevin(prior, (1,), 2, items=order, **options)
    torch.testing.assert_close(some, whole[order])
    z = keyed_noise(0, range(4), 0, (1,))
    level = ZERO_SNR.at_timestep(300)
    moved, _ = langevin(prior, z, level, MALA(3, 0.5))
    again, _ = langevin(prior, z[order], level, MALA(3, 0.5), items=order)
    torch.testing.assert_close(again, moved[order])


def test_levels_may_be_given() -> None:
    prior = two_bumps(ZERO_SNR)
    levels = [ZERO_SNR.at_fraction(u) for u in (0.9, 0.5, 0.1)]
    x = annealed_langevin(prior, (1,), 2, corrector=ULA(1, 0.1), levels=levels)
    assert x.shape == (2, 1) and x.dtype == torch.float32


def test_bad_input() -> None:
    prior = two_bumps(ZERO_SNR)
    with pytest.raises(ValueError, match="n must be >= 1, got 0"):
        annealed_langevin(prior, (1,), 0, corrector=ULA(1, 0.1))
    with pytest.raises(ValueError, match="at least one level"):
        annealed_langevin(prior, (1,), corrector=ULA(1, 0.1), levels=[])
    ends = {"alpha = 0": ZERO_SNR.at_fraction(1.0), "sigma = 0": FlowSchedule().at_fraction(0.0)}
    for match, end in ends.items():
        with pytest.raises(ValueError, match=match):
            annealed_langevin(prior, (1,), corrector=ULA(1, 0.1), levels=[end])
