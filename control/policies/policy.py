"""What acts: what rollouts know of a policy, and what all policies that are networks share."""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor, nn

from scorefield.arrays import tensor_of
from scorefield.control.data.normalizer import Normalizer, bounded
from scorefield.control.data.spaces import Horizons, PolicySpaces
from scorefield.control.data.tasks import task_numbers
from scorefield.control.data.windows import Windows
from scorefield.control.policies.denoising import Continuation
from scorefield.control.policies.lerobot_observations import of_lerobot
from scorefield.control.policies.sharded_generator import ShardedGenerator
from scorefield.files import whole_file, write_json
from scorefield.integrity import write_seal
from scorefield.priors.noise import keyed_noise

_ROUNDING = 0.01  # by which images may leave [0, 1]

CONFIG, WEIGHTS = "policy.json", "policy.safetensors"
"""The files of a policy's folder."""


@dataclass(frozen=True, eq=False)
class ChunkRequest:
    """What a policy is asked: one chunk per row of observations.

    observations: "state" (B, To, D) in the environment's units, and per camera (B, To, 3, H, W) in
        [0, 1].
    seed: of the policy's noise.
    items: what each row is; its noise depends on (seed, item, draw) alone.
    draw: counts the chunks of an episode.
    previous: (B, Tp, A), the chunks of Ta steps ago; None: there are none.
    follow: how to go on from them; None: do not.
    """

    observations: Mapping[str, Tensor]
    seed: int
    items: Sequence[int]
    draw: int = 0
    previous: Float[Tensor, "batch steps size"] | None = None
    follow: Continuation | None = None

    def __post_init__(self) -> None:
        rows = {name: len(tensor) for name, tensor in self.observations.items()}
        if any(number != len(self.items) for number in rows.values()):
            raise ValueError(
                f"items must say what each row of the observations is; got {len(self.items)} items "
                f"for rows {rows}"
            )


@runtime_checkable
class Policy(Protocol):
    """Plans chunks of actions from what was observed.

    spaces: of the environments it acts in.
    horizons: how many observations it takes, and actions it plans.
    """

    spaces: PolicySpaces
    horizons: Horizons

    def chunk(self, request: ChunkRequest) -> Float[Tensor, "batch steps size"]:
        """The whole plan of Tp actions, in the environment's units and within its bounds."""
        ...


