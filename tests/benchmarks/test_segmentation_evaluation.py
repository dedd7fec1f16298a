"""The evaluation of segmentation: its images, its means, and that it goes on."""

from pathlib import Path

import pytest
from parts import PROGRAM, Parts
from segmentation_evaluation import SegmentationSettings, modes, parts_images, summary

from scorefield.cli.main import run_command
from scorefield.perception.segmentation.presets import emerdiff_preset
from scorefield.priors.loading import load_prior


def run(words: list[str]) -> int:
    return run_command(lambda: Parts, words, PROGRAM)


def test_judging_seeds_are_not_those_of_tuning() -> None:
    with pytest.raises(ValueError, match="seed 31 drew"):
        SegmentationSettings(seed=31)
    with pytest.raises(ValueError, match="at least 1"):
        SegmentationSettings(n=0)


def test_parts_are_classes_that_agree() -> None:
    images = parts_images(30, 2)
    assert [p.category for p in images[:4]] == ["boat", "boat", "chair", "chair"]
    for image in images:
        assert int(image.truth.min()) == 0 and int(image.truth.max()) >= 1


def test_modes_differ_in_what_their_names_say() -> None:
    method = emerdiff_preset(load_prior("shapes"))
    found = [(m.steps, m.one_sided) for m in modes(method, 4).values()]
    assert found == [(method.steps, False), (method.steps, True), (4, False), (4, True)]
    assert list(modes(method, 4, exact=False)) == [
        "EmerDiff, coarse",
        "EmerDiff, coarse and one-sided",
    ]


def test_summary_by_hand() -> None:
    """Two categories of one image, one part each: the background is a common class."""

    def row(category: str, inside: list[int], value: float) -> dict[str, object]:
        metrics = {"miou": value, "many_to_one": value, "boundary_f": value, "evaluations": 3}
        own = {**metrics, "counts": [inside, [10, 10]]}
        flat = {**metrics, "miou": 0.0, "counts": [[5, 5], [10, 10]]}
        return {
            "category": category,
            "images": [{"EmerDiff": own, "bilinear": flat}],
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
    words = ["-n", "1", "-k", "3", "--coarse", "1", "--quiet"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run([*words, "--out", str(whole)]) == 0
    lines = (whole / "categories.jsonl").read_text().splitlines(keepends=True)
    parts.mkdir()
    # stopped in the middle of the fourth category
    (parts / "categories.jsonl").write_text("".join(lines[:4]) + lines[4][:50])
    assert run([*words, "--out", str(parts)]) == 2
    assert run([*words, "--out", str(parts), "--resume"]) == 0
    assert (parts / "metrics.json").read_text() == (whole / "metrics.json").read_text()
    assert (parts / "sheet.png").stat().st_size > 0
    assert run([*words, "--seed", "32", "--out", str(parts), "--resume"]) == 1
