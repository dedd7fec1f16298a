"""The judge of labels, on drawn shapes that it has and has not seen."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from scorefield.sds.label_judge import _PENALTIES, LabelJudge, _folds, _head, _penalty
from scorefield.training.folder import CaptionedImage

SHAPES = ("disc", "square", "hot star", "star")


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> LabelJudge:
    folder = tmp_path_factory.mktemp("labels")
    for label in SHAPES:
        for number, color in enumerate(("crimson", "navy", "seagreen")):
            path = folder / label.replace(" ", "_") / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            _draw(label, color).save(path)
    return LabelJudge.train(folder, views=3)


@pytest.mark.parametrize("label", SHAPES)
def test_names_images_in_a_colour_it_has_not_seen(judge: LabelJudge, label: str) -> None:
    picture = Image.new("RGB", (96, 96), "white")
    drawn = _draw(label, "darkorange")
    picture.paste(drawn, mask=drawn)
    pixels = torch.tensor(list(picture.tobytes())).view(1, 96, 96, 3).permute(0, 3, 1, 2) / 255
    assert judge.look(pixels, f"a {label}").retrieved == [True]
    assert judge.scores(pixels).shape == (1, 4)
    others = [other for other in SHAPES if other != label]
    assert not any(judge.look(pixels, f"a {other}").retrieved[0] for other in others)


def test_a_prompt_names_its_longest_label(judge: LabelJudge) -> None:
    assert judge.label_of("a red Hot Star, front view") == "hot star"
    assert judge.label_of("one star") == "star"


@pytest.mark.parametrize("prompt", ["a starling", "a disc and a square"])
def test_a_prompt_must_name_one_label(judge: LabelJudge, prompt: str) -> None:
    with pytest.raises(ValueError, match="name exactly one"):
        judge.check(prompt)


def test_one_label_is_no_choice(tmp_path: Path) -> None:
    (tmp_path / "disc").mkdir()
    _draw("disc", "navy").save(tmp_path / "disc" / "a.png")
    with pytest.raises(ValueError, match="two folders"):
        LabelJudge.train(tmp_path)


def test_views_of_one_thing_do_not_choose_the_penalty() -> None:
    """Where views of a thing are nearly one, only other things tell what helps with others."""
    rng = np.random.default_rng(0)
    labels, things, views, width = 4, 6, 16, 64
    means = 0.4 * rng.standard_normal((labels, width))

    def drawn() -> tuple[np.ndarray, np.ndarray, list[CaptionedImage]]:
        rows, targets, pictures = [], [], []
        for label in range(labels):
            for thing in range(things):
                centre = means[label] + rng.standard_normal(width)
                for view in range(views):
                    rows.append(centre + 0.05 * rng.standard_normal(width))
                    targets.append(label)
                    path = Path(f"label {label}") / f"{thing:03d}-{view:02d}.png"
                    pictures.append(CaptionedImage(path, ("a thing",)))
        return np.array(rows), np.array(targets), pictures

    rows, targets, pictures = drawn()
    others, of_others, _ = drawn()
    folds = _folds(pictures)
    assert [set(folds[i : i + views]) for i in range(0, 6 * views, views)] == [
        {0}, {1}, {2}, {3}, {4}, {0},
    ]  # fmt: skip
    chosen = _penalty(rows, targets, folds)

    def right(penalty: float) -> float:
        return float((_head(rows, targets, penalty).predict(others) == of_others).mean())

    assert right(chosen) == max(right(penalty) for penalty in _PENALTIES)
    assert right(chosen) > right(1.0) + 0.05


def test_things_by_their_names() -> None:
    def folds(*names: str) -> list[int]:
        return _folds([CaptionedImage(Path(name), ("a thing",)) for name in names]).tolist()

    assert folds("a/1.png", "a/2.png", "b/1.png", "b/2.png") == [0, 1, 0, 1]
    assert folds("a/7-1.png", "a/7-2.png", "a/8-1.png") == [0, 0, 1]
    assert folds("a/fox-1.png", "a/fox-2.png") == [0, 1]  # numbered, and not of one thing
    assert folds("a/1.png", "b/1.png", "b/2.png") == [-1, 0, 1]
    rows, targets = np.eye(2), np.array([0, 1])
    assert _penalty(rows, targets, np.array([-1, -1])) == 100.0  # nothing to choose it by


def _draw(label: str, color: str) -> Image.Image:
    """A shape on nothing."""
    image = Image.new("RGBA", (96, 96), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    match label:
        case "disc":
            draw.ellipse((12, 12, 84, 84), fill=color)
        case "square":
            draw.rectangle((14, 14, 82, 82), fill=color)
        case _:
            points = [(48, 6), (58, 38), (92, 38), (64, 58), (76, 90), (48, 70), (20, 90)]
            points += [(32, 58), (4, 38), (38, 38)]
            draw.polygon(points, fill=color)
            if label == "hot star":
                draw.ellipse((30, 30, 66, 66), fill="yellow")
    return image
