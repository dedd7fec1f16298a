"""A small denoiser of short clips: a (2+1)D convolutional U-Net that trains on a processor."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.utils import BaseOutput
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

_GROUPS = 8
_PATCH = 2


@dataclass
class ClipUNetOutput(BaseOutput):
    """What `ClipUNet` returns.

    sample: the network's value, of the shape of its input.
    """

    sample: Tensor


class ClipUNet(ModelMixin, ConfigMixin):
    """Spatial 3x3 and temporal 3-tap convolutions on two grids, attention on the coarser one.

    2x2 pixels become one place with their colours side by side, the grids are a half and a quarter
    of the image, and attention on the quarter sees all places of all frames at once. Noise level
    and text scale and shift every block's features (FiLM, Perez et al. 2018), each frame's in a
    way of its own. Called as diffusers' UNet3DConditionModel.

    sample_size: side of the square frames, pixels; a multiple of 4, 8 or more.
    num_frames: frames of a clip, 2 or more.
    width: features of the finer grid, a multiple of 8; the coarser one has twice as many.
    cross_attention_dim: width of the text's tokens.

    Raises:
        ValueError: a size that the grids or the groups of features do not divide.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        sample_size: int = 16,
        num_frames: int = 8,
        width: int = 48,
        cross_attention_dim: int = 64,
        num_attention_heads: int = 4,
    ) -> None:
        super().__init__()
        if sample_size < 8 or sample_size % 4:
            raise ValueError(f"sample_size must be a multiple of 4 from 8 on; got {sample_size}")
        if num_frames < 2:
            raise ValueError(f"num_frames must be 2 or more; got {num_frames}")
        if width < _GROUPS or width % _GROUPS or 2 * width % num_attention_heads:
            raise ValueError(
                f"width must be a multiple of {_GROUPS}, and twice it one of the "
                f"{num_attention_heads} attention heads; got {width}"
            )
        wide, embedding = 2 * width, 4 * width
        self.time = nn.Sequential(
            nn.Linear(width, embedding),
            nn.SiLU(),
            nn.Linear(embedding, embedding),
            nn.LayerNorm(embedding),
        )
        self.text = _TextPool(cross_attention_dim, embedding)
        self.frame = nn.Parameter(_waves(embedding, num_frames).T)
        self.mix = nn.Linear(embedding, embedding)
        nn.init.xavier_normal_(self.mix.weight)
        self.conv_in = nn.Conv2d(in_channels * _PATCH**2, width, 3, padding=1)
        side = sample_size // 2
        self.place = nn.Parameter(_waves(width, side, side))
        self.place_film = _film(width, embedding)
        self.fine = nn.ModuleList([_Block(width, width, embedding) for _ in range(2)])
        self.down = nn.Conv2d(width, wide, 3, stride=2, padding=1)
        self.coarse = nn.ModuleList([_Block(wide, wide, embedding) for _ in range(2)])
        places = (num_frames, sample_size // 4, sample_size // 4)
        self.attention = nn.ModuleList(
            [_Attention(wide, embedding, num_attention_heads, places) for _ in range(2)]
        )
        self.up = nn.Conv2d(wide, 4 * width, 1)
        self.merge = nn.ModuleList(
            [_Block(2 * width, width, embedding), _Block(width, width, embedding)]
        )
        self.norm_out = nn.GroupNorm(_GROUPS, width)
        self.conv_out = nn.Conv2d(width, out_channels * _PATCH**2, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)

    def forward(
        self,
        sample: Float[Tensor, "b c frames h w"],
        timestep: Float[Tensor, "..."] | Int[Tensor, "..."] | float | int,
        encoder_hidden_states: Float[Tensor, "b tokens width"],
        return_dict: bool = True,
    ) -> ClipUNetOutput | tuple[Tensor]:
        """The value at clips, timesteps (one, or one per clip) and the tokens of their texts.

        Raises:
            ValueError: clips of another size than the network's.
        """
        batch, channels, frames, height, width = sample.shape
        side, config = self.config.sample_size, self.config
        if (channels, frames, height, width) != (config.in_channels, config.num_frames, side, side):
            expected = (config.in_channels, config.num_frames, side, side)
            raise ValueError(
                f"clips must have shape {expected} (channels, frames, height, width); "
                f"got {tuple(sample.shape[1:])}"
            )
        weight = self.conv_in.weight
        times = torch.as_tensor(timestep, device=sample.device).reshape(-1).expand(batch)
        waves = get_timestep_embedding(times, self.config.width, flip_sin_to_cos=True)
        # What a text says of motion means something else in every frame: earlier or later places.
        text = self.text(encoder_hidden_states)[:, None] * (1 + self.frame)
        embedding = self.mix(functional.silu(self.time(waves.to(weight.dtype))[:, None] + text))
        embedding = functional.silu(embedding.flatten(0, 1))

        # Images of all clips in one batch, channels last: then (clip, frame, place, feature) is
        # the order in memory, and both kinds of convolution are of two dimensions on views of it.
        x = sample.transpose(1, 2).reshape(batch * frames, channels, height, width)
        x = functional.pixel_unshuffle(x.to(weight.dtype), _PATCH)
        place = _scaled(self.place[None], self.place_film, embedding)
        x = self.conv_in(x.contiguous(memory_format=torch.channels_last)) + place
        skips = [x]
        for block in self.fine:
            x = block(x, embedding, frames)
        skips.append(x)
        x = self.down(x)
        for block, attention in zip(self.coarse, self.attention, strict=True):
            x = attention(block(x, embedding, frames), embedding, frames)
        x = functional.pixel_shuffle(self.up(x), 2)
        x = torch.cat([x, skips.pop()], 1).contiguous(memory_format=torch.channels_last)
        for block in self.merge:
            x = block(x, embedding, frames)
        x = self.conv_out(functional.silu(_normed(x + skips.pop(), self.norm_out, frames)))
        x = functional.pixel_shuffle(x, _PATCH)
        value = x.view(batch, frames, -1, height, width).transpose(1, 2)
        return ClipUNetOutput(sample=value) if return_dict else (value,)


def _waves(features: int, *lengths: int) -> Tensor:
    """Where to begin learning positions: random mixtures of slow waves, (features, *lengths).

    Neighbours begin alike and ends differ, along each axis and between axes, which white noise
    would have to learn first. Mean square 1.
    """
    total = torch.zeros(features, *lengths)
    for axis, length in enumerate(lengths):
        order = torch.arange(1, min(4, length))[:, None]
        waves = torch.cos(torch.pi * order * (torch.arange(length) + 0.5) / length) / order
        shape = [1] * axis + [length] + [1] * (len(lengths) - axis - 1)
        total = total + (torch.randn(features, len(waves)) @ waves).view(features, *shape)
    return total / total.square().mean().sqrt()


class _TextPool(nn.Module):
    """Tokens (B, L, D) to one vector (B, width): linear in their sum.

    No norm follows. Adam moves what all captions have in common fastest, and a norm would then
    shrink what tells them apart until the network cannot find it any more.
    """

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(width_in, width)

    def forward(self, tokens: Tensor) -> Tensor:
        pooled: Tensor = self.project(tokens.to(self.project.weight.dtype).sum(1))
        return pooled


def _film(features: int, embedding: int) -> nn.Linear:
    """What an embedding says of features: their scales and their shifts, none to begin with.

    At random they would be noise, and the network's first lesson to turn a deaf ear.
    """
    layer = nn.Linear(embedding, 2 * features)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _scaled(x: Tensor, film: nn.Linear, embedding: Tensor) -> Tensor:
    """Features of images, scaled and shifted by the images' embeddings (B F, width)."""
    scale, shift = film(embedding)[..., None, None].chunk(2, 1)
    return x * (1 + scale) + shift


def _normed(x: Tensor, norm: nn.GroupNorm, frames: int) -> Tensor:
    """Images with their groups of features normalised over all frames of a clip."""
    images, features, height, width = x.shape
    rows = x.permute(0, 2, 3, 1).reshape(images // frames, -1, width, features)
    y = norm(rows.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return y.reshape(images, height, width, features).permute(0, 3, 1, 2)


class _Block(nn.Module):
    """A residual block: convolution in space, FiLM, convolution in time, convolution in space."""

    def __init__(self, width_in: int, width: int, embedding: int) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(_GROUPS, width_in)
        self.conv_in = nn.Conv2d(width_in, width, 3, padding=1)
        self.norm = nn.GroupNorm(_GROUPS, width)
        self.film = _film(width, embedding)
        self.temporal = nn.Conv2d(width, width, (3, 1), padding=(1, 0))
        self.conv_out = nn.Conv2d(width, width, 3, padding=1)
        self.skip = nn.Identity() if width_in == width else nn.Conv2d(width_in, width, 1)
        nn.init.zeros_(self.conv_out.weight)

    def forward(self, x: Tensor, embedding: Tensor, frames: int) -> Tensor:
        h = self.conv_in(functional.silu(_normed(x, self.norm_in, frames)))
        h = functional.silu(_scaled(_normed(h, self.norm, frames), self.film, embedding))
        h = h + self._in_time(h, len(x) // frames)
        out: Tensor = self.skip(x) + self.conv_out(h)
        return out

    def _in_time(self, x: Tensor, batch: int) -> Tensor:
        """The temporal convolution, of images seen as (clip, feature, frame, place)."""
        images, features, height, width = x.shape
        rows = x.permute(0, 2, 3, 1).reshape(batch, images // batch, height * width, features)
        y = self.temporal(rows.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return y.reshape(images, height, width, features).permute(0, 3, 1, 2)


class _Attention(nn.Module):
    """Every place of every frame attends to all of them."""

    def __init__(self, width: int, embedding: int, heads: int, places: Sequence[int]) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(_GROUPS, width)
        self.film = _film(width, embedding)
        self.place = nn.Parameter(_waves(width, *places))
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor, embedding: Tensor, frames: int) -> Tensor:
        images, features, height, width = x.shape
        batch = images // frames
        where = self.place.transpose(0, 1)
        # Added before the text's scales: which places belong together depends on the motion.
        placed = _normed(x, self.norm, frames) + where.repeat(batch, 1, 1, 1)
        normed = _scaled(placed, self.film, embedding)
        tokens = normed.permute(0, 2, 3, 1).reshape(batch, -1, features)
        heads = self.project(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(*heads.unbind(0))
        seen = self.out(seen.transpose(1, 2).flatten(2))
        return x + seen.view(images, height, width, features).permute(0, 3, 1, 2)
