"""phi: the score field of what a generator makes now, learned while the generator moves."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scorefield.devices import to_device
from scorefield.priors.denoiser import Denoiser
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import noise_generator, noise_like
from scorefield.priors.prediction import Prediction
from scorefield.priors.prior import ImagePrior, Prompts, ToldCameras
from scorefield.priors.schedule import NoiseSchedule

LOW, HIGH = 0.02, 0.98
"""The fractions of the schedule between which phi is trained, uniformly."""


class ParticleScore:
    """A denoiser that is trained, and its optimiser.

    condition: the denoiser under prompts, and (cameras=...) cameras where the prior is told them;
        differentiable in `parameters` where gradients are on.
    parameters: by name, in float32; all that is trained and saved.
    dtype: of the network. In float16 the loss is scaled, for the gradient of a mean over a latent
        is below what float16 holds, and an update that overflows is left out.
    """

    def __init__(
        self,
        condition: Callable[..., Denoiser],
        parameters: dict[str, nn.Parameter],
        learning_rate: float,
        updates: int,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.condition = condition
        self.parameters = parameters
        self.updates = updates
        self.optimizer = torch.optim.Adam(parameters.values(), lr=learning_rate)
        device, half = next(iter(parameters.values())).device.type, dtype == torch.float16
        self._scaler = torch.amp.GradScaler(device, init_scale=2.0**14, enabled=half)

    def denoiser(self, prompts: Prompts | None, cameras: ToldCameras | None = None) -> Denoiser:
        """The denoiser under prompts, and cameras if there are any."""
        return self.condition(prompts, **({} if cameras is None else {"cameras": cameras}))

    def learn(
        self,
        latents: Float[Tensor, "batch *shape"],
        prompts: Prompts | None,
        generator: torch.Generator,
        cameras: ToldCameras | None = None,
    ) -> Float[Tensor, ""]:
        """Updates by the denoising loss mean |eps_phi(alpha x + sigma eps) - eps|^2; returns it.

        latents: what the generator made under the prompts; no gradient flows to them.
        cameras: that saw it, for a prior that is told them.
        """
        denoiser = self.denoiser(prompts, cameras)
        x = latents.detach()
        loss = x.new_zeros(())
        for _ in range(self.updates):
            fraction = LOW + (HIGH - LOW) * torch.rand(len(x), generator=generator)
            eps = noise_like(x, generator)
            level = denoiser.schedule.at_fraction(fraction)
            with torch.enable_grad():
                predicted = denoiser(level.add_noise(x, eps), level).eps
                loss = (predicted - eps).square().mean()
                self.optimizer.zero_grad(set_to_none=True)
                self._scaler.scale(loss).backward()
            self._scaler.step(self.optimizer)
            self._scaler.update()
        return loss.detach()

    def state(self) -> dict[str, Any]:
        """Parameters, optimiser and, in float16, the scale of the loss."""
        parameters = {name: value.detach().clone() for name, value in self.parameters.items()}
        state = {"parameters": parameters, "optimizer": self.optimizer.state_dict()}
        return (
            {**state, "scaler": self._scaler.state_dict()} if self._scaler.is_enabled() else state
        )

    def load_state(self, state: dict[str, Any]) -> None:
        """Inverse of `state`."""
        with torch.no_grad():
            for name, value in self.parameters.items():
                value.copy_(state["parameters"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        if self._scaler.is_enabled():
            self._scaler.load_state_dict(state["scaler"])


@dataclass(frozen=True)
class LowRank:
    """phi as a low-rank update (LoRA) of the prior's own network, through the library peft.

    It starts as the unguided prior, shares the prior's weights in memory, and knows prompts as the
    prior does. ProlificDreamer's learning rate is 1e-4.

    rank: of the updates.
    targets: names the adapted linear layers end in: those of diffusers' attention.
    updates: of phi for every update of the generator.
    """

    rank: int = 4
    learning_rate: float = 1e-4
    updates: int = 1
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")

    def __post_init__(self) -> None:
        _check(self.learning_rate, rank=self.rank, updates=self.updates)

    def build(self, prior: ImagePrior, seed: int = 0) -> ParticleScore:
        """A new phi of a prior.

        Raises:
            ValueError: peft is not installed, or the prior has no such layers to adapt.
        """
        if not isinstance(prior, FrozenPrior):
            raise ValueError(
                f"{prior.name} is no network that a LoRA could adapt; take SmallNetwork as phi"
            )
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ImportError as error:
            raise ValueError(
                "LowRank needs peft: pip install 'scorefield[lora]', or take SmallNetwork as phi"
            ) from error
        # A copy of the modules around the same weights: they are frozen.
        weights = list(prior.network.parameters())
        network = copy.deepcopy(prior.network, {id(weight): weight for weight in weights})
        config = LoraConfig(r=self.rank, lora_alpha=self.rank, target_modules=list(self.targets))
        adapted = inject_adapter_in_model(config, network)
        adapted.requires_grad_(False).eval()
        parameters = {n: p for n, p in adapted.named_parameters() if "lora_" in n}
        generator = noise_generator(seed, 0x9E1)
        for name, value in parameters.items():
            value.data = value.data.float()
            if "lora_A" in name:  # B starts at 0, and phi as the prior
                start = torch.randn(value.shape, generator=generator) / self.rank
                value.data.copy_(start)
            value.requires_grad_(True)
        learner = prior.with_network_gradient()
        learner.network = adapted
        return ParticleScore(
            learner.condition, parameters, self.learning_rate, self.updates, prior.dtype
        )


@dataclass(frozen=True)
class SmallNetwork:
    """phi as a small network of its own, for priors that are no networks: it ignores prompts.

    Of latents (channels, height, width) four convolutions that see 17 cells, of flat points (n,)
    three linear layers; both predict v and are told the level.

    width: of the hidden layers.
    updates: of phi for every update of the generator.
    """

    width: int = 64
    learning_rate: float = 1e-3
    updates: int = 1

    def __post_init__(self) -> None:
        _check(self.learning_rate, width=self.width, updates=self.updates)

    def build(self, prior: ImagePrior, seed: int = 0) -> ParticleScore:
        """A new phi for the latents of a prior."""
        phi = self.build_for(prior.schedule, prior.latent_shape, seed)
        for value in phi.parameters.values():
            value.data = value.data.to(prior.device)
        return phi

    def build_for(
        self, schedule: NoiseSchedule, shape: Sequence[int], seed: int = 0
    ) -> ParticleScore:
        """A new phi for latents of a shape, (n,) or (channels, height, width)."""
        if len(shape) not in (1, 3):
            raise ValueError(f"SmallNetwork takes shapes (n,) or (c, h, w); got {tuple(shape)}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = _Small(shape[0], self.width, flat=len(shape) == 1)
        denoiser = _NetworkField(network, schedule)
        named = dict(network.named_parameters())
        return ParticleScore(
            lambda prompts, cameras=None: denoiser, named, self.learning_rate, self.updates
        )


@dataclass(eq=False)
class _NetworkField(Denoiser):
    network: nn.Module
    schedule: NoiseSchedule = field()

    def predict(self, z: Float[Tensor, "batch *shape"], level: NoiseLevel) -> Prediction:
        return Prediction.from_v(
            z, level, self.network(z, to_device(level.log_snr.to(z.dtype), z.device))
        )


class _Small(nn.Module):
    """v from z and the log-SNR, which enters as sines beside the channels."""

    octaves: Tensor

    def __init__(self, channels: int, width: int, flat: bool) -> None:
        super().__init__()

        def layer(i: int, o: int, dilation: int) -> nn.Module:
            if flat:
                return nn.Linear(i, o)
            return nn.Conv2d(i, o, 3, padding=dilation, dilation=dilation)

        self.frequencies = 6
        self.register_buffer("octaves", torch.arange(6.0), persistent=False)
        self.layers = nn.ModuleList(
            [
                layer(channels + 2 * self.frequencies, width, 1),
                layer(width, width, 2),
                layer(width, width, 4),
                layer(width, channels, 1),
            ]
        )
        for last in self.layers[-1].parameters():
            nn.init.zeros_(last)

    def forward(self, z: Tensor, log_snr: Tensor) -> Tensor:
        phase = log_snr[:, None] * math.pi * 2.0**self.octaves / 64
        told = torch.cat([phase.sin(), phase.cos()], dim=1)
        told = told.reshape(*told.shape, *[1] * (z.ndim - 2)).expand(-1, -1, *z.shape[2:])
        h = torch.cat([z, told], dim=1)
        for layer in self.layers[:-1]:
            h = nn.functional.silu(layer(h))
        out: Tensor = self.layers[-1](h)
        return out


def _check(learning_rate: float, **counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1; got {count}")
    if not learning_rate > 0:
        raise ValueError(f"learning_rate must be positive; got {learning_rate}")
