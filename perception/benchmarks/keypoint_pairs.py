"""SPair-71k, PF-PASCAL and TSS as they are published: pairs of images and points of both.

Points are given in pixels whose first has its centre at 0, or as displacements between such pixels;
here, as everywhere in this library, that centre is at 0.5.
"""

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.images import opened_image
from scorefield.perception.benchmarks.layouts import check_layout, reading, some
from scorefield.perception.benchmarks.mat_files import read_mat_matrix

PF_PASCAL_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
"""By the class numbers 1 to 20 of the lists of pairs."""

_FLO_MAGIC = 202021.25
_UNKNOWN_FLOW = 1e9


@dataclass(frozen=True)
class Points:
    """Points of an image, where they are in another, and what distances are compared with.

    size: pixels of the target: the longer side of the object's box, or of the image.

    Raises:
        ValueError: not as many points in both, or numbers that are not finite, or a size of 0.
    """

    source: Float[Tensor, "points 2"]
    target: Float[Tensor, "_points 2"]
    size: float

    def __post_init__(self) -> None:
        """Refuse what is no annotation."""
        if self.source.shape != self.target.shape:
            raise ValueError(f"{len(self.source)} points and {len(self.target)} of the other")
        if not bool((self.source.isfinite() & self.target.isfinite()).all()):
            raise ValueError("a point is not finite")
        if not 0 < self.size < float("inf"):
            raise ValueError(f"the size that distances are compared with is {self.size:g}")


@dataclass(frozen=True)
class KeypointPair:
    """One pair of a benchmark.

    name: of the pair, once in the benchmark.
    category: of the object, or of the group that metrics are given for.
    read: the points; called when the pair's turn comes, for dense pairs are many. It raises
        ValueError for a damaged file.
    """

    name: str
    category: str
    source: Path
    target: Path
    read: Callable[[], Points]


def spair_pairs(folder: Path, split: str = "test") -> list[KeypointPair]:
    """SPair-71k (Min et al. 2019): every PairAnnotation/SPLIT/*.json.

    Distances are compared with the longer side of the target's bounding box, as the evaluation of
    DIFT does (Tsingularity/dift, eval_spair.py).

    Raises:
        ValueError: a folder of another layout, or an annotation that is damaged.
    """
    where = folder / "PairAnnotation" / split
    check_layout(folder, "SPair-71k", "JPEGImages", f"PairAnnotation/{split}")
    files = sorted(where.glob("*.json"))
    some(files, where, "pairs (*.json)")
    return [_spair_pair(folder, path) for path in files]


def _spair_pair(folder: Path, path: Path) -> KeypointPair:
    with reading(path, "an annotation of SPair-71k"):
        pair = json.loads(path.read_text(encoding="utf-8"))
        category = pair["category"]
        left, top, right, bottom = map(float, pair["trg_bndbox"])
        points = Points(
            _centred(pair["src_kps"]), _centred(pair["trg_kps"]), max(right - left, bottom - top)
        )
        source, target = (
            folder / "JPEGImages" / category / pair[f"{which}_imname"] for which in ("src", "trg")
        )
    return KeypointPair(path.stem, category, source, target, lambda: points)


def pf_pascal_pairs(folder: Path, split: str = "test") -> list[KeypointPair]:
    """PF-PASCAL (Ham et al. 2018) with the split of SCNet: SPLIT_pairs.csv, one row per pair.

    The rows of one list in use hold the points ("x;x;...", columns XA, YA, XB, YB;
    ignacio-rocco/ncnet), those of the other only names and the class, and the points are "kps" in
    Annotations/CLASS/NAME.mat, NaN where a point cannot be seen (juhongm999/hpf). Distances are
    compared with the longer side of the target image, as there with "--thres img".

    Raises:
        ValueError: a folder of another layout, or a list that is damaged.
    """
    listed = folder / f"{split}_pairs.csv"
    check_layout(folder, "PF-PASCAL", "JPEGImages", listed.name)
    pairs = []
    with reading(listed, "a list of pairs"), listed.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        try:
            names = Path(row["source_image"]).name, Path(row["target_image"]).name
            label = int(float(row["class"]))
            if not 1 <= label <= len(PF_PASCAL_CLASSES):
                raise ValueError(f"class {label}")
        except (KeyError, ValueError, OverflowError, TypeError) as error:
            raise ValueError(
                f"{listed}, row {number + 1}, is not of PF-PASCAL: it must have source_image, "
                f"target_image and class, 1 to {len(PF_PASCAL_CLASSES)}; got {row}"
            ) from error
        category = PF_PASCAL_CLASSES[label - 1]
        source, target = (folder / "JPEGImages" / name for name in names)
        pairs.append(
            KeypointPair(
                f"{number:06d}-{source.stem}-{target.stem}", category, source, target,
                _pf_pascal_reader(listed, folder / "Annotations" / category, row, source, target),
            )
        )  # fmt: skip
    some(pairs, folder, f"pairs in {listed.name}")
    return pairs


