"""Which views of an object are wrong from where: the negative prompts of Perp-Neg."""

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.cameras import Cameras

VIEWS = ("front view", "side view")


def view_negatives(cameras: Cameras) -> tuple[tuple[str, ...], Float[Tensor, "views batch"]]:
    """The views that are negative prompts, and their weights for each camera, as `PerpNeg` has it.

    With a the azimuth away from the front: the front view has 4 exp(-r / 2) - 2.426, r = 1 - a / 90
    in front of the side and 0 behind it, which is 0 at the front and 1.574 from the side on; the
    side view has exp(-r / 2) - 0.606, r = 2 - a / 90 behind the side and 1 before it, which is 0
    up to the side and 0.394 at the back. These are the decays of Armandpour et al. 2023 with the
    constants of threestudio, held where it jumps. From above nothing is wrong.
    """
    away = ((cameras.azimuth + 180) % 360 - 180).abs()
    front = 4 * torch.exp(-(1 - away / 90).clamp(min=0) / 2) - 2.426
    side = torch.exp(-(2 - away / 90).clamp(max=1) / 2) - 0.606
    above = torch.tensor([view == "overhead view" for view in cameras.views])
    weights = torch.stack([front, side]).clamp(min=0)
    return VIEWS, weights.masked_fill(above.to(weights.device), 0.0)
