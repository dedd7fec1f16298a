"""A folder of images with captions, as a training reads it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor

from scorefield.files import parse_json
from scorefield.images import FORMATS

__all__ = ["BACKGROUNDS", "CaptionedImage", "image_views", "read_folder", "words_of"]

METADATA = "metadata.jsonl"
"""Name of the file of captions in Hugging Face's imagefolder format."""

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"}

BACKGROUNDS: Mapping[str, tuple[int, int, int]] = {
    "white": (255, 255, 255),
    "grey": (200, 200, 204),
    "black": (28, 28, 32),
    "red": (240, 150, 150),
    "orange": (250, 200, 150),
    "yellow": (250, 235, 160),
    "green": (170, 220, 170),
    "teal": (150, 215, 210),
    "blue": (165, 200, 245),
    "purple": (205, 180, 240),
    "pink": (250, 195, 220),
}
"""What transparent images are put on, by the word in ", WORD background"."""

WHITE_SHARE = 0.75
"""Share of views on white; half of them say so."""


@dataclass(frozen=True)
class CaptionedImage:
    """A file and what may be said of it; without a caption it teaches the codec alone."""

    path: Path
    captions: tuple[str, ...]


def read_folder(folder: Path) -> list[CaptionedImage]:
    """The images of a folder, in the order of their paths.

    Captions come from the first of these that is there: a file `metadata.jsonl` with a line
    ``{"file_name": "a.png", "text": "a fox"}`` per image (Hugging Face's imagefolder), where
    `text` may also be a list of captions, one of which is drawn at random, or "" for none; for
    each image a text beside it (`a.txt` for `a.png`), one caption per line; the names of the
    folders that the images are in (`fox/1.png` is "fox").

    Raises:
        ValueError: no images, a line that cannot be read, or an image without a caption; says
            which.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; give one with images and captions")
    if (folder / METADATA).exists():
        return _from_metadata(folder)
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise ValueError(
            f"{folder}: no images; it needs some in png, jpg or webp, with a {METADATA}, with "
            "texts beside them, or in folders named by what they show"
        )
    return [CaptionedImage(path, _caption_of(path, folder)) for path in paths]


def _from_metadata(folder: Path) -> list[CaptionedImage]:
    found = []
    try:
        text = (folder / METADATA).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{folder / METADATA}: cannot be read ({error})") from error
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        where = f"{folder / METADATA}, line {number}"
        try:
            entry = parse_json(line)
            name, text = entry["file_name"], entry["text"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(
                f'{where}: give a line such as {{"file_name": "a.png", "text": "a fox"}}'
            ) from error
        texts = [text] if isinstance(text, str) else text
        if not isinstance(texts, list) or not all(isinstance(t, str) for t in texts):
            raise ValueError(f"{where}: text must be a caption or a list of captions")
        if not isinstance(name, str) or not (folder / name).is_file():
            raise ValueError(f"{where}: no image {name}; correct the name or remove the line")
        found.append(CaptionedImage(folder / name, tuple(t.strip() for t in texts if t)))
    if not any(one.captions for one in found):
        raise ValueError(f"{folder / METADATA}: no captions; give each image a text")
    return sorted(found, key=lambda one: one.path)


def _caption_of(path: Path, folder: Path) -> tuple[str, ...]:
    beside = path.with_suffix(".txt")
    if beside.exists():
        lines = [line.strip() for line in beside.read_text("utf-8").splitlines()]
        captions = tuple(filter(None, lines))
    else:
        captions = () if path.parent == folder else (path.parent.name.replace("_", " "),)
    if not captions:
        raise ValueError(
            f"{path}: no caption; write it into {beside.name}, put the image into a folder named "
            f"by what it shows, or list all images in {folder / METADATA}"
        )
    return captions


def words_of(captions: Sequence[str]) -> list[str]:
    """The words of captions, lower-case, sorted, each once."""
    text = " ".join(captions).lower()
    return sorted(set("".join(c if c.isalnum() else " " for c in text).split()))


def image_views(
    given: CaptionedImage,
    count: int,
    size: int,
    rng: np.random.Generator,
    *,
    mirror: bool = True,
) -> tuple[UInt8[Tensor, "count size size 3"], list[str]]:
    """Views of one image for training, and a caption of each.

    Each view shows the image, cut to a square, at 80 to 100% of the size, a little off the
    centre, half of them mirrored. A transparent image is cut to what is drawn first, and put on
    white, or, in a quarter of the views, on another of `BACKGROUNDS`, which the caption then names.

    mirror: whether images may be mirrored; not where they hold letters.

    Raises:
        ValueError: the file cannot be read as an image.
    """
    image = _open(given.path)
    transparent = _is_transparent(image)
    views, captions = np.empty((count, size, size, 3), np.uint8), []
    for i in range(count):
        caption = given.captions[rng.integers(len(given.captions))] if given.captions else ""
        ground, says = "white", False
        if transparent:
            others = list(BACKGROUNDS)[1:]
            white = rng.random() < WHITE_SHARE
            ground = "white" if white else others[rng.integers(len(others))]
            says = not white or rng.random() < 0.5
        side = round(size * rng.uniform(0.8, 1.0))
        slack = size - side
        left, top = (int(np.clip(round(slack / 2 + rng.normal()), 0, slack)) for _ in range(2))
        small = image.resize((side, side), Image.Resampling.LANCZOS)
        if mirror and rng.random() < 0.5:
            small = ImageOps.mirror(small)
        canvas = Image.new("RGBA", (size, size), (*BACKGROUNDS[ground], 255))
        if not transparent:  # a photograph fills the view
            canvas = image.resize((size, size), Image.Resampling.LANCZOS)
            left, top = 0, 0
            small = canvas
        canvas.alpha_composite(small, (left, top))
        views[i] = np.asarray(canvas.convert("RGB"))
        captions.append(f"{caption}, {ground} background" if caption and says else caption)
    return torch.from_numpy(views), captions


def _open(path: Path) -> Image.Image:
    """The middle square of a file, or the drawn part of a transparent one on a square."""
    try:
        with Image.open(path, formats=FORMATS) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: cannot be read as an image; remove it or repair it") from error
    if not _is_transparent(image):
        return ImageOps.fit(image, (min(image.size),) * 2)
    drawn = image.crop(image.getchannel("A").getbbox())
    square = Image.new("RGBA", (max(drawn.size),) * 2)
    square.paste(drawn, ((square.width - drawn.width) // 2, (square.height - drawn.height) // 2))
    return square


def _is_transparent(image: Image.Image) -> bool:
    return bool(np.asarray(image.getchannel("A")).min() < 255)
