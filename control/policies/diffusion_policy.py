"""Diffusion Policy: a denoiser of action chunks, conditioned on what is observed.

p(A | O) of Chi et al. 2023 (arXiv 2303.04137): observations are encoded once, the chunk is denoised
from noise, and its first actions from the present on are executed. Under a condition the policy is
a `Denoiser` like any other of this library: it can be guided, composed and sampled as they are.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from scorefield.control.data.normalizer import Normalizer
from scorefield.control.data.spaces import Horizons, PolicySpaces
from scorefield.control.data.spacing import spacing
from scorefield.control.data.windows import Windows
from scorefield.control.networks.encoders import ObservationEncoder
from scorefield.control.networks.fourier import bandwidth_for
from scorefield.control.networks.lerobot_encoder import LeRobotEncoder
from scorefield.control.networks.perceptron import Perceptron
from scorefield.control.networks.settings import (
    FREQUENCIES,
    EncoderSettings,
    LeRobotEncoderSettings,
    PerceptronSettings,
    Predicts,
    Sampler,
    TransformerSettings,
    UNet1DSettings,
)
from scorefield.control.networks.transformer import Transformer
from scorefield.control.networks.unet1d import UNet1D
from scorefield.control.policies.denoising import ChunkDenoiser, draw_chunk
from scorefield.control.policies.policy import ChunkRequest, NetworkPolicy
from scorefield.control.policies.sharded_generator import ShardedGenerator
from scorefield.control.policies.solver import (
    Schedule,
    SolverStep,
    check_sampler,
    solver_steps,
)
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import noise_generator
from scorefield.priors.schedule import DiscreteSchedule, FlowSchedule

NetworkSettings = PerceptronSettings | UNet1DSettings | TransformerSettings
"""Of the network that denoises; their class says which."""

NETWORKS: dict[str, tuple[type[Any], type[Any]]] = {
    "perceptron": (PerceptronSettings, Perceptron),
    "unet": (UNet1DSettings, UNet1D),
    "transformer": (TransformerSettings, Transformer),
}
"""Settings and class of every network, by its name in files."""

_MOST_WEIGHT = 20.0  # of a level, with truncated weights


@dataclass(frozen=True)
class DiffusionSettings:
    """How chunks are noised, normalised and sampled.

    predicts: what the network outputs: x0, v or eps, which is the paper's, on the squared cosine
        schedule, or velocity, which makes it a rectified flow (Liu et al. 2022).
    levels: timesteps of the schedule.
    normalizer: limits, by the range of the data to [-1, 1], within which chunks are then kept at
        every step of sampling; or gaussian, by mean and standard deviation, and nothing is kept,
        which eps cannot do without: at the noisiest level an error of eps is multiplied by 20,000.
    weighting: of the levels in the loss. uniform: the squared error of what the network outputs
        counts alike at all of them (Chi et al. 2023). truncated: that of x0 counts
        1 + min(SNR, 20), which is the loss of v up to that ratio (Salimans and Ho 2022, section 4;
        Hang et al. 2023): modes that lie close together are told apart at low noise alone. None:
        truncated for x0, and uniform for the others.
    steps: of sampling; fewer than the levels.
    order: of the solver: 1 is DDIM, for a flow Euler's method; 2 is DPM-Solver++.
    sampler: consistent, or the reference's or DDPM's (ancestral), which policies that are read
        from diffusion_policy and LeRobot have, or renoised, for students of few steps
        (`solver_steps`).
    """

    predicts: Predicts = "x0"
    levels: int = 100
    normalizer: Literal["minmax", "gaussian"] = "minmax"
    weighting: Literal["uniform", "truncated"] | None = None
    steps: int = 10
    order: Literal[1, 2] = 1
    sampler: Sampler = "consistent"

    def __post_init__(self) -> None:
        if self.predicts not in get_args(Predicts):
            raise ValueError(f"predicts must be one of {get_args(Predicts)}, got {self.predicts!r}")
        if self.normalizer not in ("minmax", "gaussian"):
            raise ValueError(f"normalizer must be limits or gaussian, got {self.normalizer!r}")
        if self.weighting is None:
            usual = "truncated" if self.predicts == "x0" else "uniform"
            object.__setattr__(self, "weighting", usual)
        if self.weighting not in ("uniform", "truncated"):
            raise ValueError(f"weighting must be uniform or truncated, got {self.weighting!r}")
        if self.weighting == "truncated" and self.predicts != "x0":
            raise ValueError(
                f"truncated weights are those of x0, and the network predicts {self.predicts}; "
                "predict x0, or weight uniformly"
            )
        if self.predicts == "eps" and self.normalizer == "gaussian":
            raise ValueError(
                "at the noisiest level eps says next to nothing of the chunk, and only limits keep "
                "what is made of it finite; predict x0, v or velocity with normalizer gaussian"
            )
        if self.levels < 2 or not 1 <= self.steps <= self.levels:
            raise ValueError(
                f"levels must be 2 or more and steps from 1 to levels; got {self.levels} levels, "
                f"{self.steps} steps"
            )
        if self.order not in (1, 2):
            raise ValueError(f"order must be 1 or 2, got {self.order}")
        if self.sampler not in get_args(Sampler):
            raise ValueError(f"sampler must be one of {get_args(Sampler)}, got {self.sampler!r}")
        check_sampler(self.sampler, self.order, self.predicts == "velocity")

    def schedule(self) -> Schedule:
        """The levels of noise."""
        if self.predicts == "velocity":
            return FlowSchedule(self.levels)
        return DiscreteSchedule.cosine(self.levels)


class DiffusionPolicy(NetworkPolicy):
    """A `Policy` that samples chunks.

    Attributes:
        spaces: what it sees and does.
        horizons: how far it looks and plans.
        diffusion: how it noises, normalises and samples; may be replaced by settings with other
            `steps` and `order`.
        schedule: of the noise.
        encoder: of the observations.
        network: of the chunks, normalised.
        actions: their normalizer.
    """

    def __init__(
        self,
        spaces: PolicySpaces,
        horizons: Horizons,
        network: NetworkSettings | None = None,
        diffusion: DiffusionSettings | None = None,
        encoder: EncoderSettings | LeRobotEncoderSettings | None = None,
        *,
        seed: int = 0,
    ) -> None:
        """Makes it with random weights.

        Args:
            spaces: of the environment.
            horizons: how far it looks and plans.
            network: what denoises; None: a perceptron.
            diffusion: how it noises, normalises and samples.
            encoder: of the images, if there are any.
            seed: of the weights.

        Raises:
            ValueError: the network does not fit the horizons or the schedule.
        """
        super().__init__()
        self.spaces, self.horizons = spaces, horizons
        self.diffusion = diffusion or DiffusionSettings()
        self.network_settings = network or PerceptronSettings()
        if self.network_settings.frequencies is None:
            found = 0 if spaces.images else FREQUENCIES
            self.network_settings = replace(self.network_settings, frequencies=found)
        told = getattr(self.network_settings, "timesteps", self.diffusion.levels)
        if told != self.diffusion.levels:
            raise ValueError(
                f"the network is told {told} timesteps and the schedule has "
                f"{self.diffusion.levels} levels; give both the same number"
            )
        self.schedule = self.diffusion.schedule()
        with torch.random.fork_rng(devices=[]):
            # weights are drawn on the CPU; manual_seed would seed the GPUs' generators as well
            torch.default_generator.manual_seed(noise_generator(seed, 0).initial_seed())
            self.encoder: ObservationEncoder | LeRobotEncoder
            if isinstance(encoder, LeRobotEncoderSettings):
                self.encoder = LeRobotEncoder(spaces, horizons.n_obs_steps, encoder)
            else:
                self.encoder = ObservationEncoder(spaces, horizons.n_obs_steps, encoder)
            self.network = _kind_of(self.network_settings)[1](
                horizons.horizon,
                spaces.action,
                spaces.action,
                self.encoder.size,
                self.network_settings,
            )
        self.actions = Normalizer.identity(spaces.action)
        self._compiled: Callable[..., Tensor] | None = None

    def fit(self, windows: Windows) -> None:
        """Takes the normalizers of states and actions from a data set.

        A U-Net's states begin at 1: mish, through which it takes its condition, is close to a line
        from there on, and flattens what is negative.

        A network without a bandwidth gets the one that the demonstrations are dense enough for;
        from then on it is among its settings.
        """
        normalizer = Normalizer.of if self.diffusion.normalizer == "minmax" else Normalizer.gaussian
        device, settings = self.actions.scale.device, self.network_settings
        self.actions = normalizer(windows.episodes.action).to(device)
        if self.spaces.state:
            states = normalizer(windows.episodes.state)
            if isinstance(settings, UNet1DSettings):
                states = states.raised(windows.episodes.state, 1)
            self.encoder.states = states.to(device)
        if settings.frequencies and settings.bandwidth is None:
            seen = self.encoder.states if self.spaces.state else None
            fourier = self.network.fourier
            found = bandwidth_for(spacing(windows, seen), len(fourier.rates), self.network.reach)
            fourier.rescale(found)
            self.network_settings = replace(settings, bandwidth=found)

    def compile(self, **options: Any) -> None:
        """Compiles the network's step for fixed shapes; the first chunk of a size then takes long.

        By default `torch.compile(dynamic=False, mode="reduce-overhead")`, which records CUDA graphs
        on a GPU.

        Args:
            **options: of `torch.compile`, which overrule those.
        """
        defaults: dict[str, Any] = {"dynamic": False, "mode": "reduce-overhead"}
        self._compiled = torch.compile(self.network.denoise, **(defaults | options))

    def loss(self, batch: Mapping[str, Tensor], draws: ShardedGenerator) -> Tensor:
        """Weighted squared error of what the network predicts, over levels and noise."""
        actions = self.actions(batch["action"])
        n = len(actions)
        if isinstance(self.schedule, FlowSchedule):
            level = self.schedule.at_fraction(draws.uniform([n]))
        else:
            level = self.schedule.at_timestep(draws.integers(self.schedule.num_timesteps, n))
        eps = draws.normal(actions.shape).to(actions)
        time = (self.schedule.timestep(level) / self.schedule.num_timesteps).to(actions)
        condition = self.encoder(batch, draws)
        level = level.to(actions.device)
        out = self.network(level.add_noise(actions, eps), time, condition)
        error = (out - self._target(actions, eps, level)).square()
        if self.diffusion.weighting == "truncated":
            snr = (level.alpha / level.sigma) ** 2
            error = error * (1 + snr.clamp(max=_MOST_WEIGHT)).to(error)[:, None, None]
        return error.mean()

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """(Tp, A); for samplers that add noise on the way, (steps, Tp, A)."""
        chunk = (self.horizons.horizon, self.spaces.action)
        adds = self.diffusion.sampler in ("ancestral", "renoised")
        return (self.diffusion.steps, *chunk) if adds else chunk

    @property
    def bound(self) -> float | None:
        """What normalised chunks are kept within: 1 with the normalizer limits, None without."""
        return 1.0 if self.diffusion.normalizer == "minmax" else None

    def denoiser(self, observations: Mapping[str, Tensor]) -> ChunkDenoiser:
        """The denoiser of normalised chunks, given observations; they are encoded here, once.

        With the normalizer "minmax" the clean chunk that it predicts lies in [-1, 1].
        """
        seen = {name: tensor.to(self.actions.scale.device) for name, tensor in observations.items()}
        return ChunkDenoiser(
            self.network,
            self.network.prepare(self.encoder(seen)),
            self.schedule,
            self.diffusion.predicts,
            self.bound,
            self._compiled,
        )

    def normalised_chunk(self, request: ChunkRequest, noise: Tensor) -> Tensor:
        """What is denoised from the noise, going on from the previous chunk if it should."""
        return draw_chunk(
            self.denoiser(request.observations),
            self.table,
            noise,
            self.horizons,
            request.previous,
            request.follow,
        )

    def table(self, begin: float = 1.0) -> list[SolverStep]:
        """The steps of sampling from a fraction of the schedule."""
        return _table_of(self.diffusion, begin)

    def settings(self) -> dict[str, Any]:
        """Network, diffusion and encoder."""
        return {
            "network": {
                "kind": _kind_of(self.network_settings)[0],
                **asdict(self.network_settings),
            },
            "diffusion": asdict(self.diffusion),
            "encoder": _encoder_as_json(self.encoder),
        }

    def _target(self, actions: Tensor, eps: Tensor, level: NoiseLevel) -> Tensor:
        alpha, sigma = level.like(actions)
        match self.diffusion.predicts:
            case "eps":
                return eps
            case "x0":
                return actions
            case "v":
                return alpha * eps - sigma * actions
            case "velocity":
                return eps - actions


def _kind_of(settings: NetworkSettings) -> tuple[str, type[Any]]:
    """The name of a network in files, and its class."""
    return next((n, made) for n, (kind, made) in NETWORKS.items() if kind is type(settings))


def _encoder_as_json(encoder: ObservationEncoder | LeRobotEncoder) -> dict[str, Any]:
    kind = {"kind": "lerobot"} if isinstance(encoder, LeRobotEncoder) else {}
    return {**kind, **asdict(encoder.settings)}


@lru_cache(maxsize=32)
def _table_of(settings: DiffusionSettings, begin: float) -> list[SolverStep]:
    return solver_steps(
        settings.schedule(),
        settings.predicts,
        settings.steps,
        settings.order,
        begin,
        settings.sampler,
    )
