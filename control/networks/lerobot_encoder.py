"""What a diffusion policy of LeRobot sees, as the condition of its denoiser.

Like `encoders.ObservationEncoder`, with what LeRobot's `DiffusionRgbEncoder` has otherwise:
images are normalised by the mean and deviation of their data, resized, and cut to a size in
pixels; a linear layer and a ReLU follow the spatial softmax; cameras may share one network.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scorefield.control.data.normalizer import Normalizer
from scorefield.control.data.spaces import PolicySpaces
from scorefield.control.networks.encoders import ResNet, SpatialSoftmax, random_crop
from scorefield.control.networks.settings import LeRobotEncoderSettings
from scorefield.control.policies.sharded_generator import ShardedGenerator


class LeRobotEncoder(nn.Module):
    """To observations -> one condition: those of the first, then those of the second, and so on.

    Attributes:
        states: the normalizer of the states.
        images: those of the images' colours, one per camera.
        size: numbers in the condition.
    """

    def __init__(
        self, spaces: PolicySpaces, observations: int, settings: LeRobotEncoderSettings
    ) -> None:
        """Makes it with random weights.

        Args:
            spaces: what is seen.
            observations: To.
            settings: for images.

        Raises:
            ValueError: the crop is larger than the images.
        """
        super().__init__()
        self.spaces, self.settings = spaces, settings
        self.states = Normalizer.identity(spaces.state)
        # to [-1, 1], unless a policy that is read has others
        self.images = nn.ModuleList(
            Normalizer(torch.full((3,), 2.0), torch.full((3,), -1.0)) for _ in spaces.images
        )
        for name, size in spaces.images.items():
            there = settings.resize or size
            if settings.crop is not None and any(
                part > whole for part, whole in zip(settings.crop, there, strict=True)
            ):
                raise ValueError(f"the crop {settings.crop} is larger than {name}, {there}")
        networks = min(1, len(spaces.images)) if settings.shared else len(spaces.images)
        self.cameras = nn.ModuleList(_camera(settings) for _ in range(networks))
        self.size = observations * (spaces.state + 2 * settings.keypoints * len(spaces.images))

    def forward(
        self, observations: Mapping[str, Tensor], draws: ShardedGenerator | None = None
    ) -> Float[Tensor, "batch features"]:
        """The condition, as of `ObservationEncoder`."""
        seen = []
        if self.spaces.state:
            seen.append(self.states(observations["state"]))
        for number, name in enumerate(self.spaces.images):
            colours = self.images[number](observations[name].movedim(2, -1)).movedim(-1, 2)
            network = self.cameras[0 if self.settings.shared else number]
            features = network(self._prepared(colours, draws).flatten(0, 1))
            seen.append(features.unflatten(0, colours.shape[:2]))
        return torch.cat(seen, dim=2).flatten(1)

    def _prepared(
        self, images: Float[Tensor, "batch steps 3 height width"], draws: ShardedGenerator | None
    ) -> Float[Tensor, "batch steps 3 h w"]:
        """Resized and cut."""
        if self.settings.resize is not None:
            flat = nn.functional.interpolate(
                images.flatten(0, 1), self.settings.resize, mode="bilinear", antialias=True
            )
            images = flat.unflatten(0, images.shape[:2])
        if self.settings.crop is None:
            return images
        height, width = self.settings.crop
        if draws is not None:
            return random_crop(images, height, width, draws)
        # torchvision's middle, which rounds a half to the even side
        top = round((images.shape[3] - height) / 2)
        left = round((images.shape[4] - width) / 2)
        return images[..., top : top + height, left : left + width]


def _camera(settings: LeRobotEncoderSettings) -> nn.Module:
    """Normalised images -> 2 K numbers."""
    network = ResNet(64, settings.blocks, frozen=settings.norm == "frozen")
    numbers = 2 * settings.keypoints
    return nn.Sequential(
        network,
        SpatialSoftmax(network.channels, settings.keypoints),
        nn.Linear(numbers, numbers),
        nn.ReLU(),
    )
