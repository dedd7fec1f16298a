"""What a policy sees, as the condition of its denoiser: states, images, or both.

Images go through a ResNet trained with the policy, or through the frozen network of a prior of
this library, and a spatial softmax says where its features are (Chi et al. 2023, section 3.2).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scorefield.control.data.normalizer import Normalizer
from scorefield.control.data.spaces import PolicySpaces
from scorefield.control.networks.settings import EncoderSettings
from scorefield.control.policies.sharded_generator import ShardedGenerator
from scorefield.priors.features.extraction import extract_features
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.loading import load_prior


class ObservationEncoder(nn.Module):
    """To observations -> one condition: those of the first, then those of the second, and so on.

    Attributes:
        states: the normalizer of the states.
        size: numbers in the condition.
    """

    def __init__(
        self, spaces: PolicySpaces, observations: int, settings: EncoderSettings | None = None
    ) -> None:
        """Makes it with random weights.

        Args:
            spaces: what is seen; each camera has a network of its own.
            observations: To.
            settings: for images.
        """
        super().__init__()
        self.spaces, self.settings = spaces, settings or EncoderSettings()
        self.states = Normalizer.identity(spaces.state)
        prior = self.settings.prior
        shared = None if prior is None or not spaces.images else load_prior(prior)
        # by number: the names of modules are not as free as those of cameras
        self.cameras = nn.ModuleList(_camera(self.settings, shared) for _ in spaces.images)
        features = 2 * self.settings.keypoints * len(self.cameras)
        self.size = observations * (spaces.state + features)

    def forward(
        self, observations: Mapping[str, Tensor], draws: ShardedGenerator | None = None
    ) -> Float[Tensor, "batch features"]:
        """The condition.

        Args:
            observations: "state" (B, To, D) in the environment's units, and per camera
                (B, To, 3, H, W) in [0, 1]; or in place of these what `maps` says of them, by the
                name `map_of` (B, To, C, h, w).
            draws: of the random crops, in training; None crops the middle.
        """
        seen = []
        if self.spaces.state:
            seen.append(self.states(observations["state"]))
        for name, network in zip(self.spaces.images, self.cameras, strict=True):
            maps = observations.get(map_of(name))
            if maps is None:
                images = cropped(observations[name], self.settings.crop, draws)
                features = network(2 * images.flatten(0, 1) - 1)
                seen.append(features.unflatten(0, images.shape[:2]))
            else:
                assert isinstance(network, nn.Sequential)
                seen.append(network[1](maps.flatten(0, 1)).unflatten(0, maps.shape[:2]))
        return torch.cat(seen, dim=2).flatten(1)

    @property
    def frozen(self) -> bool:
        """Whether an image has the same map at every update: by a prior, and not cropped."""
        return bool(self.cameras) and self.settings.prior is not None and self.settings.crop == 1

    def maps(
        self, name: str, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch channels h w"]:
        """What the network of a camera says of images in [0, 1], before the spatial softmax."""
        camera = self.cameras[list(self.spaces.images).index(name)]
        assert isinstance(camera, nn.Sequential)
        found: Tensor = camera[0](2 * images - 1)
        return found


def map_of(camera: str) -> str:
    """The name, among observations, of a camera's maps."""
    return f"map of {camera}"


def cropped(
    images: Float[Tensor, "batch steps 3 height width"],
    part: float,
    draws: ShardedGenerator | None = None,
) -> Float[Tensor, "batch steps 3 h w"]:
    """A part of each image's height and width.

    The images of one row are cut alike, so that what moves between them is what moved.

    Args:
        images: To per row.
        part: what is kept of both sides.
        draws: choose where; None: the middle.
    """
    height, width = (max(1, round(part * int(side))) for side in images.shape[3:])
    if draws is None:
        top, left = (int(images.shape[3]) - height) // 2, (int(images.shape[4]) - width) // 2
        return images[..., top : top + height, left : left + width]
    return random_crop(images, height, width, draws)


def random_crop(
    images: Float[Tensor, "batch steps 3 H W"], height: int, width: int, draws: ShardedGenerator
) -> Float[Tensor, "batch steps 3 height width"]:
    """A part of that size of each image, anywhere; those of one row are cut alike."""
    most = torch.tensor(images.shape[3:]) - torch.tensor([height, width])
    corners = (draws.uniform([len(images), 2]) * (most + 1)).long().tolist()
    rows = zip(images, corners, strict=True)
    return torch.stack([p[..., t : t + height, x : x + width] for p, (t, x) in rows])


