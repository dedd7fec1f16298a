"""The U-Net against a literal restatement of diffusion_policy's, its sizes and its refusals."""

from dataclasses import replace

import pytest
import torch
from reference_networks import ReferenceUnet
from torch import Tensor, nn

from scorefield.control.networks.settings import UNet1DSettings
from scorefield.control.networks.unet1d import UNet1D

SMALL = UNet1DSettings(widths=(16, 32, 64), time_features=16)


def both(settings: UNet1DSettings = SMALL) -> tuple[ReferenceUnet, UNet1D]:
    torch.manual_seed(0)
    reference = ReferenceUnet(3, 10, settings).eval()
    with torch.no_grad():  # the affine weights of group norms begin at 1 and 0, which hides swaps
        for norm in reference.modules():
            if isinstance(norm, nn.GroupNorm):
                norm.weight.normal_(1, 0.3)
                norm.bias.normal_(0, 0.3)
    return reference, UNet1D(8, 3, 3, 10, settings)


def inputs(batch: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    chunk = torch.randn(batch, 8, 3, generator=generator)
    timestep = torch.tensor([0, 7, 50, 99])[:batch]
    return chunk, timestep, torch.randn(batch, 10, generator=generator)


@pytest.mark.parametrize(
    "settings", [SMALL, UNet1DSettings((8, 16), 8, kernel=3), UNet1DSettings((8,), 8)]
)
def test_weights_of_the_reference_give_its_output(settings: UNet1DSettings) -> None:
    reference, ours = both(settings)
    chunk, timestep, condition = inputs()
    state = {f"model.{name}": tensor for name, tensor in reference.state_dict().items()}
    state["normalizer.scale"] = torch.ones(1)
    ours.load_reference(state, prefix="model.")
    with torch.no_grad():
        expected = reference(chunk, timestep, condition)
        found = ours(chunk, timestep / 100, condition)
    assert float(expected.std()) > 0.1
    assert torch.allclose(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kernel", [3, 5])
def test_convolutions_are_the_same_with_and_without_gradients(kernel: int) -> None:
    _, ours = both(UNet1DSettings((16, 32), 16, kernel=kernel))
    chunk, timestep, condition = inputs()
    usual = ours(chunk, timestep / 100, condition)
    with torch.no_grad():
        product = ours(chunk, timestep / 100, condition)
    assert usual.requires_grad and float(usual.detach().std()) > 0.1
    torch.testing.assert_close(product, usual.detach(), atol=1e-5, rtol=0)


def test_a_prepared_condition_gives_the_same() -> None:
    _, ours = both()
    chunk, timestep, condition = inputs()
    prepared = ours.prepare(condition)
    for shift in (0.0, 0.5):
        time = timestep / 200 + shift
        assert torch.equal(ours(chunk, time, condition), ours.denoise(chunk, time, prepared))
    time = timestep / 100
    other = ours.denoise(chunk, time, ours.prepare(condition + 1))
    assert not torch.allclose(other, ours(chunk, time, condition), atol=1e-3)


def test_fourier_features_of_what_is_observed_reach_the_blocks() -> None:
    torch.manual_seed(0)
    ours = UNet1D(8, 3, 3, 10, replace(SMALL, frequencies=5, bandwidth=0.5))
    _, _, condition = inputs()
    assert ours.fourier is not None
    angles = condition @ ours.fourier.rates
    seen = torch.cat([nn.functional.mish(condition), angles.sin(), angles.cos()], dim=1)
    torch.testing.assert_close(ours.prepare(condition), ours.film_condition(seen))


@pytest.mark.parametrize(
    ("settings", "size", "condition", "millions"),
    [
        (UNet1DSettings.paper_state(), 2, 40, 65.78),
        (UNet1DSettings.paper_image(), 2, 132, 251.51),
        (UNet1DSettings(), 2, 40, 0.34),
    ],
)
def test_sizes_are_the_published_ones(
    settings: UNet1DSettings, size: int, condition: int, millions: float
) -> None:
    with torch.device("meta"):
        ours = UNet1D(16, size, size, condition, settings)
    assert sum(p.numel() for p in ours.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)


def test_weights_of_another_network_are_refused() -> None:
    reference, ours = both()
    state = dict(reference.state_dict())
    with pytest.raises(ValueError, match="left over: extra"):
        ours.load_reference({**state, "extra": torch.ones(1)})
    with pytest.raises(ValueError, match="size mismatch"):
        UNet1D(8, 3, 3, 11, SMALL).load_reference(state)
    del state["final_conv.1.bias"]
    with pytest.raises(ValueError, match=r"KeyError.*final_conv\.1\.bias"):
        ours.load_reference(state)


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 4 steps, got 10"):
        UNet1D(10, 2, 2, 4, SMALL)
    with pytest.raises(ValueError, match="multiples of the 8 groups"):
        UNet1DSettings(widths=(12,))
    with pytest.raises(ValueError, match="kernel must be odd"):
        UNet1DSettings(kernel=4)
    with pytest.raises(ValueError, match="time_features must be even"):
        UNet1DSettings(time_features=3)


def test_every_weight_learns() -> None:
    _, ours = both()
    chunk, timestep, condition = inputs()
    ours(chunk, timestep / 100, condition).square().sum().backward()
    for name, weights in ours.named_parameters():
        assert weights.grad is not None and float(weights.grad.abs().max()) > 0, name
