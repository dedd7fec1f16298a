"""Pictures in and out of files, and many of them on one sheet."""

import io
import math
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor

from scorefield.arrays import tensor_of
from scorefield.files import whole_file
from scorefield.image_values import rgb_of

__all__ = [
    "Images",
    "as_image",
    "as_images",
    "contact_sheet",
    "each_image",
    "film_strips",
    "load_image",
    "opened_image",
    "save_gif",
    "save_image",
    "save_mp4",
    "side_by_side",
]

Images = Tensor | np.ndarray | Image.Image | str | os.PathLike[str] | Sequence[Any]
"""What `as_images` takes: one image, a batch, or a list of images."""

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""What is read; for some other formats Pillow starts other programs."""


def _to_pil(image: Float[Tensor, "channels height width"]) -> Image.Image:
    if image.shape[0] not in (1, 3):
        raise ValueError(f"an image is (3, H, W) or (1, H, W), got {tuple(image.shape)}")
    pixels = image.detach().float().cpu().clamp(0, 1).expand(3, -1, -1).permute(1, 2, 0)
    return Image.fromarray((255 * pixels + 0.5).to(torch.uint8).numpy())


def _from_pil(image: Image.Image) -> Float[Tensor, "3 height width"]:
    pixels = torch.from_numpy(np.array(image.convert("RGB")))
    return pixels.permute(2, 0, 1).float() / 255


def save_image(path: str | os.PathLike[str], image: Float[Tensor, "channels height width"]) -> Path:
    """Write a picture (3, H, W) or (1, H, W) in [0, 1], clamped; the suffix names the format.

    Raises:
        ValueError: the image is given before the path, or has another shape.
    """
    if not isinstance(path, str | os.PathLike):
        raise ValueError(
            f"save_image(path, image): the path comes first; got {type(path).__name__}"
        )
    with whole_file(path) as part:
        _to_pil(image).save(part)
    return Path(path)


def load_image(
    path: str | os.PathLike[str], size: int | None = None
) -> Float[Tensor, "3 height width"]:
    """Read a picture as (3, H, W) in [0, 1], upright; transparent pixels become white.

    Grey becomes three equal channels; 16 bits keep their depth; EXIF orientation is applied.
    Floating-point files must already be in [0, 1]. Those of 32-bit integers are refused: what
    their white is, no file says.

    Args:
        path: a PNG, JPEG, WEBP, GIF, BMP or TIFF.
        size: if given, the middle square is cut out and resized to (size, size), antialiased.

    Raises:
        ValueError: it is missing, damaged, no picture, or of values without a known range.
    """
    with opened_image(path) as opened:
        return _opened(opened, size)


@contextmanager
def opened_image(
    source: str | os.PathLike[str] | io.BytesIO, name: str = "", kind: str = "an image"
) -> Iterator[Image.Image]:
    """A picture as Pillow has it, of `FORMATS` alone, decoded.

    name: what an open file is called in messages.
    kind: what it is called, with its article, such as "a mask".

    Raises:
        ValueError: it is missing, damaged or no picture, which may also show inside the block.
    """
    try:
        with Image.open(source, formats=FORMATS) as opened:
            try:
                opened.load()  # may raise anything on a damaged header; later it would be our own
            except (TypeError, LookupError, AttributeError, ArithmeticError, struct.error) as error:
                raise ValueError(" ".join(str(error).split())) from error
            yield opened
    except FileNotFoundError as error:
        raise ValueError(f"{name or source}: there is no such file; name {kind}") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).partition("<_io")[0].split()) or type(error).__name__
        raise ValueError(
            f"{name or source}: cannot be read as {kind} ({reason}); give a png, jpg or webp"
        ) from error


def _opened(opened: Image.Image, size: int | None) -> Float[Tensor, "3 height width"]:
    """A Pillow image as `load_image` describes it."""
    image = ImageOps.exif_transpose(opened)
    if image.mode in ("F", "I") or image.mode.startswith("I;16"):
        image = _in_float(image)
    else:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        image = Image.alpha_composite(white, rgba).convert("RGB")
    if size is not None:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        box = (left, top, left + side, top + side)
        image = image.resize((size, size), Image.Resampling.LANCZOS, box=box)
    if image.mode == "F":
        return torch.from_numpy(np.array(image)).clamp(0, 1).expand(3, -1, -1).clone()
    return _from_pil(image)


def _in_float(image: Image.Image) -> Image.Image:
    """A picture of more than 8 bits in [0, 1]; Pillow's own conversion would clip it at 255."""
    values = np.array(image, dtype=np.float32)
    if image.mode.startswith("I;16"):
        return Image.fromarray(values / 65535)
    low, high = float(values.min()), float(values.max())
    if image.mode == "I" or not (low >= 0 and high <= 1):  # NaN is refused as well
        kind = "32-bit integers" if image.mode == "I" else "floating-point numbers"
        raise ValueError(
            f"{kind} from {low:g} to {high:g}; scale them to 16-bit integers or to floats in [0, 1]"
        )
    return Image.fromarray(values)