class SpatialSoftmax(nn.Module):
    """Where features are: the mean place of each of K softmaxes over the map (Levine et al. 2016).

    Places lie in [-1, 1], x before y.
    """

    def __init__(self, channels: int, keypoints: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, keypoints, 1)

    def forward(
        self, features: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch numbers"]:
        """(B, 2 K)."""
        heat = self.project(features)
        ys, xs = (torch.linspace(-1, 1, int(side), device=heat.device) for side in heat.shape[2:])
        heat = heat.flatten(2).softmax(dim=2).unflatten(2, heat.shape[2:])
        return torch.cat([heat.sum(dim=2) @ xs, heat.sum(dim=3) @ ys], dim=1)


class ResNet(nn.Module):
    """ResNet18 up to its last map, with group norm: an average of weights ruins batch norm.

    (He et al. 2016; Wu and He 2018; Chi et al. 2023, section 3.2). Channels width (1, 2, 4, 8).

    Args:
        width: channels of the first stage.
        depths: blocks of the four stages.
        frozen: norms that are a scale and an offset, those of a batch norm after its training.
    """

    def __init__(
        self, width: int = 64, depths: Sequence[int] = (2, 2, 2, 2), *, frozen: bool = False
    ) -> None:
        super().__init__()
        widths = [width * 2**stage for stage in range(4)]
        self.channels = widths[-1]
        norm = FrozenNorm if frozen else _group_norm
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False),
            norm(width),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        blocks, before = [], width
        for stage, (after, depth) in enumerate(zip(widths, depths, strict=True)):
            strides = [1 if stage == 0 else 2] + [1] * (depth - 1)
            sizes = [before] + [after] * (depth - 1)
            blocks += [
                _Residual(size, after, stride, norm)
                for size, stride in zip(sizes, strides, strict=True)
            ]
            before = after
        self.blocks = nn.Sequential(*blocks)

    def forward(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch channels h w"]:
        """The map of images in [-1, 1], a 32nd of their size."""
        out: Tensor = self.blocks(self.stem(images))
        return out


class FrozenNorm(nn.Module):
    """A batch norm after its training: a scale and an offset per channel, which stay."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(channels))
        self.register_buffer("offset", torch.zeros(channels))
        self.scale: Tensor
        self.offset: Tensor

    def forward(self, x: Float[Tensor, "batch channels h w"]) -> Tensor:
        """Scaled and shifted."""
        return x * self.scale[:, None, None] + self.offset[:, None, None]


def _group_norm(channels: int) -> nn.Module:
    return nn.GroupNorm(channels // 16, channels)


class _Residual(nn.Module):
    def __init__(
        self, before: int, after: int, stride: int, norm: Callable[[int], nn.Module]
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, padding=1, bias=False),
            norm(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            norm(after),
        )
        self.skip: nn.Module = nn.Identity()
        if before != after or stride != 1:
            self.skip = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), norm(after))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.skip(x))


class FrozenFeatures(nn.Module):
    """The map that a layer of a frozen prior makes of images; nothing of it is trained or saved.

    Args:
        prior: the prior, shared by cameras and by copies of the policy.
        layer: of its network.
        fraction: of its schedule, the level of noise. The noise is drawn by the image's content,
            another for any other image: the policy learns to look through it, and did worse where
            all images had the same or none.
    """

    def __init__(self, prior: FrozenPrior, layer: str, fraction: float) -> None:
        super().__init__()
        self._prior = _Shared(prior)
        self._layer, self._level = layer, prior.schedule.at_fraction(fraction)
        size = prior.image_size
        blank = torch.zeros(1, 3, size, size)
        self.channels = int(self(blank).shape[1])

    @torch.no_grad()
    def forward(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch channels h w"]:
        """The map of images in [-1, 1], which are resized to what the prior was trained on."""
        # the prior is no part of the policy, which moves without it
        prior = self._prior.prior
        if prior.device != images.device:
            prior.to(images.device)
        size = (prior.image_size, prior.image_size)
        resized = nn.functional.interpolate((images + 1) / 2, size, mode="bilinear", antialias=True)
        maps = extract_features(prior, resized.clamp(0, 1), [self._layer], self._level, ensemble=1)
        return maps[self._layer].to(images)


class _Shared:
    """Keeps a prior out of the policy's weights, and out of copies of the policy."""

    def __init__(self, prior: FrozenPrior) -> None:
        self.prior = prior

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Shared":
        return self


def _camera(settings: EncoderSettings, prior: FrozenPrior | None) -> nn.Module:
    """Images in [-1, 1] -> 2 K numbers."""
    network: ResNet | FrozenFeatures
    if prior is None:
        network = ResNet(settings.width)
    else:
        network = FrozenFeatures(prior, settings.layer, settings.fraction)
    return nn.Sequential(network, SpatialSoftmax(network.channels, settings.keypoints))
