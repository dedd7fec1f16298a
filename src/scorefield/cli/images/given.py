"""Images and masks that commands are given."""

from pathlib import Path

from torch import Tensor

from scorefield.images import load_image


def load_given(path: Path, size: int | None) -> tuple[Tensor, list[str]]:
    """An image (3, H, W) in [0, 1], its middle square resized if a size is given, and what to say.

    Raises:
        ValueError: it cannot be read.
    """
    image = load_image(path)
    height, width = image.shape[-2:]
    if size is None or (width, height) == (size, size):
        return image, []
    middle = "" if width == height else "the middle square of "
    return load_image(path, size), [
        f"{middle}{path} ({width}x{height}) is taken at {size}x{size}, the prior's size"
    ]


def load_mask(path: Path, image: Tensor, size: int | None) -> Tensor:
    """A mask (1, 1, H, W) of zeros and ones, cut and resized as the image of that size is.

    Raises:
        ValueError: it cannot be read, has another size than the image, or marks nothing.
    """
    whole, _ = load_given(path, None)
    height, width = image.shape[-2:]
    if whole.shape != image.shape:
        raise ValueError(
            f"{path} is {whole.shape[-1]}x{whole.shape[-2]}, the image {width}x{height}; "
            "give a mask of the image's size"
        )
    sized, _ = load_given(path, size)
    mask = (sized.mean(dim=0) > 0.5).float()[None, None]
    if not bool(mask.any()):
        raise ValueError(f"{path} is black in the middle square, so nothing would be painted")
    return mask
