"""Published data sets as small as can be, in their layouts, and what evaluations read of them.

An evaluation goes on after a damaged image, whose row then says what is wrong; here that is an
error as any other.
"""

import io
import json
import tarfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from formats import Format
from torch import Tensor

HEIGHT, WIDTH = 20, 30


def _pixels(number: int = 0) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def _save(path: Path, pixels: np.ndarray) -> Path:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def _mask(path: Path, values: tuple[int, int] = (1, 2)) -> None:
    _save(path, np.repeat([[values[0]] * 15 + [values[1]] * 15], HEIGHT, axis=0).astype(np.uint8))


def _png(number: int) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(_pixels(number)).save(file, "png")
    return file.getvalue()


def spair(folder: Path) -> Path:
    made = folder / "SPair-71k"
    for number, name in enumerate("abc"):
        _save(made / "JPEGImages" / "cat" / f"{name}.jpg", _pixels(number))
    points, box = [[4, 5], [10, 9]], [0, 0, 29, 19]
    (made / "PairAnnotation" / "test").mkdir(parents=True)
    for number, (one, other) in enumerate(("ab", "bc", "ca")):
        pair = {
            "src_imname": f"{one}.jpg", "trg_imname": f"{other}.jpg", "category": "cat",
            "src_kps": points, "trg_kps": points, "src_bndbox": box, "trg_bndbox": box,
        }  # fmt: skip
        name = f"{number:06d}-{one}-{other}:cat.json"
        (made / "PairAnnotation" / "test" / name).write_text(json.dumps(pair))
    return made


def pf_pascal(folder: Path, listed: bool = True) -> Path:
    made = folder / "PF-PASCAL"
    row = "PF-dataset-PASCAL/JPEGImages/a.jpg,PF-dataset-PASCAL/JPEGImages/b.jpg,8"
    for number, name in enumerate("ab"):
        _save(made / "JPEGImages" / f"{name}.jpg", _pixels(number))
    text = f"source_image,target_image,class\n{row}\n"
    if listed:
        points = "4;10.5,5;9,7;14,7;11"
        text = f"source_image,target_image,class,XA,YA,XB,YB\n{row},{points}\n{row},{points}\n"
    else:
        from scipy.io import savemat

        (made / "Annotations" / "cat").mkdir(parents=True)
        for name in "ab":
            kps = np.array([[4.0, 5.0], [10.5, 9.0], [np.nan, np.nan]])
            about = {"kps": kps, "bbox": np.array([0, 0, 29, 19]), "class": "cat"}
            path = made / "Annotations" / "cat" / f"{name}.mat"
            savemat(path, about, do_compression=name == "a")
    (made / "test_pairs.csv").write_text(text)
    return made


def tss(folder: Path) -> Path:
    made = folder / "TSS"
    pair = made / "JODS" / "01"
    flow = np.full((HEIGHT, WIDTH, 2), 1.5, np.float32)
    for number in (1, 2):
        _save(pair / f"image{number}.png", _pixels(number))
        _mask(pair / f"mask{number}.png", (0, 255))
        head = np.float32(202021.25).tobytes() + np.array([WIDTH, HEIGHT], "<i4").tobytes()
        (pair / f"flow{number}.flo").write_bytes(head + flow.tobytes())
    return made


def _masked(images: str, masks: str, suffix: str = "") -> Callable[[Path], Path]:
    """Two images and masks; names hold {} for a or b."""

    def make(folder: Path) -> Path:
        made = folder / "masked"
        for number, name in enumerate("ab"):
            _save(made / images.format(name), _pixels(number))
            _mask(made / masks.format(name))
        if suffix:
            (made / suffix).parent.mkdir(parents=True)
            (made / suffix).write_text("a\nb\n")
        return made

    return make


def imagefolder(folder: Path) -> Path:
    for number, label in enumerate(("red", "blue")):
        _save(folder / "labelled" / "val" / label / "a.png", _pixels(number))
    return folder / "labelled"


def webdataset(folder: Path) -> Path:
    made = folder / "shards"
    made.mkdir()
    members = {
        "a/1.png": _png(0), "a/1.cls": b"0", "a/2.png": _png(1), "a/2.json": b'{"label": "blue"}',
        "3.png": _png(2), "3.txt": b"red",
    }  # fmt: skip
    with tarfile.open(made / "val-000.tar", "w") as shard:
        for name, content in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            shard.addfile(about, io.BytesIO(content))
    return made


