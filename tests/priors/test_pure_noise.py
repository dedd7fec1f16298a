"""One denoiser for pure noise, another for the rest."""

import pytest
import torch

from scorefield.priors.composition.pure_noise import FromPureNoise
from scorefield.priors.composition.video_adapter import video_adapter
from scorefield.priors.exact.gaussian_mixture import GaussianMixturePrior
from scorefield.priors.sampling import sample
from scorefield.priors.schedule import DiscreteSchedule

SCHEDULE = DiscreteSchedule.cosine().zero_terminal_snr()


def gaussian(mean: float) -> GaussianMixturePrior:
    return GaussianMixturePrior(torch.full((1, 2), mean), torch.tensor([0.5]), schedule=SCHEDULE)


def test_each_is_asked_at_its_levels() -> None:
    first, rest = gaussian(1.0), gaussian(-1.0)
    denoiser = FromPureNoise(first, rest)
    z = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    pure, level = SCHEDULE.at_fraction(1.0), SCHEDULE.at_fraction(0.5)
    assert torch.equal(denoiser(z, pure).x0, first(z, pure).x0)
    assert torch.equal(denoiser(z, level).x0, rest(z, level).x0)
    assert torch.equal(denoiser.score(z, level), rest.score(z, level))
    assert torch.equal(denoiser.rows([0, 2])(z[:2], pure).x0, first(z[:2], pure).x0)


def test_levels_of_both_kinds_are_refused() -> None:
    denoiser = FromPureNoise(gaussian(1.0), gaussian(-1.0))
    mixed = SCHEDULE.at_fraction(torch.tensor([0.5, 1.0]))
    with pytest.raises(ValueError, match="some items are pure noise and some are not"):
        denoiser(torch.zeros(2, 2), mixed)


def test_algorithm_1_is_sampled_from_zero_terminal_snr() -> None:
    small, uncond, prior = gaussian(1.0), gaussian(0.0), gaussian(-1.0)
    literal = video_adapter(small, uncond, prior, 0.2, 1.5)
    with pytest.raises(ValueError, match="zero terminal SNR"):
        literal(torch.zeros(1, 2), SCHEDULE.at_fraction(1.0))
    denoiser = FromPureNoise(video_adapter(small, uncond, prior, 0.2, 1.5, normalize=True), literal)
    assert bool(sample(denoiser, (2,), n=4, steps=20).isfinite().all())
