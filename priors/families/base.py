"""What all families share: the card and the adapter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Card:
    """What a pipeline does not know of itself, or knows as a default that can be changed.

    name: of the prior.
    guidance_scale: the scale samples look best at; None is the family's usual one.
    vocabulary: the words a prompt may hold; None is all.
    synonyms: further words a prompt may hold, each with that of the vocabulary it stands for.
    labels: names of the classes of a class-conditional model, in their order.
    image_size: side of the square images, pixels; None is the size the network was trained on.
    frames: of a video; None is the family's usual number.
    """

    name: str = "pipeline"
    guidance_scale: float | int | None = None
    vocabulary: Sequence[str] | None = None
    synonyms: Mapping[str, str] | None = None
    labels: Sequence[str] | None = None
    image_size: int | None = None
    frames: int | None = None

    def scale_or(self, usual: float | int) -> float | int:
        """The guidance scale, by default the usual one."""
        return usual if self.guidance_scale is None else self.guidance_scale

    def side_or(self, usual: int, factor: int) -> int:
        """The side of the latents, by default the usual one.

        Raises:
            ValueError: the image size is no multiple of the codec's factor.
        """
        if self.image_size is None:
            return usual
        if self.image_size < 1 or self.image_size % factor:
            raise ValueError(
                f"image_size must be a positive multiple of {factor} pixels for {self.name}; "
                f"got {self.image_size}"
            )
        return self.image_size // factor

    def latent_frames_or(self, usual: int, frame_factor: int = 1) -> int:
        """The number of latent frames, by default that of the usual number of frames.

        Raises:
            ValueError: the frames do not divide into latent frames.
        """
        frames = usual if self.frames is None else self.frames
        if frames < 1 or (frames - 1) % frame_factor:
            raise ValueError(
                f"frames must be 1 + {frame_factor} n for {self.name}; got {frames}"
                if frame_factor > 1
                else f"frames must be at least 1; got {frames}"
            )
        return 1 + (frames - 1) // frame_factor


class Adapter(nn.Module):
    """A diffusers model, called as a `FrozenPrior` calls its network.

    forward(z, timestep, **condition) takes and returns tensors in the layout of the denoiser:
    (batch, channels, height, width), for videos (batch, frames, channels, height, width).
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    @property
    def dtype(self) -> torch.dtype:
        """What the model computes in."""
        dtype: torch.dtype = self.model.dtype
        return dtype

    def arguments(self, **condition: Any) -> dict[str, Any]:
        """The condition as the model takes it."""
        return condition

    def forward(self, z: Tensor, timestep: Tensor, **condition: Any) -> Tensor:
        """The model's value, without the variances that some learn as further channels."""
        value: Tensor = self.model(z, timestep=timestep, **self.arguments(**condition)).sample
        return value[:, : z.shape[1]]