def as_images(images: Images, size: int | None = None) -> Float[Tensor, "batch 3 height width"]:
    """One image or a batch, from wherever it is, as float (B, 3, H, W) in [0, 1].

    Args:
        images: a path (as `load_image` reads it), a Pillow image, an array or a tensor, or a list
            of these. Channels come first, (3, H, W) and (B, 3, H, W), or last, as in (H, W, 3);
            (H, W) and one channel are grey, and a fourth that comes last, RGBA as (H, W, 4), is
            opacity over white. uint8 counts from 0 to 255, floats from 0 to 1.
        size: if given, files and Pillow images give up their middle square for (size, size); arrays
            and tensors stay as they are.

    Raises:
        ValueError: a file that cannot be read, another shape or type, values outside [0, 1], or a
            list of images of several sizes.
    """
    if isinstance(images, Tensor | np.ndarray):
        return rgb_of(tensor_of(images, "the image"))
    if isinstance(images, Image.Image):
        return _opened(images, size)[None].contiguous()
    if isinstance(images, str | os.PathLike):
        return load_image(images, size)[None].contiguous()
    if not isinstance(images, Sequence) or len(images) == 0:
        raise ValueError(
            f"give an image, a batch or a list of images: tensors, arrays or paths; got {images!r}"
        )
    parts = [as_images(image, size) for image in images]
    if len({part.shape[1:] for part in parts}) > 1:
        sizes = ", ".join(f"{part.shape[-1]}x{part.shape[-2]}" for part in parts[:4])
        raise ValueError(f"images of one batch must have one size; got {sizes}; resize them first")
    return torch.cat(parts)


def as_image(image: Images) -> Float[Tensor, "3 height width"]:
    """One image as float (3, H, W) in [0, 1]; see `as_images`.

    Raises:
        ValueError: there are several.
    """
    found = as_images(image)
    if len(found) != 1:
        raise ValueError(f"give one image; got {len(found)}, take them one after the other")
    return found[0]


def each_image(images: Images) -> list[Float[Tensor, "3 _height _width"]]:
    """The images of a batch one by one, as `as_images` reads them; they may differ in size.

    Raises:
        ValueError: as `as_images` does.
    """
    if isinstance(images, Sequence) and not isinstance(images, str) and len(images) > 0:
        return [one for image in images for one in as_images(image)]
    return list(as_images(images))


def save_gif(
    path: str | os.PathLike[str], frames: Float[Tensor, "frames 3 height width"], fps: float = 12.0
) -> Path:
    """Write frames (N, 3, H, W) in [0, 1] as a GIF that loops for ever.

    All frames share one palette of 256 colours, so that what stands still does not flicker.
    """
    pictures = [_to_pil(frame) for frame in frames]
    palette = _palette(pictures)
    first, *rest = (
        picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures
    )
    # GIF counts in hundredths of a second.
    duration = max(10, 10 * round(100 / fps))
    with whole_file(path) as part:
        first.save(part, save_all=True, append_images=rest, duration=duration, loop=0, disposal=2)
    return Path(path)


def _palette(pictures: Sequence[Image.Image], pixels: int = 4096) -> Image.Image:
    """256 colours for all of the pictures: of a few of their pixels and a few of their colours.

    The pixels say which colours are common; the colours, one of each 32nd part of red, green and
    blue, that the rare ones are there. Pillow spreads the palette over both, k-means settles it.
    """
    values = np.concatenate([np.asarray(picture).reshape(-1, 3) for picture in pictures])
    cell = values // 8 @ np.array([32 * 32, 32, 1], np.int32)
    of_a_cell = np.full(32**3, -1)
    of_a_cell[cell] = np.arange(len(values))
    colours = values[of_a_cell[of_a_cell >= 0]]
    some = np.concatenate([colours, values[:: math.ceil(len(values) / pixels)]])
    return Image.fromarray(some[None]).quantize(method=Image.Quantize.MAXCOVERAGE, kmeans=1)