class NetworkPolicy(nn.Module, ABC):
    """A `Policy` that is a network, as a pure function of observations and noise.

    Attributes:
        spaces: what it sees and does.
        horizons: how far it looks and plans; may be replaced by others that execute fewer actions.
        actions: their normalizer.
    """

    spaces: PolicySpaces
    horizons: Horizons
    actions: Normalizer

    @abstractmethod
    def fit(self, windows: Windows) -> None:
        """Takes the normalizers of states and actions from a data set."""

    @abstractmethod
    def loss(self, batch: Mapping[str, Tensor], draws: ShardedGenerator) -> Tensor:
        """What training descends on windows; all that is random comes from the draws."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What it is made of, as JSON values, beside its spaces and horizons."""

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Writes policy.json and policy.safetensors, all that acting needs, and their checksums.

        Of a frozen prior that it sees with, the name or path alone is written.
        """
        folder = Path(folder)
        config = {
            "spaces": self.spaces.as_json(),
            "horizons": asdict(self.horizons),
            **self.settings(),
        }
        write_json(folder / CONFIG, config)
        state = {name: tensor.contiguous().cpu() for name, tensor in self.state_dict().items()}
        with whole_file(folder / WEIGHTS) as part:
            save_file(state, part)
        write_seal(folder)
        return folder

    @property
    @abstractmethod
    def noise_shape(self) -> tuple[int, ...]:
        """Of the standard normal numbers that a chunk is drawn from."""

    @abstractmethod
    def normalised_chunk(
        self, request: ChunkRequest, noise: Tensor
    ) -> Float[Tensor, "batch steps size"]:
        """`chunk` from its noise, in normalised units.

        Args:
            request: its observations are on the policy's device, the previous chunks normalised.
            noise: (B, *noise_shape).
        """

    @torch.no_grad()
    def chunk(self, request: ChunkRequest) -> Float[Tensor, "batch steps size"]:
        """Whole chunks (`Policy.chunk`).

        Raises:
            ValueError: the previous chunk has another shape, or does not reach past the delay; the
                policy cannot go on from one; the actions are not finite.
        """
        device = self.actions.scale.device
        seen = {name: tensor.to(device) for name, tensor in request.observations.items()}
        previous = request.previous
        before = None if previous is None else self.actions(previous.to(device))
        noise = keyed_noise(
            request.seed, request.items, request.draw, self.noise_shape, device=device
        )
        here = replace(request, observations=seen, previous=before)
        return bounded(self.actions.inverse(self.normalised_chunk(here, noise)), self.spaces)

    def act(
        self,
        observations: Mapping[str, Any],
        *,
        task: str | None = None,
        seed: int = 0,
        draw: int = 0,
    ) -> Float[Tensor, "*batch actions size"]:
        """The Ta actions to execute now, for observations alone: those of `chunk`, row i item i.

        Args:
            observations: as of `ChunkRequest`, the present one last; tensors or arrays of any
                float, with or without the batch axis. What the policy does not look at is ignored.
                LeRobot's names are understood (`lerobot_observations.of_lerobot`).
            task: the text of what is to be done, for a policy that was trained with task texts;
                also understood as the observation "task".
            seed: of the policy's noise.
            draw: counts the chunks of an episode.

        Returns:
            (B, Ta, A), or (Ta, A) for observations without a batch axis.

        Raises:
            ValueError: something the policy sees is missing, of another shape, not of floats or not
                finite, or no demonstration had this task; the nearest are named.
        """
        wanted = _wanted(self.spaces, self.horizons)
        check_named(observations, wanted)
        named = _told(of_lerobot(observations, self.spaces), task, self.spaces)
        seen = {
            name: _seen(name, named, shape).to(self.actions.scale.dtype)
            for name, shape in wanted.items()
        }
        axes = {name: tensor.ndim for name, tensor in seen.items()}
        alone = [axes[name] == (2 if name == "state" else 4) for name in seen]
        if any(alone) != all(alone):
            raise ValueError(f"some observations have a batch axis and some none: axes {axes}")
        if all(alone):
            seen = {name: tensor[None] for name, tensor in seen.items()}
        request = ChunkRequest(seen, seed, range(max(map(len, seen.values()))), draw)
        actions = self.chunk(request)[:, self.horizons.executed]
        return actions[0] if all(alone) else actions


def _told(
    observations: Mapping[str, Any], task: str | None, spaces: PolicySpaces
) -> Mapping[str, Any]:
    """The observations, with states that end in the task."""
    if not spaces.tasks:
        if task is not None:
            raise ValueError(
                f"the policy was trained without task texts and cannot be told {task!r}; train "
                "with --task-text"
            )
        return observations
    text = observations.get("task") if task is None else task
    state = observations.get("state")
    if isinstance(text, (list, tuple)) and len(set(text)) == 1:
        text = text[0]  # of a batch
    if text is None:
        size = None if state is None else state.shape[-1]
        if size == spaces.state - len(spaces.tasks):
            raise ValueError(
                f"the policy acts by a task text, act(..., task=...), one of {list(spaces.tasks)}"
            )
        return observations
    if not isinstance(text, str):
        raise ValueError(f"task must be one text, got {text!r}")
    numbers = task_numbers(text, spaces.tasks)
    if state is None:
        return observations
    state = tensor_of(state, "'state'")
    ends = numbers.to(state).expand(*state.shape[:-1], len(numbers))
    return {**observations, "state": torch.cat([state, ends], dim=-1)}


def _wanted(spaces: PolicySpaces, horizons: Horizons) -> dict[str, tuple[int, ...]]:
    """Shapes of what a policy sees, without the batch axis."""
    state = {"state": (horizons.n_obs_steps, spaces.state)} if spaces.state else {}
    images = {
        name: (horizons.n_obs_steps, 3, *size) for name, size in sorted(spaces.images.items())
    }
    return {**state, **images}


def check_named(observations: object, wanted: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse an array or a tensor where observations are given by name.

    Raises:
        ValueError: what is given is no mapping; what it must hold is named.
    """
    if not isinstance(observations, Mapping):
        shapes = ", ".join(f"{name!r}: an array of shape {shape}" for name, shape in wanted.items())
        raise ValueError(
            f"observations are given by name, {{{shapes}}}; got {type(observations).__name__}"
        )


def _seen(name: str, observations: Mapping[str, Any], shape: tuple[int, ...]) -> Tensor:
    """One of the observations, as a tensor of its shape."""
    if name not in observations:
        raise ValueError(
            f"the policy sees {name!r} of shape {shape}, and the observations hold "
            f"{sorted(observations)}"
        )
    tensor = tensor_of(observations[name], repr(name))
    if tuple(tensor.shape[-len(shape) :]) != shape or tensor.ndim - len(shape) not in (0, 1):
        raise ValueError(
            f"{name!r} has shape {tuple(tensor.shape)}; the policy wants {shape}, or "
            f"(B, {', '.join(map(str, shape))}) for B of them: its last {shape[0]} observations, "
            "the present one last"
        )
    if not tensor.is_floating_point() and name != "state":
        raise ValueError(
            f"{name!r} is {tensor.dtype}; images are floats in [0, 1]: "
            "scorefield.images.as_images makes them from (T, H, W, 3) uint8"
        )
    if not bool(tensor.isfinite().all()):
        raise ValueError(
            f"{name!r} is not finite: the observations hold NaN or infinity; look at what they "
            "are read from"
        )
    if name != "state":
        low, high = torch.stack(tensor.aminmax()).tolist()  # one wait for a GPU
        if low < -_ROUNDING or high > 1 + _ROUNDING:
            raise ValueError(
                f"{name!r} has values from {low:g} to {high:g}; images are floats in [0, 1]: "
                "divide by 255, or let scorefield.images.as_images make them"
            )
    return tensor
