"""`scorefield classify` and `rank`: any image, streams that resume, damaged files."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from untrained import untrained_shapes

from scorefield.cli import loading
from scorefield.cli.main import main
from scorefield.cli.perception.image_results import AT_ONCE, ImageResults
from scorefield.images import save_image
from scorefield.perception.fleet.work import ImageWork
from scorefield.priors.codec import PixelCodec
from scorefield.priors.exact.empirical import EmpiricalPrior
from scorefield.priors.features import memory
from scorefield.priors.prior import ImagePrior

Run = Callable[..., tuple[int, list[dict[str, object]]]]


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """A dark and a light image in the modes people have, and one that is turned by EXIF."""
    dark, light = np.full((20, 30), 30, np.uint8), np.full((20, 30), 220, np.uint8)
    Image.fromarray(dark).save(tmp_path / "dark-grey.png")
    Image.fromarray(light.astype(np.uint16) * 257).save(tmp_path / "light-16bit.png")
    rgba = np.dstack([dark, dark, dark, np.zeros_like(dark)])  # dark, but transparent: white
    Image.fromarray(rgba).save(tmp_path / "light-rgba.png")
    turned = Image.fromarray(dark)
    exif = turned.getexif()
    exif[274] = 6
    turned.save(tmp_path / "dark-turned.jpg", exif=exif)
    return sorted(path for path in tmp_path.iterdir())


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(20, 3, 8, 8, generator=generator) * 0.3
    pictures[10:] += 0.7
    exemplars = EmpiricalPrior(2 * pictures - 1, ["a dark"] * 10 + ["a light"] * 10)
    prior = ImagePrior(exemplars, PixelCodec(), image_size=8)
    monkeypatch.setattr(loading, "prior_of", lambda command: prior)
    out = tmp_path / "out" / "results.jsonl"

    def call(paths: list[Path], *options: str) -> tuple[int, list[dict[str, object]]]:
        words = [*map(str, paths), "--out", str(out), "--quiet", *options]
        command = ["rank"] if "--text" in options else ["classify", "--labels", "dark,light"]
        code = main([*command, *words])
        lines = out.read_text().splitlines() if code < 2 else []
        return code, [json.loads(line) for line in lines]

    return call


def test_images_of_any_mode(pictures: list[Path], run: Run) -> None:
    code, (settings, *rows) = run(pictures)
    assert code == 0 and settings["settings"]["prompts"]["dark"] == ["a dark"]  # type: ignore[index]
    for row in rows:
        assert row["label"] == Path(str(row["image"])).name.split("-")[0]
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-4)  # type: ignore[attr-defined]
        assert 0 < row["evaluations"] <= 64  # type: ignore[operator]


def test_rows_are_chosen_by_the_memory_and_change_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prior = untrained_shapes(tmp_path / "prior")
    image = save_image(tmp_path / "a.png", torch.full((3, 64, 64), 0.4))
    words = ["rank", str(image), "--text", "a red mushroom", "--draws", "4", "--json"]
    words += ["--prior", str(prior)]
    told = []
    for room, options in ((2**40, []), (3 * 2**20, []), (3 * 2**20, ["--batch-size", "5"])):
        monkeypatch.setattr(memory, "room_for_a_batch", lambda device, room=room: room)
        assert main([*words, *options]) == 0
        told.append(capsys.readouterr())
    found = [json.loads(one.out) for one in told]
    sizes = [one["batch_size"] for one in found]
    assert sizes[0] == 64 > sizes[1] and sizes[2] == 5
    assert f"{sizes[1]} rows in a pass, for which memory has room" in told[1].err
    scores = [one["results"][0]["score"] for one in found]
    assert scores == pytest.approx([scores[0]] * 3, rel=1e-4, abs=1e-4)


def test_a_damaged_image_is_reported_and_the_others_are_done(
    pictures: list[Path], run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(pictures[0].read_bytes()[:40])
    code, (_, *rows) = run([pictures[0], broken, *pictures[1:]])
    assert code == 1
    assert len(rows) == 5 and sum("error" in row for row in rows) == 1
    told = capsys.readouterr()
    assert "1 of 5 images" in told.err and "broken.png" in told.err
    assert "dark-grey.png: dark" in told.out


def test_a_run_that_was_interrupted_goes_on(
    pictures: list[Path], run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, whole = run(pictures)
    file = tmp_path / "out" / "results.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:3]) + lines[3][:20])  # cut off within a line
    assert run(pictures)[0] == 2
    assert "--resume" in capsys.readouterr().err
    code, again = run(pictures, "--resume")
    assert code == 0
    last = [{row["image"]: row for row in rows[1:]} for rows in (whole, again)]
    assert last[0] == last[1]
    assert run(pictures, "--resume", "--confidence", "0.5")[0] == 2
    assert "other settings" in capsys.readouterr().err


def test_resuming_keeps_the_company_of_each_image(pictures: list[Path], tmp_path: Path) -> None:
    """Rounding depends on what goes through the network together, here made as large as it gets."""
    (tmp_path / "a-broken.png").write_bytes(b"no image")
    paths = [tmp_path / "a-broken.png", *pictures, *pictures[:2]]
    paths += [Path(f"{path.parent}/./{path.name}") for path in pictures]

    def judge(images: torch.Tensor, items: list[int]) -> list[dict[str, object]]:
        return [{"company": sorted(items)} for _ in items]

    work = ImageWork(judge, {}, {}, torch.device("cpu"), 8, AT_ONCE)

    def stream(name: str, resume: bool = False) -> list[dict[str, object]]:
        results = ImageResults(tmp_path / name, {}, resume)
        results.stream(paths, work, quiet=True)
        return results.of(paths)[0]

    whole, lines = stream("whole.jsonl"), (tmp_path / "whole.jsonl").read_text().splitlines(True)
    for done in range(len(lines)):
        (tmp_path / "part.jsonl").write_text("".join(lines[: done + 1]) + "{")
        assert stream("part.jsonl", resume=True) == whole
    before = (tmp_path / "part.jsonl").read_text()
    stream("part.jsonl", resume=True)  # what is damaged still is not tried again
    assert (tmp_path / "part.jsonl").read_text() == before


def test_a_image_that_is_another_one_since_is_done_again(
    pictures: list[Path], run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    dark, *_, light = pictures
    assert run([dark, light])[0] == 0
    dark.write_bytes(light.read_bytes())
    capsys.readouterr()
    code, (_, *rows) = run([dark, light], "--resume")
    # those that go through the network together are done together
    assert code == 0 and [row["label"] for row in rows[2:]] == ["light", "light"]
    assert [row["image"] for row in rows] == [str(path) for path in (dark, light) * 2]
    assert f"{dark}: light" in capsys.readouterr().out
    dark.write_text("no image any more")
    assert run([dark, light], "--resume")[0] == 1
    assert "1 of 2 images" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--labels", "dark"], "two or more labels"),
        (["--template", "a thing"], "--template must hold {}"),
        (["--budget", "1"], "--budget must be at least 2"),
        (["--confidence", "1.5"], "confidence must lie in (0, 1)"),
        (["--labels", "dark,zebra"], "zebra"),
    ],
)
def test_refuses(
    pictures: list[Path],
    run: Run,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    assert run(pictures, *options)[0] == 2
    assert message in capsys.readouterr().err


def test_images_are_ranked_for_a_text(
    pictures: list[Path], run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The light ones first for a light, last for a dark; a damaged one is reported."""
    broken = tmp_path / "broken.png"
    broken.write_bytes(pictures[0].read_bytes()[:40])
    code, (settings, *rows) = run([broken, *pictures], "--text", "a light")
    assert code == 1 and settings["settings"]["text"] == "a light"  # type: ignore[index]
    assert len(rows) == 5 and "error" in rows[0]
    light = [row["score"] for row in rows[1:] if "light" in Path(str(row["image"])).name]
    dark = [row["score"] for row in rows[1:] if "dark" in Path(str(row["image"])).name]
    assert len(light) == len(dark) == 2
    assert min(light) > 0 > max(dark)  # type: ignore[type-var, operator]
    told = capsys.readouterr()
    first, second, *_ = told.out.splitlines()
    assert "light" in Path(first.split()[-1]).name and "light" in Path(second.split()[-1]).name
    assert "1 of 5 images" in told.err
    # what has a score is not scored again, and the settings must be the same
    code, again = run(pictures, "--text", "a light", "--resume")
    assert code == 0 and again[1:] == rows  # nothing was added
    assert run(pictures, "--text", "a dark", "--resume")[0] == 2
    assert "other settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--text", " "], "--text must say"),
        (["--text", "a light", "--draws", "1"], "--draws must be at least 2"),
        (["--text", "a zebra"], "zebra"),
    ],
)
def test_a_ranking_refuses(
    pictures: list[Path],
    run: Run,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    assert run(pictures, *options)[0] == 2
    assert message in capsys.readouterr().err
