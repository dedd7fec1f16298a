"""Noise levels; `schedule` has what names them.

A noise level is the pair (alpha, sigma) of ``z = alpha x + sigma eps``.  Everything in this library
speaks of levels; native timesteps of a model appear only where a schedule translates them.  Two
levels of different schedules hold the same information about ``x`` exactly when their log-SNR is
equal (Kingma et al. 2021, "Variational diffusion models", section 3), so that is how they are
matched.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.devices import to_device


@dataclass(frozen=True, eq=False)
class NoiseLevel:
    """The level of ``z = alpha x + sigma eps``, one for a whole batch or one per item.

    Attributes:
        alpha: signal amplitude, >= 0, shape () or (batch,).
        sigma: noise amplitude, >= 0, same shape; never zero together with ``alpha``.
    """

    alpha: Float[Tensor, "*batch"]
    sigma: Float[Tensor, "*batch"]

    def __post_init__(self) -> None:
        if self.alpha.shape != self.sigma.shape or self.alpha.ndim > 1:
            raise ValueError(
                f"alpha and sigma must both have shape () or (batch,), "
                f"got {tuple(self.alpha.shape)} and {tuple(self.sigma.shape)}"
            )

    @property
    def log_snr(self) -> Float[Tensor, "*batch"]:
        """log(alpha^2 / sigma^2): +inf where the level is clean, -inf where it holds no signal."""
        return 2 * (self.alpha.log() - self.sigma.log())

    @property
    def flow_sigma(self) -> Float[Tensor, "*batch"]:
        """The sigma of the rectified flow of equal log-SNR: sigma / (alpha + sigma), in [0, 1]."""
        return self.sigma / (self.alpha + self.sigma)

    def expand(self, batch: int) -> "NoiseLevel":
        """The same level with one entry per item, shape (batch,).

        Raises:
            ValueError: if the level already has a different number of entries.
        """
        if self.alpha.numel() not in (1, batch):
            raise ValueError(
                f"a level of {self.alpha.numel()} entries does not fit a batch of {batch}; "
                f"give one entry or {batch}"
            )
        return NoiseLevel(
            self.alpha.reshape(-1).expand(batch), self.sigma.reshape(-1).expand(batch)
        )

    def like(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, sigma) ready to multiply ``z``.

        They have its device, its dtype but at least float32, and as many dimensions, shape
        (batch or 1, 1, ..., 1).
        """
        dtype = torch.promote_types(z.dtype, torch.float32)
        # dtype first: some devices have no float64 to be moved to
        both = to_device(torch.stack((self.alpha, self.sigma)).to(dtype), z.device)
        alpha, sigma = both.reshape(2, -1, *[1] * (z.ndim - 1)).unbind()
        return alpha, sigma

    def add_noise(
        self, x: Float[Tensor, "batch *shape"], eps: Float[Tensor, "batch *shape"]
    ) -> Float[Tensor, "batch *shape"]:
        """``z = alpha x + sigma eps``."""
        alpha, sigma = self.like(x)
        return alpha * x + sigma * eps

    def to(self, device: torch.device | str) -> "NoiseLevel":
        """The same level on another device."""
        return NoiseLevel(self.alpha.to(device), self.sigma.to(device))

    def __len__(self) -> int:
        return self.alpha.numel()

    def __getitem__(self, index: Any) -> "NoiseLevel":
        """The entries of a (batch,) level that ``index`` selects, as a tensor's would be."""
        return NoiseLevel(self.alpha[index], self.sigma[index])
