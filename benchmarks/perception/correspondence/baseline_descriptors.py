"""Descriptors that know no images: what a correspondence has to beat.

Each is called with images (n, 3, h, w) in [0, 1] and returns maps (n, channels, h, w), a vector
per pixel.
"""

import copy
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from scorefield.perception.correspondence.sift import BIN_SIZES, dense_sift, joined_sift
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.noise import noise_generator


@dataclass(frozen=True)
class RgbPatches:
    """The colours, less grey, of the square of pixels around each pixel.

    side: of the square, odd.
    """

    side: int = 9

    def __post_init__(self) -> None:
        if self.side < 1 or self.side % 2 == 0:
            raise ValueError(f"side must be odd and positive; got {self.side}")

    def __call__(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c h w"]:
        """The patches; beyond the border the image is mirrored."""
        reach = self.side // 2
        padded = functional.pad(images - 0.5, [reach] * 4, mode="reflect")
        return functional.unfold(padded, self.side).unflatten(2, images.shape[-2:])


@dataclass(frozen=True)
class DenseSift:
    """SIFT descriptors (Lowe 2004) around every pixel, by kornia.

    bin_size: side of each of the 4 x 4 bins, pixels, even.
    """

    bin_size: int = 4

    def __call__(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c h w"]:
        """The descriptors."""
        return dense_sift(images, self.bin_size)


@dataclass(frozen=True)
class JoinedSift:
    """`DenseSift` of several sizes, each of unit length, joined: the cosine is the mean of theirs.

    bin_sizes: sides of the bins, pixels, even.
    """

    bin_sizes: tuple[int, ...] = BIN_SIZES

    def __call__(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c h w"]:
        """The joined descriptors."""
        return joined_sift(images, self.bin_sizes)


def random_prior(prior: FrozenPrior, seed: int = 0) -> FrozenPrior:
    """A prior with the same codec and a network of the same shape that has learnt nothing.

    Its linear and convolutional layers are drawn anew as torch initialises them, norms are ones.
    """
    other = copy.copy(prior)
    other.conditional = other
    other.network = copy.deepcopy(prior.network).cpu()  # the same weights on every device
    other.name = f"{prior.name}, untrained"
    with torch.random.fork_rng(devices=[]):
        # torch's initialisers take no generator; manual_seed would seed those of GPUs too
        torch.default_generator.manual_seed(noise_generator(seed, 0).initial_seed())
        for module in other.network.modules():
            reset = getattr(module, "reset_parameters", None)
            if isinstance(module, nn.Module) and callable(reset):
                reset()
    other.network.to(prior.device)
    return other
