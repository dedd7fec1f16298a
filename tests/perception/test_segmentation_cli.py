"""The command `segment`, as a user runs it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from untrained import untrained_shapes

from scorefield.cli.main import main
from scorefield.images import save_image
from scorefield.world import draw_scene, render


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Words that ask for a prior of random weights."""
    torch.manual_seed(0)
    return ["--prior", str(untrained_shapes(tmp_path_factory.mktemp("prior") / "tiny"))]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    image = render([draw_scene(31, 0)]).images[0]
    return save_image(tmp_path / "object.png", image)


def test_segment_writes_labels_overlay_and_cells(
    prior: list[str], picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "found"
    grey = tmp_path / "grey.png"
    Image.fromarray(np.full((20, 30), 4000, dtype=np.uint16)).save(grey)
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(picture.read_bytes()[:100])
    words = ["segment", *map(str, (picture, damaged, grey)), "-k", "3", "--coarse", "--one-sided"]
    words += prior
    # a damaged image is said and skipped, the others are done
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
    method: str, prior: list[str], picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "found"
    words = ["segment", str(picture), "-k", "3", "--method", method, "--out", str(out), "--quiet"]
    assert main([*words, *prior]) == 0
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
    prior: list[str],
    picture: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "found"
    assert main(["segment", str(picture), "--out", str(out), *prior, *words]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_two_images_of_one_name(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = save_image(tmp_path / "other" / "object.png", torch.zeros(3, 8, 8))
    assert main(["segment", str(picture), str(other), "--out", str(tmp_path / "found")]) == 2
    assert "two images are named object" in capsys.readouterr().err


def test_resume_does_what_is_left(
    prior: list[str], picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, other = tmp_path / "found", tmp_path / "other.png"
    save_image(other, render([draw_scene(32, 0)]).images[0])
    words = ["segment", str(picture), str(other), "-k", "2", "--method", "kmeans", "--quiet"]
    words += prior
    assert main([*words, "--out", str(tmp_path / "whole")]) == 0
    words += ["--out", str(out), "--resume"]
    assert main([*words[:1], *words[2:]]) == 0  # one of them, as after a kill
    before = (out / "other-labels.png").stat().st_mtime_ns
    assert main(words) == 0
    assert (out / "other-labels.png").stat().st_mtime_ns == before
    for path in (tmp_path / "whole").glob("*.png"):
        assert (out / path.name).read_bytes() == path.read_bytes()
    capsys.readouterr()
    assert main([*words, "-k", "3"]) == 2
    assert "made with k = 2, now k = 3" in capsys.readouterr().err
