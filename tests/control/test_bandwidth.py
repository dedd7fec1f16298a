"""The bandwidth of Fourier features, from how dense demonstrations are."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from scorefield.control.data.episode import Episode
from scorefield.control.data.episodes import Episodes
from scorefield.control.data.normalizer import Normalizer
from scorefield.control.data.spaces import Horizons, PolicySpaces
from scorefield.control.data.spacing import spacing
from scorefield.control.data.windows import Windows
from scorefield.control.networks.fourier import Fourier, bandwidth_for
from scorefield.control.networks.settings import (
    PerceptronSettings,
    TransformerSettings,
    UNet1DSettings,
)
from scorefield.control.policies.diffusion_policy import DiffusionPolicy, NetworkSettings
from scorefield.control.policies.loading import load_policy


def lines(apart: float, episodes: int = 3) -> Windows:
    """Straight ways beside each other, a step of which is much shorter than they are apart."""
    x = np.linspace(0, 0.05, 9)
    ways = [np.stack([x, 0 * x + apart * i], axis=1) for i in range(episodes)]
    return Windows(Episodes.of(Episode(way, way) for way in ways), Horizons(2, 2, 4))


@pytest.mark.parametrize("apart", [0.2, 0.7])
def test_the_spacing_is_the_way_to_the_nearest_other_episode(apart: float) -> None:
    # Both observations of a window are so far from those of the next line.
    found = spacing(lines(apart), Normalizer.identity(2))
    assert found == pytest.approx(math.sqrt(2) * apart, rel=1e-5)
    assert spacing(lines(apart, episodes=1), Normalizer.identity(2)) == 1.0
    assert spacing(lines(apart), None) == 1.0


@pytest.mark.parametrize("condition", [4, 40])
def test_the_features_are_a_kernel_of_three_spacings(condition: int) -> None:
    # The mean of cos(r (x - y)) over many features is exp(-|x - y|^2 / 2 w^2), w = 3 spacings.
    # 20,000 features: the mean of cosines is known to 0.005.
    torch.manual_seed(0)
    fourier = Fourier(condition, 20_000, bandwidth_for(0.5, condition, 3.0))
    way = torch.nn.functional.normalize(torch.randn(condition), dim=0)
    for length in (0.5, 1.5, 3.0):
        mean = float((length * way @ fourier.rates).cos().mean())
        assert mean == pytest.approx(math.exp(-(length**2) / 2 / 1.5**2), abs=0.02)
    assert bandwidth_for(1e-9, condition, 3.0) == 2.0


@pytest.mark.parametrize("settings", [UNet1DSettings((8, 16), 8), TransformerSettings(2, 8, 1, 2)])
def test_other_networks_reach_twice_as_far(settings: NetworkSettings) -> None:
    windows = lines(0.7)
    spaces = PolicySpaces(2, 2, (0.0, 0.0), (2.0, 2.0))
    usual = DiffusionPolicy(spaces, windows.horizons, PerceptronSettings(8, 1))
    other = DiffusionPolicy(spaces, windows.horizons, settings)
    usual.fit(windows)
    other.fit(windows)
    assert usual.network_settings.bandwidth is not None
    assert other.network_settings.bandwidth == pytest.approx(usual.network_settings.bandwidth / 2)


def test_it_is_chosen_once_and_kept_in_the_file(tmp_path: Path) -> None:
    windows = lines(0.7)
    spaces = PolicySpaces(2, 2, (0.0, 0.0), (2.0, 2.0))

    def policy(bandwidth: float | None) -> DiffusionPolicy:
        settings = PerceptronSettings(width=8, layers=1, bandwidth=bandwidth)
        made = DiffusionPolicy(spaces, windows.horizons, settings, seed=1)
        made.fit(windows)
        return made

    chosen = policy(None)
    wide = chosen.network_settings
    assert isinstance(wide, PerceptronSettings) and wide.bandwidth is not None
    assert 0.05 < wide.bandwidth < 2
    torch.testing.assert_close(
        chosen.network.fourier.rates, policy(wide.bandwidth).network.fourier.rates
    )
    chosen.fit(windows)
    again = load_policy(chosen.save(tmp_path))
    assert again.network_settings == chosen.network_settings == wide
    torch.testing.assert_close(again.network.fourier.rates, chosen.network.fourier.rates)
    assert policy(2.0).network_settings == PerceptronSettings(8, 1, bandwidth=2.0)
