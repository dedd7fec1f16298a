"""Wrap a network of your own as a frozen prior, and hold it against the laws priors must keep."""

import torch
from torch import Tensor, nn

from scorefield.priors import DiscreteSchedule, FrozenPrior, PixelCodec
from scorefield.priors.checks.conformance import ConformanceError, check_prior
from scorefield.priors.text import PromptConditioner


class Brightness(PromptConditioner):
    """The prompts "dark" and "bright", and none."""

    def encode_one(self, prompt: str) -> dict[str, Tensor]:
        return {"mean": torch.tensor([{"dark": -0.5, "": 0.0, "bright": 0.5}[prompt]])}

    def modules(self) -> list[nn.Module]:
        return []


class Plain(nn.Module):
    """The best prediction of eps for plain grey images whose brightness has a spread of 0.2."""

    def __init__(self, schedule: DiscreteSchedule) -> None:
        super().__init__()
        self.schedule = schedule
        self.spread = nn.Parameter(torch.tensor(0.2))

    def forward(self, z: Tensor, timestep: Tensor, mean: Tensor) -> Tensor:
        alpha, sigma = self.schedule.at_timestep(timestep).like(z)
        mean = mean.reshape(-1, 1, 1, 1)
        return sigma * (z - alpha * mean) / (alpha**2 * self.spread**2 + sigma**2)


class Forgetful(Plain):
    """The same with a common mistake: one timestep for the whole batch."""

    def forward(self, z: Tensor, timestep: Tensor, mean: Tensor) -> Tensor:
        return super().forward(z, timestep[:1], mean)


def main() -> None:
    schedule = DiscreteSchedule.cosine()
    for network in (Plain(schedule), Forgetful(schedule)):
        name = type(network).__name__
        prior = FrozenPrior(
            name,
            network,
            Brightness(),
            PixelCodec(),
            schedule,
            "epsilon",
            shape=(3, 8, 8),
            guidance_scale=1.0,
        )
        try:
            print(f"{name} passes: {', '.join(check_prior(prior, ('dark', 'bright')))}")
        except ConformanceError as error:
            print(error)
        dark, bright = prior.generate(["dark", "bright"], steps=10)
        print(f"mean pixels of {name}: dark {dark.mean():.2f}, bright {bright.mean():.2f}")


if __name__ == "__main__":
    main()