def parquet(folder: Path) -> Path:
    import pyarrow
    import pyarrow.parquet

    made = folder / "tables"
    (made / "data").mkdir(parents=True)
    rows = [{"image": {"bytes": _png(n), "path": None}, "label": n % 2} for n in range(3)]
    table = pyarrow.Table.from_pylist(rows)
    about = json.dumps({"info": {"features": {"label": {"names": ["red", "blue"]}}}})
    table = table.replace_schema_metadata({b"huggingface": about.encode()})
    pyarrow.parquet.write_table(table, made / "data" / "val-00000.parquet")
    return made


def _names(folder: Path) -> Path:
    (folder / "names.json").write_text('{"n1": "red", "n2": "blue"}')
    return folder / "names.json"


def _raise_errors(rows: Iterable[Mapping[str, object]]) -> None:
    for row in rows:
        if "error" in row:
            raise ValueError(str(row["error"]))


def _itself(image: Tensor, _: str) -> Tensor:
    return image - 0.5


def _pairs(name: str) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        from scorefield.perception.benchmarks import keypoint_pairs
        from scorefield.perception.benchmarks.keypoint_evaluation import (
            evaluate_keypoints,
            keypoint_metrics,
        )
        from scorefield.rows import RowStore

        pairs = getattr(keypoint_pairs, name)(path)
        rows = evaluate_keypoints(pairs, _itself, RowStore(None, {}, ["pair"]))
        keypoint_metrics(rows)
        _raise_errors(rows)

    return read


def _regions(name: str, classes: str) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        from scorefield.perception.benchmarks import mask_evaluation, masked_images
        from scorefield.rows import RowStore

        # The regions are not what is tried, and would take seconds.
        mask_evaluation.segment = lambda *given, **_: [_Whole(given[1])]
        table = getattr(masked_images, classes)
        pictures = getattr(masked_images, name)(path)
        rows = mask_evaluation.evaluate_masks(
            pictures,
            table,
            None,
            1,
            RowStore(None, {}, ["image"]),  # type: ignore[arg-type]
        )
        mask_evaluation.mask_metrics(rows, table.count)
        _raise_errors(rows)

    return read


class _Whole:
    """One region that is all of an image."""

    def __init__(self, image: Tensor) -> None:
        self.labels = torch.zeros(image.shape[1:], dtype=torch.int64)


def _labels(kind: str) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        from scorefield.perception.benchmarks import label_evaluation, labelled_images

        found = getattr(labelled_images, kind)(path, "val")
        pictures, names = found if kind == "parquet_images" else (found, ["red", "blue"])
        for one in pictures:
            try:
                label_evaluation.name_of(one.label, names or ["red", "blue"])
                label_evaluation._read(one, 16)
            except ValueError as error:  # of a row, whose name is in the metrics
                raise ValueError(f"{path}: {one.name}: {error}") from error

    return read


def _read_names(path: Path) -> object:
    from scorefield.cli.evaluate.classifier import _names

    return _names(path)


FORMATS = {
    "spair": Format(spair, _pairs("spair_pairs"), 12),
    "pf-pascal": Format(pf_pascal, _pairs("pf_pascal_pairs"), 12),
    "pf-pascal mat": Format(lambda at: pf_pascal(at, False), _pairs("pf_pascal_pairs"), 12),
    "tss": Format(tss, _pairs("tss_pairs"), 12),
    "voc": Format(
        _masked("JPEGImages/{}.jpg", "SegmentationClass/{}.png", "ImageSets/Segmentation/val.txt"),
        _regions("voc_images", "VOC"), 8,
    ),
    "ade": Format(
        _masked("images/validation/{}.jpg", "annotations/validation/{}.png"),
        _regions("ade_images", "ADE"), 8,
    ),
    "coco-stuff": Format(
        _masked("images/val2017/{}.jpg", "stuffthingmaps_trainval2017/val2017/{}.png"),
        _regions("coco_images", "COCO_27"), 8,
    ),
    "cityscapes": Format(
        _masked("leftImg8bit/val/ulm/{}_leftImg8bit.png", "gtFine/val/ulm/{}_gtFine_labelIds.png"),
        _regions("cityscapes_images", "CITYSCAPES"), 8,
    ),
    "masks": Format(
        _masked("images/{}.png", "masks/{}.png"), _regions("folder_images", "ANY"), 4
    ),
    "imagefolder": Format(imagefolder, _labels("imagefolder_images"), 8),
    "webdataset": Format(webdataset, _labels("webdataset_images"), 12),
    "parquet": Format(parquet, _labels("parquet_images"), 12),
    "names of labels": Format(_names, _read_names, 4),
}  # fmt: skip
"""Of `evaluate correspondence`, `segmentation` and `classifier`."""
