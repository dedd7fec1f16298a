"""Images with known regions: VOC, ADE20K, COCO-Stuff, Cityscapes, or any folder of masks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from scorefield.images import opened_image
from scorefield.perception.benchmarks.layouts import (
    IMAGES,
    check_layout,
    images_in,
    lines_of,
    some,
)
from scorefield.perception.segmentation.metrics import IGNORED

_VALUES = 256
_VOID = 255


@dataclass(frozen=True)
class Classes:
    """What the values of a data set's masks mean.

    table: by value of the mask, 0 to 255, the class, or `IGNORED`.
    count: of classes.
    source: of the rule.
    """

    table: Int[np.ndarray, "256"]
    count: int
    source: str


@dataclass(frozen=True)
class MaskedImage:
    """An image and the file of its regions.

    name: of the image, once in the data set.
    """

    name: str
    image: Path
    mask: Path

    def truth(self, classes: Classes) -> Int[Tensor, "h w"]:
        """The class of every pixel.

        Raises:
            ValueError: the mask is damaged, or has more than one channel or more than 8 bits.
        """
        with opened_image(self.mask, kind="a mask") as opened:
            mode, values = opened.mode, np.array(opened)
        if mode not in ("L", "P", "1"):
            raise ValueError(f"{self.mask}: a mask has one channel of 8 bits; this is {mode}")
        return torch.from_numpy(classes.table[values.astype(np.uint8)])


def _classes(order: Sequence[int], source: str) -> Classes:
    """Classes 0, 1, ... for the values in this order; all others are ignored."""
    table = np.full(_VALUES, IGNORED, dtype=np.int64)
    table[list(order)] = np.arange(len(order))
    return Classes(table, len(order), source)


VOC = _classes(range(21), "Everingham et al. 2010: 0 background, 1 to 20 objects, 255 void")
ADE = _classes(range(1, 151), "Zhou et al. 2017, ADEChallengeData2016: 1 to 150, 0 is unlabelled")
CITYSCAPES = _classes(
    range(7, 34), "PiCIE (Cho et al. 2021) and STEGO: labelIds 7 to 33, 27 classes; others ignored"
)
ANY = _classes(range(_VOID), "values 0 to 254 are classes, 255 is ignored")

# 91 to 181, in the order of their numbers (91 values)
_STUFF_27 = (
    17, 17, 22, 20, 20, 22, 15, 25, 16, 13, 12, 12, 17, 17, 23, 15, 15, 17, 15, 21, 15, 25, 13, 13,
    13, 13, 13, 22, 26, 14, 14, 15, 22, 21, 21, 24, 20, 22, 15, 17, 16, 15, 22, 24, 21, 17, 25, 16,
    21, 17, 22, 16, 21, 21, 25, 21, 26, 21, 24, 20, 17, 14, 21, 26, 15, 23, 20, 21, 24, 15, 24, 22,
    25, 15, 20, 17, 17, 22, 14, 18, 18, 18, 18, 18, 18, 18, 26, 26, 19, 19, 24,
)  # fmt: skip
# how many numbers, from 0 on, are of which kind of things
_THINGS_27 = (
    (1, 9), (8, 11), (6, 8), (10, 7), (8, 6), (10, 10), (8, 5), (10, 2), (10, 3), (6, 0), (6, 1),
    (8, 4),
)  # fmt: skip


def _coco_27() -> Classes:
    table = np.full(_VALUES, IGNORED, dtype=np.int64)
    things = [kind for number, kind in _THINGS_27 for _ in range(number)]
    table[: len(things) + len(_STUFF_27)] = [*things, *_STUFF_27]
    return Classes(table, 27, "the 27 groups of PiCIE and STEGO (mhamilton723/STEGO, src/data.py)")


# numbers that no image has, for COCO left them out
_NOT_IN_COCO = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)
COCO = _classes(
    [value for value in range(182) if value not in _NOT_IN_COCO],
    "Caesar et al. 2018, stuffthingmaps: 80 things and 91 stuff by COCO's number less 1, 255 void",
)
COCO_27 = _coco_27()


def voc_images(folder: Path, split: str = "val") -> list[MaskedImage]:
    """PASCAL VOC 2012: ImageSets/Segmentation/SPLIT.txt, JPEGImages and SegmentationClass.

    folder: VOCdevkit/VOC2012, or the folder that holds VOCdevkit.

    Raises:
        ValueError: a folder of another layout.
    """
    inside = folder / "VOCdevkit" / "VOC2012"
    folder = inside if inside.is_dir() else folder
    listed = f"ImageSets/Segmentation/{split}.txt"
    check_layout(folder, "VOC 2012", "JPEGImages", "SegmentationClass", listed)
    return [
        MaskedImage(
            name,
            folder / "JPEGImages" / f"{name}.jpg",
            folder / "SegmentationClass" / f"{name}.png",
        )
        for name in lines_of(folder / listed)
    ]


def ade_images(folder: Path, split: str = "validation") -> list[MaskedImage]:
    """ADEChallengeData2016: images/SPLIT/*.jpg and annotations/SPLIT/*.png.

    Raises:
        ValueError: a folder of another layout.
    """
    check_layout(folder, "ADE20K", f"images/{split}", f"annotations/{split}")
    return _side_by_side(folder / "images" / split, folder / "annotations" / split)


def coco_images(folder: Path, split: str = "val2017") -> list[MaskedImage]:
    """COCO-Stuff: images/SPLIT/*.jpg, and annotations/SPLIT/*.png of stuffthingmaps.

    The masks may also stand in stuffthingmaps_trainval2017/SPLIT, as their archive unpacks.
    STEGO's figures are of a list of some 2,000 of the 5,000 images: keep those alone to repeat
    them.

    Raises:
        ValueError: a folder of another layout.
    """
    unpacked = folder / "stuffthingmaps_trainval2017" / split
    masks = unpacked if unpacked.is_dir() else folder / "annotations" / split
    check_layout(folder, "COCO-Stuff", f"images/{split}", str(masks.relative_to(folder)))
    return _side_by_side(folder / "images" / split, masks)


def cityscapes_images(folder: Path, split: str = "val") -> list[MaskedImage]:
    """Cityscapes: leftImg8bit/SPLIT/CITY/*_leftImg8bit.png and gtFine/.../*_gtFine_labelIds.png.

    Raises:
        ValueError: a folder of another layout.
    """
    check_layout(folder, "Cityscapes", f"leftImg8bit/{split}", f"gtFine/{split}")
    paths = sorted((folder / "leftImg8bit" / split).glob("*/*_leftImg8bit.png"))
    some(paths, folder / "leftImg8bit" / split, "images (CITY/*_leftImg8bit.png)")
    found = []
    for image in paths:
        name = image.name.removesuffix("_leftImg8bit.png")
        mask = folder / "gtFine" / split / image.parent.name / f"{name}_gtFine_labelIds.png"
        found.append(MaskedImage(name, image, mask))
    return found


def folder_images(folder: Path, split: str = "") -> list[MaskedImage]:
    """Any folder with images/NAME.jpg (or png, webp, bmp) and masks/NAME.png.

    split: a folder below both, if they have such.

    Raises:
        ValueError: a folder of another layout.
    """
    images, masks = (f"{kind}/{split}".rstrip("/") for kind in ("images", "masks"))
    check_layout(folder, "a folder of images and masks", images, masks)
    return _side_by_side(folder / images, folder / masks)


def _side_by_side(images: Path, masks: Path) -> list[MaskedImage]:
    """Images of one folder with masks of the same name in another.

    An image without a mask is an error when its turn comes; masks alone would be silently few.
    """
    found = images_in(images)
    some(found, images, f"images ({', '.join(IMAGES)})")
    return [MaskedImage(path.stem, path, masks / f"{path.stem}.png") for path in found]
