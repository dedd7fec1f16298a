"""A generator of your own, distilled: a small network that paints an image from coordinates.

python examples/own_generator.py
"""

import torch
from torch import Tensor, nn

from scorefield.priors import load_prior
from scorefield.runs import run
from scorefield.sds import SDS, DistillationSettings, ModuleDistillation, Objective


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
        """The image; one with cameras would draw them from the generator."""
        colours: Tensor = self.network(self.waves)
        return colours.permute(2, 0, 1)[None]


def main(out: str = "runs/painter", steps: int = 200, objective: Objective | None = None) -> None:
    """Paint a red mushroom; the same command goes on with a run that was stopped.

    With `VSD()` a score of the painter's own images is trained beside it, and kept with the run.
    """
    prior = load_prior("shapes")
    torch.manual_seed(0)
    # The levels fall over the run: first the large shapes, then the details.
    settings = DistillationSettings(
        "a red mushroom, front view", steps=steps, objective=objective or SDS()
    )
    task = ModuleDistillation(prior, settings, Painter(prior.image_size))
    written = run(task, out, resume=True, preview_every=50, checkpoint_every=50)
    print("wrote", written["final"])


if __name__ == "__main__":
    main()
