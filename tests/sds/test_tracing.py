"""Tracing: exact figures come back, and no line of the ground shows between layers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.cli.main import main
from scorefield.images import save_image
from scorefield.sds.svg.economy import economy
from scorefield.sds.svg.resvg import render_with_resvg
from scorefield.sds.tracing import TraceSettings, trace_image
from scorefield.sds.tracing.clean_file import clean_svg
from scorefield.sds.tracing.colour_names import colour_name
from scorefield.sds.tracing.curves import fit_loop
from scorefield.sds.tracing.palette import _flatness, _plateaus
from scorefield.sds.tracing.polish import polish
from scorefield.sds.vector import (
    Circle,
    Document,
    LinearGradient,
    Shape,
    ViewBox,
    parse_svg,
)

PLAIN = TraceSettings(polish_steps=0, side=256)


def paint(
    *areas: tuple[Tensor, tuple[float, float, float]], size: int = 64
) -> Float[Tensor, "3 size size"]:
    """An image on white of coverages, one over the other, each in its colour."""
    image = torch.ones(3, size, size)
    for coverage, colour in areas:
        ink = torch.tensor(colour)[:, None, None]
        image = image * (1 - coverage) + ink * coverage
    return image


def disc(x: float, y: float, radius: float, size: int = 64) -> Tensor:
    """How much of each pixel a disc covers, to a hundredth of it."""
    fine = (torch.arange(size * 8) + 0.5) / 8
    inside = ((fine[None] - x) ** 2 + (fine[:, None] - y) ** 2) <= radius**2
    return inside.float().view(size, 8, size, 8).mean((1, 3))


def box(left: int, top: int, right: int, bottom: int, size: int = 64) -> Tensor:
    """Coverage of a rectangle of whole pixels."""
    area = torch.zeros(size, size)
    area[top:bottom, left:right] = 1
    return area


def test_a_rectangle_keeps_its_four_corners() -> None:
    (shape,) = trace_image(paint((box(20, 16, 40, 48), (1.0, 0.2, 0.1))), PLAIN).shapes()
    expected = {(80, 64), (160, 64), (160, 192), (80, 192)}
    assert {tuple(p) for p in shape.geometry.points().round().int().tolist()} == expected
    assert shape.name == "red"


def test_a_disc_becomes_a_circle() -> None:
    (shape,) = trace_image(paint((disc(30.5, 32, 20), (0.9, 0.5, 0.1))), PLAIN).shapes()
    assert isinstance(shape.geometry, Circle)
    # a tenth of a pixel of the image is 0.4 units
    assert shape.geometry.centre.tolist() == pytest.approx([122, 128], abs=0.4)
    assert float(shape.geometry.radius) == pytest.approx(80, abs=0.8)


def test_a_thin_bar_becomes_a_stroke() -> None:
    (shape,) = trace_image(paint((box(8, 30, 56, 33), (0.1, 0.1, 0.1))), PLAIN).shapes()
    assert shape.fill is None and shape.stroke is not None
    assert float(shape.stroke.width) == pytest.approx(12, abs=2)


def test_a_soft_border_becomes_one_gradient() -> None:
    ramp = torch.linspace(0, 1, 48)[None].expand(40, 48)
    image = torch.ones(3, 64, 64)
    image[:, 12:52, 8:56] = torch.stack([0.1 + 0.5 * ramp, 0.3 + 0.4 * ramp, 0.9 + 0 * ramp])
    (shape,) = trace_image(image, PLAIN).shapes()
    assert isinstance(shape.fill, LinearGradient)
    left, right = sorted(shape.fill.colours[:, 0].tolist())
    assert left == pytest.approx(0.1, abs=0.08) and right == pytest.approx(0.6, abs=0.08)


def test_nothing_is_transparent_and_no_ground_shows_between_layers() -> None:
    red, green, blue = (0.9, 0.1, 0.1), (0.1, 0.6, 0.2), (0.1, 0.2, 0.8)
    image = paint((box(8, 8, 56, 56), red), (box(8, 32, 56, 56), green), (disc(32, 32, 8), blue))
    document = trace_image(image, PLAIN)
    assert len(list(document.shapes())) == 3
    drawn = document.render(256, 256)
    assert float(drawn[3, 40:216, 40:216].min()) > 0.999


def test_the_polish_finds_the_place_and_colour_of_a_shape() -> None:
    image = paint((disc(32, 32, 20), (0.9, 0.5, 0.1)))
    circle = Circle(torch.tensor([126.0, 130.0]), torch.tensor(77.0))
    colour = torch.tensor([0.85, 0.5, 0.15, 1.0])
    document = Document([Shape(circle, fill=colour)], ViewBox(0, 0, 256, 256))
    polish(document, image, 60)
    assert circle.centre.tolist() == pytest.approx([128, 128], abs=0.5)
    assert float(circle.radius.detach()) == pytest.approx(80, abs=0.5)
    assert colour.tolist() == pytest.approx([0.9, 0.5, 0.1, 1], abs=0.02)


def test_the_ground_is_drawn_only_when_asked_for_or_coloured() -> None:
    image = paint((disc(32, 32, 20), (0.9, 0.5, 0.1)))
    assert len(list(trace_image(image, PLAIN).shapes())) == 1
    asked = TraceSettings(polish_steps=0, background=True)
    assert next(trace_image(image, asked).shapes()).name == "background"
    blue = paint((box(0, 0, 64, 64), (0.2, 0.4, 0.9)), (disc(32, 32, 20), (0.9, 0.5, 0.1)))
    assert next(trace_image(blue, PLAIN).shapes()).name == "background"


@pytest.mark.parametrize(
    ("panel", "ink"), [("fef3c7", "222222"), ("eeeeee", "8f8f8f"), ("f5f5f5", "222222")]
)
def test_a_pale_panel_on_white_keeps_its_place_and_colour(panel: str, ink: str) -> None:
    colours = [torch.tensor(list(bytes.fromhex(one))) / 255 for one in (panel, ink)]
    image = torch.ones(3, 64, 64)
    image[:, 8:57, 8:57] = colours[0][:, None, None]
    image[:, 24:40, 24:40] = colours[1][:, None, None]
    document = trace_image(image)
    shapes = list(document.shapes())
    assert len(shapes) == 2
    drawn = document.render(64, 64, torch.ones(3))
    assert (drawn - image).abs().mean() < 0.004


def test_the_colours_of_a_soft_shade_are_no_plateaus() -> None:
    shade = torch.linspace(0.4, 1.0, 64).expand(3, 64, 64)
    pixels = shade.permute(1, 2, 0).double().numpy()
    assert _plateaus(pixels, _flatness(pixels)) == []


def test_a_step_that_leads_all_out_of_sight_is_no_end() -> None:
    """Its loss has no gradient; the search goes back."""
    circle = Circle(torch.tensor([900.0, 900.0]), torch.tensor(50.0))
    document = Document([Shape(circle, fill=torch.zeros(3))], ViewBox(0, 0, 64, 64))
    polish(document, torch.ones(3, 64, 64), 5)
    assert circle.centre.tolist() == [900, 900]


def test_an_outline_without_corners_is_within_the_tolerance() -> None:
    t = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    loop = np.stack([100 + 60 * np.cos(t), 100 + (40 + 8 * np.sin(2 * t)) * np.sin(t)], axis=1)
    points, inner = fit_loop(loop, 1.0)
    ring = [*range(len(points)), 0]
    curve, at = [], np.linspace(0, 1, 400)[:, None]
    for number in range(len(inner)):
        p = points[ring[3 * number : 3 * number + 4]]
        curve.append(
            (1 - at) ** 3 * p[0] + 3 * at * (1 - at) ** 2 * p[1]
            + 3 * at**2 * (1 - at) * p[2] + at**3 * p[3]
        )  # fmt: skip
    gaps = np.linalg.norm(loop[:, None] - np.concatenate(curve)[None], axis=-1).min(1)
    assert set(inner) == {2} and gaps.max() < 1.1 and len(inner) <= 12


def test_short_paths_read_back_within_a_twentieth() -> None:
    text = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100"><path fill="#ff0000" '
        'd="M 10.5 20 C 10.55 0.5 -3 4 5 6 Q 1 2 -3.01 4 Z M 1 2 L 3 0.42 L 5 0 Z"/></svg>'
    )
    document = parse_svg(text)
    short = clean_svg(document, "a <fox>")
    assert "<title>a &lt;fox&gt;</title>" in short
    (before,), (after,) = document.shapes(), parse_svg(short).shapes()
    torch.testing.assert_close(
        after.geometry.points(), before.geometry.points(), atol=0.0501, rtol=0
    )


@pytest.mark.parametrize(
    ("rgb", "name"), [((1, 1, 1), "white"), ((0.9, 0.2, 0.2), "red"), ((0.55, 0.35, 0.2), "brown")]
)
def test_names_of_colours(rgb: tuple[float, float, float], name: str) -> None:
    assert colour_name(rgb) == name


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = save_image(tmp_path / "red_disc.png", paint((disc(32, 32, 20), (0.9, 0.1, 0.1))))
    out = tmp_path / "disc.svg"
    assert main(["trace", str(image), "--out", str(out), "--polish-steps", "2"]) == 0
    text = out.read_text()
    assert "<title>red disc</title>" in text and "<circle" in text and 'id="red"' in text
    assert "<rect" not in text
    assert main(["trace", str(image), "--out", str(tmp_path / "disc.png")]) == 2
    assert "--out must end in .svg" in capsys.readouterr().err
    assert main(["trace", str(tmp_path / "no.png"), "--out", str(out)]) == 2


def test_images_too_small_to_trace_are_refused() -> None:
    with pytest.raises(ValueError, match="8 pixels"):
        trace_image(torch.ones(3, 7, 64), PLAIN)


def test_a_file_has_its_palette_as_classes_and_reads_back_the_same() -> None:
    red, blue = (0.9, 0.1, 0.1), (0.15, 0.45, 0.9)
    image = paint((box(4, 4, 60, 60), blue), (disc(20, 32, 8), red), (disc(44, 32, 8), red))
    document = trace_image(image, PLAIN)
    text = clean_svg(document, "two discs")
    assert text.count("#e61a1a") == 1 and ".red{fill:" in text  # both discs have it from there
    assert '<g id="red" class="red">' in text and text.count('class="blue"') == 1
    assert "<desc>3 shapes in blue, red</desc>" in text
    again = parse_svg(text)
    # half of a tenth of a unit moves an edge by 0.025 of these pixels; colours have 8 bits
    torch.testing.assert_close(again.render(128, 128), document.render(128, 128), atol=0.03, rtol=0)
    resvg = render_with_resvg(text, 64)
    torch.testing.assert_close(resvg, image, atol=0.25, rtol=0)
    assert (resvg - image).abs().mean() < 0.005


def test_no_more_shapes_than_asked_for_the_plainest_stay() -> None:
    dots = [(disc(x, 32, 4 + x / 16), (0.1, 0.1, 0.1)) for x in (12, 30, 50)]
    image = paint((box(2, 2, 62, 62), (0.9, 0.8, 0.2)), *dots)
    few = trace_image(image, TraceSettings(polish_steps=0, side=256, paths=3))
    assert len(list(few.shapes())) == 3
    assert [
        round(float(s.geometry.centre[0]) / 4)
        for s in few.shapes()
        if isinstance(s.geometry, Circle)
    ] == [50, 30]  # the smallest dot went


@pytest.mark.parametrize("polish_steps", [0, 20])
def test_what_is_faint_is_left_out(polish_steps: int) -> None:
    """A spot of 20 pixels, 0.4 from its ground in OKLab: an area times change of about 8."""
    red, yellow = (0.80, 0.15, 0.15), (0.95, 0.85, 0.20)
    image = paint((box(16, 16, 48, 48), red), (box(30, 30, 35, 34), yellow))
    for faint, shapes in ((0.3, 2), (12.0, 1)):
        settings = TraceSettings(faint=faint, polish_steps=polish_steps)
        assert len(list(trace_image(image, settings).shapes())) == shapes


def test_what_is_counted_of_a_drawing() -> None:
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 10">'
    text = (
        f'{head}<rect id="background" width="10" height="10" fill="#fff"/>'
        '<rect x="0" width="4" height="4" fill="red"/><g opacity=".5">'
        '<path d="M4 0h4v8h-4z" fill="blue"/></g><path d="M4 4h4v4h-4z" fill="lime"/></svg>'
    )
    found = economy(text)
    assert (found["paths"], found["nodes"], found["bytes"]) == (3, 12, len(text))
    assert found["half_ink"] == pytest.approx(1 / 3, abs=0.02)  # 16 of 48 square units
