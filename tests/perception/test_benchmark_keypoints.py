"""Published benchmarks of correspondence: tiny folders in exactly their layouts, answers by hand.

Images are random colours, so that a pixel is known again by its own; the target is the source
moved by (3, 2). A descriptor that returns the image itself then finds every point exactly.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat
from torch import Tensor
from untrained import untrained_shapes

from scorefield.cli.main import main
from scorefield.images import save_image
from scorefield.perception.benchmarks.keypoint_evaluation import (
    KeptMaps,
    evaluate_keypoints,
    keypoint_metrics,
)
from scorefield.perception.benchmarks.keypoint_pairs import (
    pf_pascal_pairs,
    read_flo,
    spair_pairs,
    tss_pairs,
)
from scorefield.rows import RowStore

HEIGHT, WIDTH = 20, 30
MOVED = (3, 2)


def moved_images(source: Path, target: Path) -> None:
    """Two images in lossless files, the second the first moved by 3 right and 2 down."""
    generator = torch.Generator().manual_seed(0)
    first = torch.rand(3, HEIGHT, WIDTH, generator=generator)
    for path, image in ((source, first), (target, first.roll((MOVED[1], MOVED[0]), (1, 2)))):
        path.parent.mkdir(parents=True, exist_ok=True)
        save_image(path, image)


def itself(image: Tensor, _: str) -> Tensor:
    """A descriptor: the colours, less grey."""
    return image - 0.5


def spair(folder: Path, broken: bool = False) -> Path:
    """SPair-71k of one category, two pairs: 4 points of which 3 can be found, 1 of 1."""
    images = folder / "JPEGImages" / "cat"
    moved_images(images / "a.png", images / "b.png")
    where = folder / "PairAnnotation" / "test"
    where.mkdir(parents=True)
    right = [[4, 5], [10, 9], [20, 12]]
    ends = [[x + 3, y + 2] for x, y in right]
    pairs = {
        # the box is 20 by 10: within 0.1 is within 2 pixels; the last is annotated 5 pixels off
        "000001-a-b:cat": ([*right, [15, 3]], [*ends, [18, 10]]),
        # 2 pixels off, and so just within 0.1, but not within 0.05
        "000002-a-b:cat": ([[6, 6]], [[11, 8]]),
    }
    for name, (source, target) in pairs.items():
        about = {
            "src_imname": "a.png", "trg_imname": "b.png", "category": "cat",
            "src_kps": source, "trg_kps": target,
            "src_bndbox": [0, 0, 29, 19], "trg_bndbox": [2, 3, 22, 13],
        }  # fmt: skip
        (where / f"{name}.json").write_text(json.dumps(about))
    if broken:
        (images / "c.png").write_bytes((images / "a.png").read_bytes()[:60])
        about["src_imname"] = "c.png"
        (where / "000003-c-b:cat.json").write_text(json.dumps(about))
    return folder


def test_spair_by_hand(tmp_path: Path) -> None:
    pairs = spair_pairs(spair(tmp_path))
    metrics = keypoint_metrics(evaluate_keypoints(pairs, itself, RowStore(None, {}, ["pair"])))
    assert metrics["points"] == 5 and metrics["pairs"] == 2
    assert metrics["per_point"] == {"0.1": 4 / 5, "0.05": 3 / 5, "0.01": 3 / 5}
    assert metrics["per_image"] == {"0.1": 7 / 8, "0.05": 3 / 8, "0.01": 3 / 8}
    assert list(metrics["categories"]) == ["cat"] and metrics["unread"] == 0


@pytest.mark.parametrize("listed", [True, False], ids=["points in the list", "points in .mat"])
def test_pf_pascal_by_hand(listed: bool, tmp_path: Path) -> None:
    moved_images(tmp_path / "JPEGImages" / "a.png", tmp_path / "JPEGImages" / "b.png")
    # 30 pixels wide: within 0.1 is within 3; the second is annotated 4 off
    source, target = [(4, 5), (10, 9)], [(7, 7), (17, 11)]
    row = "PF-dataset-PASCAL/JPEGImages/a.png,PF-dataset-PASCAL/JPEGImages/b.png,8"
    head = "source_image,target_image,class"
    if listed:
        head += ",XA,YA,XB,YB"
        points = [[str(p[axis]) for p in side] for side in (source, target) for axis in (0, 1)]
        row += "," + ",".join(";".join(one) for one in points)
    else:
        folder = tmp_path / "Annotations" / "cat"
        folder.mkdir(parents=True)
        hidden = (np.nan, np.nan)  # of one image alone
        savemat(folder / "a.mat", {"kps": np.array([*source, (1.0, 1.0)])})
        savemat(folder / "b.mat", {"kps": np.array([*target, hidden])})
    (tmp_path / "test_pairs.csv").write_text(f"{head}\n{row}\n")
    pairs = pf_pascal_pairs(tmp_path)
    assert [pair.category for pair in pairs] == ["cat"]
    metrics = keypoint_metrics(evaluate_keypoints(pairs, itself, RowStore(None, {}, ["pair"])))
    assert metrics["points"] == 2
    assert metrics["per_point"] == {"0.1": 0.5, "0.05": 0.5, "0.01": 0.5}


def write_flo(path: Path, flow: np.ndarray) -> None:
    height, width = flow.shape[:2]
    head = np.array([202021.25], "<f4").tobytes() + np.array([width, height], "<i4").tobytes()
    path.write_bytes(head + flow.astype("<f4").tobytes())


def test_tss_by_hand(tmp_path: Path) -> None:
    pair = tmp_path / "JODS" / "one"
    moved_images(pair / "image1.png", pair / "image2.png")
    mask = torch.zeros(3, HEIGHT, WIDTH)
    mask[:, 4:12, 8:20] = 1
    for which, sign in ((1, 1), (2, -1)):
        save_image(pair / f"mask{which}.png", mask)
        flow = np.full((HEIGHT, WIDTH, 2), np.array(MOVED) * sign, dtype=np.float32)
        flow[4, 8] = 1e10  # unknown: counts nowhere
        flow[8:12, :, 0] += 5  # half of the object is annotated 5 of 30 pixels off
        write_flo(pair / f"flow{which}.flo", flow)
    assert read_flo(pair / "flow1.flo")[0, 0].tolist() == list(MOVED)
    pairs = tss_pairs(tmp_path, every=1)
    assert [one.name for one in pairs] == ["JODS/one/1to2", "JODS/one/2to1"]
    metrics = keypoint_metrics(evaluate_keypoints(pairs, itself, RowStore(None, {}, ["pair"])))
    assert metrics["points"] == 2 * (8 * 12 - 1)
    assert metrics["per_point"]["0.05"] == pytest.approx(47 / 95)
    assert len(tss_pairs(tmp_path, every=4)[0].read().source) == 2 * 3 - 1


def test_maps_of_images_are_shared_within_the_memory(tmp_path: Path) -> None:
    moved_images(tmp_path / "a.png", tmp_path / "b.png")
    made = []

    def describe(image: Tensor, category: str) -> Tensor:
        made.append(category)
        return image

    one = 3 * HEIGHT * WIDTH * 4 / 2**30
    for memory, times in ((2 * one, 2), (one, 4)):
        made.clear()
        maps = KeptMaps(describe, memory)
        for name in "abab":
            assert maps(tmp_path / f"{name}.png", "cat")[1] == (HEIGHT, WIDTH)
        assert len(made) == times


def test_the_command_skips_what_is_damaged_and_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    data, prior = spair(tmp_path / "data", broken=True), untrained_shapes(tmp_path / "p")
    out = tmp_path / "out"
    words = ["evaluate", "correspondence", "--data", "spair", str(data), "--out", str(out),
             "--prior", str(prior), "--quiet", "--device", "cpu"]  # fmt: skip
    assert main([*words, "-n", "1"]) == 0
    before = (out / "pairs.jsonl").read_text()
    assert main([*words, "--resume", "--json"]) == 1
    told = capsys.readouterr()
    assert "1 of 3 pairs could not be read: 000003-c-b:cat" in told.err
    assert (out / "pairs.jsonl").read_text().startswith(before)
    page = (out / "report.html").read_text()
    assert "Tang et al. 2023" in page and "000003-c-b:cat" in page
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["points"] == 5 and metrics["unread"] == 1
    assert main([*words, "--resume", "--seed", "1"]) == 2
    assert "seed = 0, now seed = 1" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["spair", "pf-pascal", "tss"])
def test_another_layout_is_refused_with_what_was_found(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data" / "images").mkdir(parents=True)
    words = ["evaluate", "correspondence", "--data", name, str(tmp_path / "data")]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    assert "missing; it holds images/" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_damaged_annotations_are_named(tmp_path: Path) -> None:
    folder = spair(tmp_path)
    damaged = next((folder / "PairAnnotation" / "test").iterdir())
    damaged.write_text("{}")
    with pytest.raises(ValueError, match=r"an annotation of SPair-71k \(KeyError"):
        spair_pairs(folder)
    flow = tmp_path / "flow.flo"
    flow.write_bytes(b"PIEH")
    with pytest.raises(ValueError, match="not a whole flow field"):
        read_flo(flow)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("trg_kps", [[4, 5]], "points"),
        ("trg_kps", [[float("nan"), 5]] * 4, "finite"),
        ("src_kps", [4, 5, 6], "pairs of numbers"),
        ("trg_bndbox", [3, 3, 3, 3], "size"),
        ("src_imname", None, "TypeError"),
    ],
)
def test_annotations_that_cannot_be_are_refused(
    key: str, value: object, told: str, tmp_path: Path
) -> None:
    path = sorted((spair(tmp_path) / "PairAnnotation" / "test").iterdir())[0]
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(ValueError, match=told) as error:
        spair_pairs(tmp_path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("label", ["0", "21", "inf", "cat"])
def test_classes_that_pf_pascal_has_not(label: str, tmp_path: Path) -> None:
    moved_images(tmp_path / "JPEGImages" / "a.png", tmp_path / "JPEGImages" / "b.png")
    listed = tmp_path / "test_pairs.csv"
    listed.write_text(f"source_image,target_image,class\na.png,b.png,{label}\n")
    with pytest.raises(ValueError, match="row 1, is not of PF-PASCAL"):
        pf_pascal_pairs(tmp_path)


def test_a_damaged_mat_file_is_named(tmp_path: Path) -> None:
    moved_images(tmp_path / "JPEGImages" / "a.png", tmp_path / "JPEGImages" / "b.png")
    listed = tmp_path / "test_pairs.csv"
    listed.write_text("source_image,target_image,class\na.png,b.png,8\n")
    path = tmp_path / "Annotations" / "cat" / "a.mat"
    path.parent.mkdir(parents=True)
    savemat(path, {"other": np.zeros(2)})
    (row,) = evaluate_keypoints(pf_pascal_pairs(tmp_path), itself, RowStore(None, {}, ["pair"]))
    assert f"{path}: cannot be read as a MATLAB file" in row["error"]
