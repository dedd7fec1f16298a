"""A prior that is put to checks: whether it is one, what it is asked, and the networks in it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from scorefield.priors.denoiser import Denoiser
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import keyed_noise
from scorefield.priors.schedule import NoiseSchedule

BATCH = 3


def require_prior(prior: Any) -> None:
    """Raise ValueError unless it is a `Denoiser`, or conditions one, on a schedule of ours."""
    if isinstance(prior, str):
        raise ValueError(f"{prior!r} is a name; give the prior itself, load_prior({prior!r})")
    if not isinstance(prior, Denoiser) and not callable(getattr(prior, "condition", None)):
        raise ValueError(
            f"{type(prior).__name__} is no Denoiser, and has no condition(prompts) that makes one; "
            "derive it from scorefield.priors.Denoiser, with schedule and predict(z, level)"
        )
    schedule = getattr(prior, "schedule", None)
    if not isinstance(schedule, NoiseSchedule):
        raise ValueError(
            f"the schedule of {type(prior).__name__} must be a NoiseSchedule; got a "
            f"{type(schedule).__name__}: make DiscreteSchedule(scheduler.alphas_cumprod) of a "
            "diffusers scheduler, or FlowSchedule() for a rectified flow"
        )


class Broken(Exception):
    """One check fails."""


@dataclass(frozen=True)
class Subject:
    """A prior with what the checks ask it."""

    prior: Any
    prompts: tuple[str, ...]
    shape: tuple[int, ...]
    tolerance: float
    device: torch.device

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return str(getattr(self.prior, "name", type(self.prior).__name__))

    def denoiser(self, prompts: Any = None) -> Denoiser:
        """Under prompts, or by default under the first."""
        # a denoiser under a condition has an attribute of this name
        if isinstance(self.prior, Denoiser) and not callable(
            getattr(self.prior, "condition", None)
        ):
            return self.prior
        chosen = self.prompts[0] if prompts is None and self.prompts else prompts
        denoiser: Denoiser = self.prior.condition(chosen)
        return denoiser

    def noise(self, n: int = BATCH, key: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
        """Items of noise."""
        return keyed_noise(0, range(n), key, self.shape, dtype, self.device)

    def level(self, fraction: float | Sequence[float]) -> NoiseLevel:
        """Of the prior's schedule."""
        u = torch.as_tensor(fraction, device=self.device)
        level: NoiseLevel = self.prior.schedule.at_fraction(u)
        return level

    def close(self, actual: Tensor, expected: Tensor, what: str, times: int = 1) -> None:
        """Raise Broken unless two tensors are the same within the tolerance, so many times."""
        allowed = times * self.tolerance
        if actual.shape != expected.shape:
            raise Broken(f"{what}: shapes {tuple(actual.shape)} and {tuple(expected.shape)}")
        error = float((actual - expected).abs().max() / (1 + expected.abs().max()))
        # not a number fails, too
        if not error <= allowed:
            raise Broken(f"{what}: off by {error:.2g}, allowed are {allowed:.2g}")


def networks_in(holder: Any, depth: int = 4) -> Iterator[nn.Module]:
    """Networks among the attributes of an object, and of what this library or its author wraps."""
    if isinstance(holder, nn.Module):
        yield holder
        return
    for value in getattr(holder, "__dict__", {}).values():
        for one in _items(value):
            if isinstance(one, nn.Module) or (depth > 1 and _is_part(one, holder)):
                yield from networks_in(one, depth - 1)


def _items(value: Any) -> Sequence[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    return value if isinstance(value, list | tuple) else [value]


def _is_part(value: Any, holder: Any) -> bool:
    packages = ("scorefield", type(holder).__module__.partition(".")[0])
    known = type(value).__module__.partition(".")[0] in packages
    return value is not holder and (known or isinstance(value, Denoiser))