def _pf_pascal_reader(
    listed: Path, annotations: Path, row: dict[str, str], source: Path, target: Path
) -> Callable[[], Points]:
    def read() -> Points:
        if row.get("XA"):
            with reading(listed, f"a list with the points of {source.stem} and {target.stem}"):
                a, b = (
                    _centred(
                        list(zip(*(row[axis + side].split(";") for axis in "XY"), strict=True))
                    )
                    for side in "AB"
                )
        else:
            files = [annotations / f"{path.stem}.mat" for path in (source, target)]
            a, b = map(_points_in_mat, files)
            if len(a) != len(b):
                raise ValueError(f"{files[0]} has {len(a)} points and {files[1]} {len(b)}")
            seen = a.isfinite().all(1) & b.isfinite().all(1)
            a, b = a[seen], b[seen]
        size = max(_shape_of(target))
        with reading(listed, f"a list with the points of {source.stem} and {target.stem}"):
            return Points(a, b, float(size))

    return read


def _points_in_mat(path: Path) -> Tensor:
    """The points "kps" of a MATLAB file; NaN where one is not seen."""
    with reading(path, 'a MATLAB file with points "kps"'):
        return _centred(read_mat_matrix(path, "kps"))


def tss_pairs(folder: Path, every: int = 4) -> list[KeypointPair]:
    """TSS (Taniai et al. 2016): GROUP/PAIR with image1, image2, mask1, mask2 (.png), flow1, flow2.

    Both directions of each pair: flow1.flo goes from image1 to image2. Points are the pixels of the
    object (mask1) whose flow is known. Distances are compared with the longer side of the target
    image, of which the published figures take 0.05; those are means over the three groups
    (PruneTruong/DenseMatching, datasets/semantic_matching_datasets/tss.py).

    every: take each n-th pixel along both axes; 1 is the published protocol.

    Raises:
        ValueError: a folder of another layout.
    """
    groups = [name for name in ("FG3DCar", "JODS", "PASCAL") if (folder / name).is_dir()]
    if not groups:
        check_layout(folder, "TSS", "FG3DCar", "JODS", "PASCAL")
    pairs = []
    for group in groups:
        for one in sorted(path for path in (folder / group).iterdir() if path.is_dir()):
            for a, b in ((1, 2), (2, 1)):
                check_layout(one, "a pair of TSS", f"image{a}.png", f"mask{a}.png", f"flow{a}.flo")
                target = one / f"image{b}.png"
                pairs.append(
                    KeypointPair(
                        f"{group}/{one.name}/{a}to{b}", group, one / f"image{a}.png", target,
                        _tss_reader(one / f"flow{a}.flo", one / f"mask{a}.png", target, every),
                    )
                )  # fmt: skip
    some(pairs, folder, "pairs")
    return pairs


def _tss_reader(flow: Path, mask: Path, target: Path, every: int) -> Callable[[], Points]:
    def read() -> Points:
        moved = read_flo(flow)
        with opened_image(mask, kind="a mask") as opened:
            inside = torch.from_numpy(np.array(opened.convert("L")) > 127)
        if inside.shape != moved.shape[:2]:
            raise ValueError(
                f"{mask} has {tuple(inside.shape)} pixels and {flow.name} {tuple(moved.shape[:2])}"
            )
        known = inside & (moved.abs() < _UNKNOWN_FLOW).all(-1)
        rows, columns = torch.where(known[::every, ::every])
        rows, columns = rows * every, columns * every
        source = torch.stack([columns, rows], 1) + 0.5
        return Points(source, source + moved[rows, columns], float(max(_shape_of(target))))

    return read


def read_flo(path: Path) -> Float[Tensor, "h w 2"]:
    """A flow field in Middlebury's format: the number 202021.25, width, height, then (u, v) by row.

    Raises:
        ValueError: the file is damaged or of another format.
    """
    raw = path.read_bytes()
    shape = np.frombuffer(raw[4:12], "<i4") if len(raw) >= 12 else np.zeros(2)
    width, height = int(shape[0]), int(shape[1])
    values = len(raw) - 12
    if (
        len(raw) < 12
        or float(np.frombuffer(raw[:4], "<f4")[0]) != _FLO_MAGIC
        or min(width, height) < 1
        or values != 8 * width * height
    ):
        raise ValueError(f"{path} is not a whole flow field (.flo of Middlebury)")
    flow = np.frombuffer(raw[12:], "<f4").reshape(height, width, 2)
    return torch.from_numpy(flow.astype(np.float32))


def _centred(points: object) -> Tensor:
    """Pixels from 0 as places whose first pixel has its centre at 0.5."""
    with np.errstate(over="ignore"):  # what is too large is not finite
        found = np.asarray(points, dtype=np.float32)
    if found.ndim != 2 or found.shape[1] != 2 or len(found) == 0:
        raise ValueError(f"points are pairs of numbers; got an array of shape {found.shape}")
    return torch.from_numpy(found) + 0.5


def _shape_of(image: Path) -> tuple[int, int]:
    with opened_image(image) as opened:
        return opened.size
