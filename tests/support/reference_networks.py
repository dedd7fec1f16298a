"""Literal restatements of diffusion_policy's networks, with its names of weights."""

import itertools
import math

import torch
from torch import Tensor, nn

from scorefield.control.networks.settings import TransformerSettings, UNet1DSettings


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


class ReferenceTransformer(nn.Module):
    """`TransformerForDiffusion`, causal, with time and observations as the condition."""

    def __init__(
        self, steps: int, size: int, observation: int, settings: TransformerSettings
    ) -> None:
        super().__init__()
        width, seen = settings.width, 1 + settings.observations
        self.input_emb = nn.Linear(size, width)
        self.pos_emb = nn.Parameter(torch.randn(1, steps, width))
        self.time_emb = ReferenceEmbedding(width)
        self.cond_obs_emb = nn.Linear(observation, width)
        self.cond_pos_emb = nn.Parameter(torch.randn(1, seen, width))
        self.encoder = nn.Sequential(
            nn.Linear(width, 4 * width), nn.Mish(), nn.Linear(4 * width, width)
        )
        layer = nn.TransformerDecoderLayer(
            width,
            settings.heads,
            4 * width,
            settings.dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.decoder = nn.TransformerDecoder(layer, settings.layers)
        self.ln_f = nn.LayerNorm(width)
        self.head = nn.Linear(width, size)
        self._dummy_variable = nn.Parameter()
        never = float("-inf")
        self.register_buffer("mask", torch.full((steps, steps), never).triu(1))
        rows, columns = torch.arange(steps)[:, None], torch.arange(seen)
        self.register_buffer("memory_mask", torch.zeros(steps, seen))
        self.memory_mask.masked_fill_(rows < columns - 1, never)

    def forward(self, sample: Tensor, timestep: Tensor, cond: Tensor) -> Tensor:
        tokens = torch.cat([self.time_emb(timestep)[:, None], self.cond_obs_emb(cond)], dim=1)
        memory = self.encoder(tokens + self.cond_pos_emb)
        x = self.input_emb(sample) + self.pos_emb
        x = self.decoder(x, memory, tgt_mask=self.mask, memory_mask=self.memory_mask)
        out: Tensor = self.head(self.ln_f(x))
        return out
