"""The judge of labels, on drawn shapes that it has and has not seen."""

from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw

from scorefield.sds.label_judge import LabelJudge

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
