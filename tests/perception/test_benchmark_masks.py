"""Published benchmarks of segmentation: tiny folders in exactly their layouts, answers by hand."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from untrained import untrained_shapes

from scorefield.cli.main import main
from scorefield.perception.benchmarks import masked_images as data
from scorefield.perception.benchmarks.mask_evaluation import judged, mask_metrics
from scorefield.perception.benchmarks.masked_images import Classes, MaskedImage


def write(path: Path, values: np.ndarray, mode: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values.astype(np.uint8))
    if mode == "P":
        image.putpalette([0, 0, 0, 128, 0, 0] + [7] * 762)
    image.save(path)
    return path


GREY = np.full((8, 8, 3), 100)


def voc(folder: Path, values: np.ndarray) -> list[MaskedImage]:
    write(folder / "JPEGImages" / "2007_1.jpg", GREY)
    write(folder / "SegmentationClass" / "2007_1.png", values, "P")
    listed = folder / "ImageSets" / "Segmentation" / "val.txt"
    listed.parent.mkdir(parents=True)
    listed.write_text("2007_1\n")
    return data.voc_images(folder)


def ade(folder: Path, values: np.ndarray) -> list[MaskedImage]:
    write(folder / "images" / "validation" / "ADE_val_1.jpg", GREY)
    write(folder / "annotations" / "validation" / "ADE_val_1.png", values)
    return data.ade_images(folder)


def coco(folder: Path, values: np.ndarray) -> list[MaskedImage]:
    write(folder / "images" / "val2017" / "000000000139.jpg", GREY)
    masks = folder / "stuffthingmaps_trainval2017" / "val2017"
    write(masks / "000000000139.png", values)
    return data.coco_images(folder)


def cityscapes(folder: Path, values: np.ndarray) -> list[MaskedImage]:
    name = "frankfurt_000000_000294"
    write(folder / "leftImg8bit/val/frankfurt" / f"{name}_leftImg8bit.png", GREY)
    write(folder / "gtFine/val/frankfurt" / f"{name}_gtFine_labelIds.png", values)
    return data.cityscapes_images(folder)


def masks(folder: Path, values: np.ndarray) -> list[MaskedImage]:
    write(folder / "images" / "mine.png", GREY)
    write(folder / "masks" / "mine.png", values)
    return data.folder_images(folder)


@pytest.mark.parametrize(
    ("make", "classes", "values", "meant"),
    [
        (voc, data.VOC, [0, 1, 20, 255], [0, 1, 20, -1]),
        (ade, data.ADE, [0, 1, 150, 151], [-1, 0, 149, -1]),
        # person, bicycle (things), banner and wood (stuff), void
        (coco, data.COCO, [0, 1, 91, 181, 255], [0, 1, 80, 170, -1]),
        (coco, data.COCO_27, [0, 1, 91, 181, 255], [9, 11, 17, 24, -1]),
        # road 7, bicycle 33, void 0 to 6, licence plate (-1 as 255)
        (cityscapes, data.CITYSCAPES, [7, 33, 0, 6, 255], [0, 26, -1, -1, -1]),
        (masks, data.ANY, [0, 3, 254, 255], [0, 3, 254, -1]),
    ],
)
def test_values_mean_the_classes_of_each_data_set(
    make: Callable[[Path, np.ndarray], list[MaskedImage]],
    classes: Classes,
    values: list[int],
    meant: list[int],
    tmp_path: Path,
) -> None:
    pixels = np.resize(values, (8, 8))
    (one,) = make(tmp_path, pixels)
    assert one.image.exists()
    assert one.truth(classes).flatten()[: len(values)].tolist() == meant


def test_the_classes_are_as_many_as_published() -> None:
    counts = {"VOC": 21, "ADE": 150, "COCO": 171, "COCO_27": 27, "CITYSCAPES": 27}
    for name, count in counts.items():
        classes = getattr(data, name)
        assert classes.count == count
        assert sorted(set(classes.table.tolist()) - {-1}) == list(range(count)), name


def test_figures_by_hand() -> None:
    # two regions; class 0 has 6 of 8 pixels of one row of 8 and class 1 two, of which one is found
    truth = torch.tensor([[0, 0, 0, 0, 0, 0, 1, 1], [-1] * 8])
    found = torch.tensor([[5, 5, 5, 5, 5, 5, 5, 2], [9] * 8])
    row = judged(found, truth, 3)
    # class 0: 6 of 7; class 1: 1 of 2
    assert row["inside"] == {"0": 6, "1": 1} and row["union"] == {"0": 7, "1": 2}
    assert row["miou"] == pytest.approx((6 / 7 + 1 / 2) / 2)
    other = judged(torch.ones(1, 4, dtype=torch.long), torch.tensor([[1, 1, 1, 2]]), 3)
    assert other["inside"] == {"1": 3, "2": 0} and other["union"] == {"1": 4, "2": 1}
    empty = judged(found, torch.full((2, 8), -1), 3)
    metrics = mask_metrics([row, other, empty, {"error": "damaged"}], 3)
    assert metrics["images"] == 2 and metrics["unread"] == 1
    assert metrics["iou"] == {"0": 6 / 7, "1": 4 / 6, "2": 0}
    assert metrics["set_miou"] == pytest.approx((6 / 7 + 4 / 6 + 0) / 3)
    assert metrics["image_miou"] == pytest.approx(((6 / 7 + 1 / 2) / 2 + (3 / 4 + 0) / 2) / 2)


def test_the_command_names_what_is_damaged_and_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    folder, out = tmp_path / "data", tmp_path / "out"
    halves = np.repeat([[0, 0, 0, 0, 1, 1, 1, 1]], 8, axis=0)
    masks(folder, halves)
    write(folder / "images" / "second.jpg", GREY)
    (folder / "images" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    write(folder / "masks" / "torn.png", halves)
    words = ["evaluate", "segmentation", "--data", "folder", str(folder), "--out", str(out),
             "--prior", str(untrained_shapes(tmp_path / "p")), "-k", "2", "--device", "cpu",
             "--quiet"]  # fmt: skip
    assert main(words) == 1
    told = capsys.readouterr().err
    assert "2 of 3 images could not be read" in told
    assert "second.png: there is no such file; name a mask" in told and "torn.png" in told
    # the missing mask comes: it is done, and the first image is not done again
    write(folder / "masks" / "second.png", halves)
    before = (out / "images.jsonl").read_text()
    assert main([*words, "--resume"]) == 1
    assert (out / "images.jsonl").read_text().startswith(before)
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["images"] == 2 and metrics["unread"] == 1
    assert "torn" in (out / "report.html").read_text()


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("voc", "SegmentationClass and ImageSets/Segmentation/val.txt"),
        ("ade", "images/validation and annotations/validation"),
        ("coco-stuff", "images/val2017 and annotations/val2017"),
        ("cityscapes", "leftImg8bit/val and gtFine/val"),
        ("folder", "images and masks"),
    ],
)
def test_another_layout_is_refused_with_what_was_found(
    name: str, missing: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data" / "JPEGImages").mkdir(parents=True)
    words = ["evaluate", "segmentation", "--data", name, str(tmp_path / "data")]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    assert f"{missing} are missing; it holds JPEGImages/" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_masks_of_colours_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "images" / "a.png", GREY)
    write(tmp_path / "masks" / "a.png", GREY)
    with pytest.raises(ValueError, match="one channel of 8 bits; this is RGB"):
        data.folder_images(tmp_path)[0].truth(data.ANY)


def test_a_mask_chooses_no_decoder(tmp_path: Path) -> None:
    (one,) = masks(tmp_path, np.zeros((8, 8)))
    Image.new("L", (8, 8)).save(one.mask, "ppm")
    with pytest.raises(ValueError, match="cannot be read as a mask"):
        one.truth(data.ANY)
