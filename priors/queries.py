"""What schedules are asked: numbers and tensors, computed in float64 and answered as they came."""

import torch
from torch import Tensor

from scorefield.priors.levels import NoiseLevel

Real = float | int | Tensor


def on_host(value: Real) -> Tensor:
    """A number as schedules compute: in float64, which not every device has; rounded once after."""
    return torch.as_tensor(value, dtype=torch.float64, device="cpu").detach()


def level_as_asked(alpha: Tensor, sigma: Tensor, query: Real) -> NoiseLevel:
    """The level on the device and in the dtype of what was asked, as every ``at_*`` returns it."""
    dtype, device = torch.get_default_dtype(), torch.device("cpu")
    if isinstance(query, Tensor):
        device = query.device
        if query.is_floating_point():
            dtype = torch.promote_types(query.dtype, torch.float32)
    return NoiseLevel(alpha.to(dtype).to(device), sigma.to(dtype).to(device))


def within(name: str, value: Tensor, low: float, high: float, slack: float = 0.0) -> Tensor:
    """The value, moved into a range if it is outside by no more than the slack.

    Raises:
        ValueError: it is further outside.
    """
    check_range(name, value, low, high, slack)
    return value.clamp(low, high)


def check_range(name: str, value: Tensor, low: float, high: float, slack: float = 0.0) -> None:
    """Refuse values outside a range by more than the slack, and NaNs.

    Raises:
        ValueError: the first such value is named.
    """
    inside = (value >= low - slack) & (value <= high + slack)  # False of a NaN
    if not bool(inside.all()):
        outside = ~inside
        raise ValueError(
            f"{name} must lie in [{low:.6g}, {high:.6g}] of this schedule, "
            f"got {float(value[outside].reshape(-1)[0]):.6g}"
        )
