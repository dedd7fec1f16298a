"""An egg of known shape and colours, as a field."""

import torch

from scorefield.sds.nerf.fields import Field


class Egg(Field):
    """An egg of half axes 0.7 (x), 0.3, 0.5 (z), its colour a smooth function of the direction."""

    def forward(self, points):
        radius = (points / points.new_tensor([0.7, 0.3, 0.5])).norm(dim=-1)
        colour = 0.5 + 0.5 * torch.sin(points / radius[:, None].clamp_min(1e-6))
        return 500 * ((1 - radius) / 0.1).clamp(0, 1), colour
