"""The U-Net against a literal restatement of diffusion_policy's, its sizes and its refusals."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from scorefield.control.networks.settings import UNet1DSettings
from scorefield.control.networks.unet1d import UNet1D

SMALL = UNet1DSettings(widths=(16, 32, 64), time_features=16)


class ReferenceConv(nn.Module):
    def __init__(self, before: int, after: int, kernel: int, groups: int = 8) -> None:
        super().__init__()
        conv = nn.Conv1d(before, after, kernel, padding=kernel // 2)
        self.block = nn.Sequential(conv, nn.GroupNorm(groups, after), nn.Mish())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block(x)
        return out


class ReferenceBlock(nn.Module):
    def __init__(self, before: int, after: int, condition: int, kernel: int) -> None:
        super().__init__()
        self.after = after
        self.blocks = nn.ModuleList(
            [ReferenceConv(before, after, kernel), ReferenceConv(after, after, kernel)]
        )
        self.cond_encoder = nn.Sequential(nn.Mish(), nn.Linear(condition, 2 * after))
        self.residual_conv = nn.Conv1d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        embedded = self.cond_encoder(condition).reshape(len(x), 2, self.after, 1)
        out = embedded[:, 0] * self.blocks[0](x) + embedded[:, 1]
        out = self.blocks[1](out) + self.residual_conv(x)
        return out


class ReferenceEmbedding(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, timestep: Tensor) -> Tensor:
        half = self.size // 2
        rates = torch.exp(-math.log(10000) / (half - 1) * torch.arange(half))
        angles = timestep[:, None] * rates[None]
        return torch.cat((angles.sin(), angles.cos()), dim=-1)


class ReferenceResample(nn.Module):
    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


class ReferenceUnet(nn.Module):
    """`ConditionalUnet1D`, with cond_predict_scale and without local conditions."""

    def __init__(self, size: int, condition: int, settings: UNet1DSettings) -> None:
        super().__init__()
        embed, kernel = settings.time_features, settings.kernel
        sizes = [size, *settings.widths]
        total = embed + condition
        self.diffusion_step_encoder = nn.Sequential(
            ReferenceEmbedding(embed),
            nn.Linear(embed, embed * 4),
            nn.Mish(),
            nn.Linear(embed * 4, embed),
        )
        pairs = list(itertools.pairwise(sizes))
        self.mid_modules = nn.ModuleList(
            [ReferenceBlock(sizes[-1], sizes[-1], total, kernel) for _ in range(2)]
        )
        self.down_modules = nn.ModuleList()
        for index, (before, after) in enumerate(pairs):
            last = index == len(pairs) - 1
            down = ReferenceResample(nn.Conv1d(after, after, 3, 2, 1))
            self.down_modules.append(
                nn.ModuleList(
                    [
                        ReferenceBlock(before, after, total, kernel),
                        ReferenceBlock(after, after, total, kernel),
                        nn.Identity() if last else down,
                    ]
                )
            )
        self.up_modules = nn.ModuleList()
        for before, after in reversed(pairs[1:]):
            self.up_modules.append(
                nn.ModuleList(
                    [
                        ReferenceBlock(after * 2, before, total, kernel),
                        ReferenceBlock(before, before, total, kernel),
                        ReferenceResample(nn.ConvTranspose1d(before, before, 4, 2, 1)),
                    ]
                )
            )
        first = settings.widths[0]
        self.final_conv = nn.Sequential(
            ReferenceConv(first, first, kernel), nn.Conv1d(first, size, 1)
        )

    def forward(self, sample: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        x = sample.permute(0, 2, 1)
        feature = torch.cat([self.diffusion_step_encoder(timestep), condition], dim=-1)
        history = []
        for first, second, down in self.down_modules:
            x = second(first(x, feature), feature)
            history.append(x)
            x = down(x)
        for middle in self.mid_modules:
            x = middle(x, feature)
        for first, second, up in self.up_modules:
            x = torch.cat((x, history.pop()), dim=1)
            x = up(second(first(x, feature), feature))
        out: Tensor = self.final_conv(x).permute(0, 2, 1)
        return out


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


@pytest.mark.parametrize(
    ("settings", "size", "condition", "millions"),
    [
        (UNet1DSettings.paper_state(), 2, 40, 65.78),
        (UNet1DSettings.paper_image(), 2, 132, 251.51),
        (UNet1DSettings(), 2, 40, 1.18),
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
