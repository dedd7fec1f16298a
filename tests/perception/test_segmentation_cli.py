"""The verbs `segment` and `evaluate segmentation`, as a user runs them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scorefield.cli.main import main
from scorefield.images import save_image
from scorefield.perception.segmentation.presets import emerdiff_preset
from scorefield.perception.segmentation_evaluation import (
    SegmentationSettings,
    modes,
    parts_pictures,
    summary,
)
from scorefield.priors.loading import load_prior
from scorefield.priors.world import draw_scene, render


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    image = render([draw_scene(31, 0)]).images[0]
    return save_image(tmp_path / "object.png", image)


def test_segment_writes_labels_overlay_and_cells(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "found"
    grey = tmp_path / "grey.png"
    Image.fromarray(np.full((20, 30), 4000, dtype=np.uint16)).save(grey)
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(picture.read_bytes()[:100])
    words = ["segment", *map(str, (picture, damaged, grey)), "-k", "3", "--coarse", "--one-sided"]
    # a damaged picture is said and skipped, the others are done
    assert main([*words, "--out", str(out), "--json", "--quiet"]) == 1
    told = capsys.readouterr()
    assert "damaged.png" in told.err and "done in part: 1 of 3" in told.err
    rows = json.loads(told.out)["results"]
    assert "error" in rows[1] and rows[0]["evaluations"] > 5 * 4
    with Image.open(out / "object-labels.png") as labels:
        assert labels.mode == "P" and labels.size == (64, 64)
        values = np.array(labels)
    assert values.max() <= 2
    shares = np.bincount(values.ravel(), minlength=3) / values.size
    assert np.allclose(shares, rows[0]["shares"], atol=1e-4)
    with Image.open(out / "object-low-res.png") as cells:
        assert cells.size == (8, 8)
    with Image.open(out / "object-overlay.png") as overlay:
        assert overlay.size == (384, 384)
    with Image.open(out / "grey-labels.png") as labels:
        assert labels.size == (30, 20)
    assert json.loads((out / "segmentation.json").read_text())["results"] == rows


@pytest.mark.parametrize("method", ["kmeans", "ncut"])
def test_clusters_alone(
    method: str, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "found"
    words = ["segment", str(picture), "-k", "3", "--method", method, "--out", str(out), "--quiet"]
    assert main(words) == 0
    assert "3 regions" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-k", "0"], "--k must be at least 1"),
        (["-k", "300"], "at most 256"),
        (["--method", "kmeans", "--coarse"], "--coarse is not used by --method kmeans"),
        (["--method", "kmeans", "--log-snr", "0"], "--log-snr is not used by --method kmeans"),
        (["--method", "ncut", "--strength", "0"], "--strength is not used by --method ncut"),
        (["--layer", "up9"], "no layer 'up9'"),
        (["--modulated", "up2"], "the cross-attentions on the way up are up0.attentions.0"),
        (["--size", "70"], "multiple of 16 pixels"),
        (["--memory", "0.0001"], "or give more memory"),
        (["--log-snr", "99"], "log-SNR must lie in"),
    ],
)
def test_what_is_refused(
    words: list[str],
    said: str,
    picture: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "found"
    assert main(["segment", str(picture), "--out", str(out), *words]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_two_pictures_of_one_name(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = save_image(tmp_path / "other" / "object.png", torch.zeros(3, 8, 8))
    assert main(["segment", str(picture), str(other), "--out", str(tmp_path / "found")]) == 2
    assert "two pictures are named object" in capsys.readouterr().err


def test_judging_seeds_are_not_those_of_tuning() -> None:
    with pytest.raises(ValueError, match="seed 31 drew"):
        SegmentationSettings(seed=31)
    with pytest.raises(ValueError, match="at least 1"):
        SegmentationSettings(n=0)


def test_parts_are_classes_that_agree() -> None:
    pictures = parts_pictures(30, 2)
    assert [p.category for p in pictures[:4]] == ["boat", "boat", "chair", "chair"]
    for picture in pictures:
        assert int(picture.truth.min()) == 0 and int(picture.truth.max()) >= 1


def test_modes_differ_in_what_their_names_say() -> None:
    method = emerdiff_preset(load_prior("shapes"))
    found = [(m.steps, m.one_sided) for m in modes(method, 4).values()]
    assert found == [(method.steps, False), (method.steps, True), (4, False), (4, True)]
    assert list(modes(method, 4, exact=False)) == [
        "EmerDiff, coarse",
        "EmerDiff, coarse and one-sided",
    ]


def test_summary_by_hand() -> None:
    """Two categories of one picture, one part each: the background is a common class."""

    def row(category: str, inside: list[int], value: float) -> dict[str, object]:
        figures = {"miou": value, "many_to_one": value, "boundary_f": value, "evaluations": 3}
        own = {**figures, "counts": [inside, [10, 10]]}
        flat = {**figures, "miou": 0.0, "counts": [[5, 5], [10, 10]]}
        return {
            "category": category,
            "pictures": [{"EmerDiff": own, "bilinear": flat}],
            "shared": {"bilinear": value},
        }

    settings = SegmentationSettings(resamples=200)
    found = summary([row("a", [8, 2], 40.0), row("b", [6, 4], 60.0)], settings)
    value, low, high = found["judged"]["EmerDiff"]["miou"]
    assert (value, low, high) == (50, 40, 60)
    # background (8 + 6) / 20, the parts 2 / 10 and 4 / 10
    assert found["judged"]["EmerDiff"]["set_miou"][0] == pytest.approx(100 * 1.3 / 3, abs=0.01)
    assert found["gain"]["miou"] == [50, 40, 60]
    assert found["shared"] == {"bilinear": 50}


@pytest.mark.slow
def test_evaluation_resumes_to_the_same_figures(tmp_path: Path) -> None:
    words = ["evaluate", "segmentation", "-n", "1", "-k", "3", "--coarse", "1", "--quiet"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main([*words, "--out", str(whole)]) == 0
    lines = (whole / "categories.jsonl").read_text().splitlines(keepends=True)
    parts.mkdir()
    # stopped in the middle of the fourth category
    (parts / "categories.jsonl").write_text("".join(lines[:4]) + lines[4][:50])
    assert main([*words, "--out", str(parts)]) == 2
    assert main([*words, "--out", str(parts), "--resume"]) == 0
    assert (parts / "figures.json").read_text() == (whole / "figures.json").read_text()
    assert (parts / "sheet.png").stat().st_size > 0
    assert main([*words, "--seed", "32", "--out", str(parts), "--resume"]) == 1
