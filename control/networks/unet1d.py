"""The one-dimensional U-Net of Diffusion Policy, called as `Perceptron` is.

Convolutions over the steps of a chunk; the time and the condition enter every residual block by
FiLM, a scale and a bias per channel (Perez et al. 2018; Chi et al. 2023, arXiv 2303.04137, and its
code, `ConditionalUnet1D`). The scales and biases of all blocks are one linear map of time and
condition, and that map is a sum,

    W [mish(time), mish(condition)] + b = W_t mish(time) + (W_c mish(condition) + b),

so what belongs to the condition is computed once per chunk (`prepare`) and not at every step.
"""

import itertools
import math
from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scorefield.control.networks.fourier import Fourier
from scorefield.control.networks.network import ChunkNetwork
from scorefield.control.networks.settings import UNet1DSettings


class UNet1D(ChunkNetwork):
    """(chunk, time, condition) -> chunk.

    Args:
        steps: Tp, a multiple of 2^(levels - 1).
        size_in: numbers per step that go in.
        size_out: numbers per step that come out.
        condition: numbers in the condition.
        settings: its size.

    Raises:
        ValueError: the steps cannot be halved as often as the levels ask.
    """

    def __init__(
        self, steps: int, size_in: int, size_out: int, condition: int, settings: UNet1DSettings
    ) -> None:
        super().__init__()
        widths = settings.widths
        multiple = 2 ** (len(widths) - 1)
        if steps < 1 or steps % multiple:
            raise ValueError(
                f"a U-Net of {len(widths)} levels takes chunks of a multiple of {multiple} steps, "
                f"got {steps}; predict another number of steps, or give it fewer widths"
            )
        self.settings = settings
        features = settings.time_features
        self.time = nn.Sequential(
            nn.Linear(features, 4 * features), nn.Mish(), nn.Linear(4 * features, features)
        )

        def pair(before: int, after: int) -> _Pair:
            kernel, groups = settings.kernel, settings.groups
            return _Pair(_Block(size, after, kernel, groups) for size in (before, after))

        self.down = nn.ModuleList(
            pair(before, after) for before, after in itertools.pairwise((size_in, *widths))
        )
        self.shrink = nn.ModuleList(_Convolution(w, w, 3, stride=2, padding=1) for w in widths[:-1])
        self.middle = pair(widths[-1], widths[-1])
        # Each level upwards sees the one below and what left the same level on the way down.
        upwards = list(itertools.pairwise(reversed(widths)))
        self.up = nn.ModuleList(pair(2 * below, above) for below, above in upwards)
        self.grow = nn.ModuleList(
            nn.ConvTranspose1d(w, w, 4, stride=2, padding=1) for _, w in upwards
        )
        self.leave = nn.Sequential(
            _Convolution(widths[0], widths[0], settings.kernel, padding=settings.kernel // 2),
            nn.GroupNorm(8, widths[0]),
            nn.Mish(),
            _Convolution(widths[0], size_out, 1),
        )
        self._films = [2 * block.width for block in self._blocks()]
        self.fourier = None
        seen = condition
        if settings.frequencies:
            self.fourier = Fourier(condition, settings.frequencies, settings.bandwidth)
            seen += self.fourier.size
        self.film_time = nn.Linear(features, sum(self._films), bias=False)
        self.film_condition = nn.Linear(seen, sum(self._films))
        # As if both were one linear map of features + seen numbers.
        bound = 1 / math.sqrt(features + seen)
        for weights in (self.film_time.weight, *self.film_condition.parameters()):
            nn.init.uniform_(weights, -bound, bound)

    def prepare(
        self, condition: Float[Tensor, "batch features"]
    ) -> Float[Tensor, "batch prepared"]:
        """What the condition adds to the scales and biases of all blocks."""
        seen = nn.functional.mish(condition)
        if self.fourier is not None:
            seen = torch.cat([seen, self.fourier(condition)], dim=1)
        film: Tensor = self.film_condition(seen)
        return film

    def denoise(
        self,
        chunk: Float[Tensor, "batch steps size"],
        time: Float[Tensor, " batch"],
        prepared: Float[Tensor, "batch prepared"],
    ) -> Float[Tensor, "batch steps out"]:
        """The same as the call, with the condition as `prepare` gives it."""
        embedded = self.time(sinusoids(time * self.settings.timesteps, self.settings.time_features))
        film = prepared + self.film_time(nn.functional.mish(embedded))
        films = iter(film[:, :, None].split(self._films, dim=1))
        x, kept = chunk.transpose(1, 2), []
        for level, pair in enumerate(self.down):
            x = pair(x, films)
            if level:
                kept.append(x)  # the reference keeps the first level's too, and never uses it
            if level < len(self.shrink):
                x = self.shrink[level](x)
        x = self.middle(x, films)
        for pair, grow in zip(self.up, self.grow, strict=True):
            x = grow(pair(torch.cat([x, kept.pop()], dim=1), films))
        return self.leave(x).transpose(1, 2)

    def load_reference(self, state: Mapping[str, Tensor], prefix: str = "") -> None:
        """Takes the weights of a `ConditionalUnet1D` of diffusion_policy, of the same sizes.

        Its names, on the left, become ours:

        =============================================  =========================================
        diffusion_step_encoder.1, .3                   time.0, .2
        down_modules.i.0, .1                           down.i.0, .1
        down_modules.i.2.conv                          shrink.i
        mid_modules.0, .1                              middle.0, .1
        up_modules.i.0, .1                             up.i.0, .1
        up_modules.i.2.conv                            grow.i
        final_conv.0.block.0, .1 and final_conv.1      leave.0, .1 and leave.3
        in a block: blocks.j.block.0, .1               convolutions.j, norms.j
        in a block: residual_conv                      skip
        cond_encoder.1 of all blocks, one after        film_time (columns of the time),
        another: down, middle, up                      film_condition (the other columns, bias)
        =============================================  =========================================

        Args:
            state: its state dict; made with `cond_predict_scale=True` and without local conditions.
            prefix: of its names in the state dict, such as "model." in a policy's.

        Raises:
            ValueError: a weight is missing, left over, or of another shape.
        """
        given = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
        renamed, theirs = self._reference_names()
        try:
            films = [given.pop(f"{name}.cond_encoder.1.weight") for name in theirs]
            biases = [given.pop(f"{name}.cond_encoder.1.bias") for name in theirs]
            film = torch.cat(films)
            mine = {
                "film_time.weight": film[:, : self.settings.time_features],
                "film_condition.weight": film[:, self.settings.time_features :],
                "film_condition.bias": torch.cat(biases),
            }
            for key in self.state_dict():
                if key not in mine:
                    owner, _, kind = key.rpartition(".")
                    mine[key] = given.pop(f"{renamed[owner]}.{kind}")
            if given:
                raise ValueError(f"left over: {', '.join(sorted(given)[:4])}")
            self.load_state_dict(mine)
        except (KeyError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"these are no weights of a ConditionalUnet1D of widths {self.settings.widths}, "
                f"{self.settings.time_features} time features and a condition of "
                f"{self.film_condition.in_features} numbers ({type(error).__name__}: {error})"
            ) from error

    def as_reference(self) -> dict[str, Tensor]:
        """The weights by the reference's names; `load_reference` is the inverse."""
        renamed, theirs = self._reference_names()
        film = torch.cat([self.film_time.weight, self.film_condition.weight], dim=1)
        films, biases = film.split(self._films), self.film_condition.bias.split(self._films)
        found = {f"{n}.cond_encoder.1.weight": t for n, t in zip(theirs, films, strict=True)}
        found |= {f"{n}.cond_encoder.1.bias": t for n, t in zip(theirs, biases, strict=True)}
        for key, tensor in self.state_dict().items():
            owner, _, kind = key.rpartition(".")
            if not owner.startswith("film_"):
                found[f"{renamed[owner]}.{kind}"] = tensor
        return {name: tensor.detach().clone().contiguous() for name, tensor in found.items()}

    def _reference_names(self) -> tuple[dict[str, str], list[str]]:
        """Theirs by ours, but for the films; and theirs of the blocks, in the films' order."""
        renamed = {"time.0": "diffusion_step_encoder.1", "time.2": "diffusion_step_encoder.3"}
        renamed |= {"leave.0": "final_conv.0.block.0", "leave.1": "final_conv.0.block.1"}
        renamed["leave.3"] = "final_conv.1"
        blocks = [f"down.{i}.{j}" for i in range(len(self.down)) for j in range(2)]
        blocks += ["middle.0", "middle.1"]
        blocks += [f"up.{i}.{j}" for i in range(len(self.up)) for j in range(2)]
        sides = {"down": "down_modules", "middle": "mid_modules", "up": "up_modules"}
        theirs = {name: sides[name.split(".")[0]] + name[name.index(".") :] for name in blocks}
        for ours, name in theirs.items():
            for j in range(2):
                renamed[f"{ours}.convolutions.{j}"] = f"{name}.blocks.{j}.block.0"
                renamed[f"{ours}.norms.{j}"] = f"{name}.blocks.{j}.block.1"
            renamed[f"{ours}.skip"] = f"{name}.residual_conv"
        for i in range(len(self.shrink)):
            renamed[f"shrink.{i}"] = f"down_modules.{i}.2.conv"
            renamed[f"grow.{i}"] = f"up_modules.{i}.2.conv"
        return renamed, list(theirs.values())

    def _blocks(self) -> list["_Block"]:
        """All residual blocks, in the order they are used."""
        return [block for block in self.modules() if isinstance(block, _Block)]


class _Pair(nn.ModuleList):
    """Two residual blocks, one after the other."""

    def forward(self, x: Tensor, films: Iterator[Tensor]) -> Tensor:
        """Takes the next two films."""
        for block in self:
            x = block(x, next(films))
        return x


class _Block(nn.Module):
    """Two convolutions with a scale and a bias between them, and a way past both."""

    def __init__(self, before: int, after: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.width = after
        self.convolutions = nn.ModuleList(
            _Convolution(size, after, kernel, padding=kernel // 2) for size in (before, after)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(groups, after) for _ in range(2))
        self.skip = _Convolution(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Tensor, film: Tensor) -> Tensor:
        """For x (B, before, T) and a film (B, 2 after, 1): scales, then biases."""
        scale, bias = film.chunk(2, dim=1)
        h = nn.functional.mish(self.norms[0](self.convolutions[0](x)))
        h = nn.functional.mish(self.norms[1](self.convolutions[1](scale * h + bias)))
        return h + self.skip(x)


class _Convolution(nn.Conv1d):
    """A convolution that acts as one matrix product, on a CPU and without gradients.

    There torch multiplies matrices (after, kernel before) and (kernel before, steps), for which MKL
    takes several times as long as for their transposes, where the steps are few.
    """

    def forward(self, x: Tensor) -> Tensor:
        """For x (B, before, T)."""
        # With gradients, and so in training and where a network is traced for export, the usual
        # one is as fast.
        if torch.is_grad_enabled() or x.device.type != "cpu":
            return super().forward(x)
        (kernel,), (stride,), around = self.kernel_size, self.stride, int(self.padding[0])
        padded = nn.functional.pad(x, (around, around))
        rows = padded.unfold(2, kernel, stride).transpose(1, 2).flatten(2)
        return nn.functional.linear(rows, self.weight.flatten(1), self.bias).transpose(1, 2)


def sinusoids(timestep: Float[Tensor, " batch"], features: int) -> Float[Tensor, "batch features"]:
    """Sines, then cosines, of features / 2 frequencies from 1 to 1/10,000 (Vaswani et al. 2017)."""
    half = features // 2
    rates = torch.exp(torch.arange(half, device=timestep.device) * (-math.log(10_000) / (half - 1)))
    angles = timestep[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)