def save_mp4(
    path: str | os.PathLike[str], frames: Float[Tensor, "frames 3 height width"], fps: float = 12.0
) -> Path:
    """Write frames (N, 3, H, W) in [0, 1] as an MP4 video; needs imageio-ffmpeg.

    Raises:
        ValueError: if imageio-ffmpeg is not installed.
    """
    try:
        import imageio_ffmpeg  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"{path}: writing mp4 needs imageio-ffmpeg; `pip install scorefield[video]` or "
            "write a .gif"
        ) from error
    import imageio.v3 as iio

    # Players want even sides.
    pixels = frames[..., : frames.shape[-2] // 2 * 2, : frames.shape[-1] // 2 * 2]
    pixels = (255 * pixels.detach().float().cpu().clamp(0, 1) + 0.5).to(torch.uint8)
    video = pixels.permute(0, 2, 3, 1).numpy()
    with whole_file(path) as part:
        iio.imwrite(part, video, fps=fps, codec="libx264", macro_block_size=2)
    return Path(path)


def contact_sheet(
    images: Float[Tensor, "images 3 height width"],
    columns: int | None = None,
    labels: Sequence[str] | None = None,
    pad: int = 2,
) -> Float[Tensor, "3 sheet_height sheet_width"]:
    """Pictures (N, 3, H, W) in rows on a white sheet, each with its label underneath.

    Args:
        images: in [0, 1].
        columns: pictures per row; None: about as many as rows.
        labels: one per picture; longer than the picture is wide, they are cut.
        pad: white pixels around each picture.

    Raises:
        ValueError: if there are no images, or not one label per image.
    """
    n, _, height, width = images.shape
    if n == 0:
        raise ValueError("a contact sheet needs at least one image, got none")
    if labels is not None and len(labels) != n:
        raise ValueError(f"labels must be one per image: {n} images, {len(labels)} labels")
    columns = min(n, columns or math.ceil(math.sqrt(n)))
    rows = math.ceil(n / columns)
    strip = 0 if labels is None else 12
    across, down = width + pad, height + strip + pad
    sheet = torch.ones(3, rows * down + pad, columns * across + pad)
    for i, image in enumerate(images.detach().float().cpu().clamp(0, 1)):
        top, left = pad + i // columns * down, pad + i % columns * across
        sheet[:, top : top + height, left : left + width] = image
        if labels is not None:
            label = Image.new("RGB", (width, strip), "white")
            ImageDraw.Draw(label).text((1, 0), labels[i], fill="black")
            top += height
            sheet[:, top : top + strip, left : left + width] = _from_pil(label)
    return sheet


def film_strips(
    videos: Float[Tensor, "videos frames 3 height width"],
    labels: Sequence[str] | None = None,
    pad: int = 2,
    enlarge: int = 1,
) -> Float[Tensor, "3 sheet_height sheet_width"]:
    """Videos (N, F, 3, H, W) under each other, the frames of each in a row on a white sheet.

    Args:
        videos: in [0, 1].
        labels: one per video, written beneath its frames.
        pad: white pixels around each strip, and between frames.
        enlarge: pixels of the sheet per pixel of a video, along one axis.

    Raises:
        ValueError: if there are no videos or frames, or not one label per video.
    """
    if 0 in videos.shape[:2]:
        raise ValueError(f"film strips need a video with frames, got shape {tuple(videos.shape)}")
    large = _enlarged(videos, enlarge)
    strips = []
    for video in large:
        row = torch.ones(3, large.shape[-2], video.shape[0] * (large.shape[-1] + pad) - pad)
        for i, frame in enumerate(video.detach().float().cpu().clamp(0, 1)):
            left = i * (large.shape[-1] + pad)
            row[:, :, left : left + large.shape[-1]] = frame
        strips.append(row)
    return contact_sheet(torch.stack(strips), 1, labels, pad)


def side_by_side(
    videos: Float[Tensor, "videos frames 3 height width"],
    columns: int | None = None,
    pad: int = 2,
    enlarge: int = 1,
) -> Float[Tensor, "frames 3 sheet_height sheet_width"]:
    """Videos (N, F, 3, H, W) in [0, 1] as one whose frames show them all, as a contact sheet."""
    large = _enlarged(videos, enlarge)
    return torch.stack([contact_sheet(frame, columns, pad=pad) for frame in large.unbind(1)])


def _enlarged(videos: Tensor, factor: int) -> Tensor:
    """Every pixel as a square of pixels."""
    if factor < 1:
        raise ValueError(f"enlarge must be at least 1, got {factor}")
    return videos.repeat_interleave(factor, -2).repeat_interleave(factor, -1)
