"""A generator of your own, distilled: a small network that paints a picture from coordinates.

python examples/own_generator.py
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from scorefield.images import save_image
from scorefield.priors import load_prior
from scorefield.runs.folder import RunFolder
from scorefield.runs.loop import optimise
from scorefield.sds import DistillationSettings, ModuleDistillation


class Painter(nn.Module):
    """Colour as a function of the place: (1, 3, size, size) in [0, 1]."""

    def __init__(self, size: int) -> None:
        super().__init__()
        axis = torch.linspace(-1, 1, size)
        places = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1)
        waves = torch.cat([f(3.0**k * places) for k in range(3) for f in (torch.sin, torch.cos)], 2)
        self.register_buffer("waves", waves)  # (size, size, 12)
        self.network = nn.Sequential(nn.Linear(12, 64), nn.SiLU(), nn.Linear(64, 3), nn.Sigmoid())

    def forward(self, generator: torch.Generator) -> Tensor:
        """The picture; one with cameras would draw them from the generator."""
        colours: Tensor = self.network(self.waves)
        return colours.permute(2, 0, 1)[None]


def main(out: str = "runs/painter", steps: int = 200) -> None:
    """Paint a red mushroom; the same command goes on with a run that was stopped."""
    prior = load_prior("shapes")
    torch.manual_seed(0)
    settings = DistillationSettings("a red mushroom", steps=steps)
    task = ModuleDistillation(settings, prior, Painter(prior.image_size))
    folder = RunFolder.create(out, task.config(), resume=True)
    optimise(task, steps=steps, folder=folder, preview_every=50, checkpoint_every=50, resume=True)
    print("wrote", save_image(Path(out) / "final.png", task.images()[0].clamp(0, 1)))


if __name__ == "__main__":
    main()
