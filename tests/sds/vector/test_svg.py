import contextlib
import io
import time
import warnings
from pathlib import Path as FilePath

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from scorefield.sds.vector import (
    Circle,
    DiffvgRasterise,
    Document,
    Group,
    Path,
    Shape,
    ViewBox,
    load_svg,
    parse_svg,
    svg_read,
    svg_text,
)
from scorefield.sds.vector.geometry import Subpath
from scorefield.sds.vector.path_data import format_path, parse_path
from scorefield.sds.vector.reading.colour import parse_colour
from scorefield.sds.vector.reading.values import (
    View,
    parse_length,
    parse_numbers,
    parse_transform,
)

resvg_py = pytest.importorskip("resvg_py")
FILES = sorted((FilePath(__file__).parent / "data").glob("*.svg"))
HEAD = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 10">'


def resvg(text: str, size: int = 256) -> Tensor:
    """Premultiplied RGBA (4, H, W) by the reference renderer."""
    png = resvg_py.svg_to_bytes(
        svg_string=text, width=size, height=size, dpi=96, skip_system_fonts=True
    )
    pixels = np.array(Image.open(io.BytesIO(bytes(png))).convert("RGBA"))
    image = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
    return torch.cat([image[:3] * image[3:], image[3:]])


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_same_image_as_resvg_before_and_after_saving(path: FilePath, tmp_path: FilePath) -> None:
    document = load_svg(path)
    seen = document.render(256, 256)
    assert (seen - resvg(path.read_text())).abs().mean() < 0.01
    saved = document.save(tmp_path / "a.svg")
    assert (seen - resvg(saved.read_text())).abs().mean() < 0.01
    again = load_svg(saved).save(tmp_path / "b.svg")
    assert again.read_bytes() == saved.read_bytes()


def numbers() -> st.SearchStrategy[float]:
    return st.floats(-1e4, 1e4, width=32).map(lambda x: float(f"{x:.6g}"))


SEGMENTS = st.tuples(st.lists(st.integers(0, 2), min_size=1, max_size=4), st.booleans())


@settings(max_examples=60, deadline=None)
@given(st.lists(SEGMENTS, min_size=1, max_size=3), st.data())
def test_written_paths_come_back(kinds: list[tuple[list[int], bool]], data: st.DataObject) -> None:
    lengths = [sum(inner) + len(inner) + (not closed) for inner, closed in kinds]
    count = 2 * sum(lengths)
    values = data.draw(st.lists(numbers(), min_size=count, max_size=count))
    subpaths = [Subpath(tuple(inner), closed) for inner, closed in kinds]
    path = Path(torch.tensor(values).view(-1, 2), subpaths)

    def number(x: float) -> str:
        return f"{x + 0.0:.6g}"  # -0 is read as 0

    text = format_path(path, number)
    back = parse_path(text)
    assert format_path(back, number) == text


@pytest.mark.parametrize(
    "data, points, subpaths",
    [
        ("M1 2L3 4", [[1, 2], [3, 4]], [Subpath((0,))]),
        ("m1,2 2 2h1v-1z", [[1, 2], [3, 4], [4, 4], [4, 3]], [Subpath((0,) * 4, True)]),
        ("M0 0C1 0 2 1 2 2S1 5 0 0Z", None, [Subpath((2, 2), True)]),
        ("M0 0q1 1 2 0t2 0", [[0, 0], [1, 1], [2, 0], [3, -1], [4, 0]], [Subpath((1, 1))]),
        ("M.5.5-1-1e0", [[0.5, 0.5], [-1, -1]], [Subpath((0,))]),
        ("M1 1zl2 0", [[1, 1], [1, 1], [3, 1]], [Subpath((0,), True), Subpath((0,))]),
        ("M5 5", [], []),
    ],
)
def test_path_data(data: str, points: list | None, subpaths: list[Subpath]) -> None:
    path = parse_path(data)
    assert list(path.subpaths) == subpaths
    if points is not None:
        torch.testing.assert_close(path.vertices, torch.tensor(points).float().view(-1, 2))


def test_arcs_lie_on_their_circle() -> None:
    path = parse_path("M0 0a5 5 0 1110 0")
    anchors = path.vertices[::3]
    torch.testing.assert_close((anchors - torch.tensor([5.0, 0.0])).norm(dim=1), 5 * torch.ones(3))


@pytest.mark.parametrize("data", ["L1 1", "M1", "M0 0 A1 1 0 2 0 1 1", "M0 0 L1e99 0", "M0 0 x"])
def test_broken_path_data_is_refused_with_the_place(data: str) -> None:
    with pytest.raises(ValueError, match="at character"):
        parse_path(data)


def test_values() -> None:
    view = View(8.0, 4.0, (200.0, 100.0))
    for text, pixels in (("1in", 96), ("50%", 4), ("2em", 20), ("5vw", 10), ("1e1vmin", 10)):
        assert view.pixels(parse_length(text), 8.0, em=10.0) == pixels
    assert parse_numbers("1-2.5.5,3e1 -.5") == [1, -2.5, 0.5, 30, -0.5]
    assert parse_colour("#f00") == (1, 0, 0, 1) and parse_colour("rgba(0,0,255,.5)")[3] == 0.5
    assert parse_transform("translate(3) rotate(0)").tolist() == [[1, 0, 3], [0, 1, 0]]
    for bad in ("bleu", "#12", "rgb(1)"):
        with pytest.raises(ValueError, match="not a CSS colour"):
            parse_colour(bad)
    flipped = parse_transform("matrix(1 0 0-1 0 200)")
    assert flipped is not None and flipped.tolist() == [[1, 0, 0], [0, -1, 200]]
    with pytest.raises(ValueError, match="not a number"):
        parse_length("3furlongs")


@pytest.mark.parametrize(
    "text, message",
    [
        ('<!DOCTYPE svg [<!ENTITY a "&#38;b;"><!ENTITY b "c">]>' + HEAD + "</svg>", "entities"),
        ('<!DOCTYPE svg [<!ENTITY % a "b">]>' + HEAD + "</svg>", "entities"),
        ('<!DOCTYPE svg [<!ENTITY a SYSTEM "/etc/passwd">]>' + HEAD + "&a;</svg>", "refused"),
        (HEAD + '<use href="other.svg#a"/></svg>', "same file"),
        (HEAD + '<rect width="1" height="1" fill="url(http://a/b#c)"/></svg>', "only #ids"),
        (HEAD + "<style>@import url(a.css);</style></svg>", "other files"),
        (HEAD + '<g id="a"><use href="#a"/></g></svg>', "ring"),
        (HEAD + "<g>" * 150 + "</g>" * 150 + "</svg>", "nested"),
        (HEAD + '<circle r="1e999"/></svg>', "not below"),
        ("<html/>", "not <svg>"),
        ("<svg>", "well-formed"),
        ("<svg/>", "neither a viewBox"),
    ],
)
def test_unsafe_and_broken_files_are_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse_svg(text)
    assert "\n" not in str(caught.value)


def test_links_that_double_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svg_read, "MOST_ELEMENTS", 2000)
    rows = [
        f'<g id="a{i}"><use href="#a{i - 1}"/><use href="#a{i - 1}"/></g>' for i in range(1, 30)
    ]
    text = HEAD + '<defs><rect id="a0" width="1" height="1"/>' + "".join(rows)
    with pytest.raises(ValueError, match="more than 2000 elements"):
        parse_svg(text + '</defs><use href="#a29"/></svg>')


def test_links_that_repeat_a_long_path_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The path would be read once for each link to it."""
    monkeypatch.setattr(svg_read, "MOST_BYTES", 3000)
    text = HEAD + f'<defs><path id="a" d="M0 0{"L1 1" * 100}"/></defs>'
    once, often = text + '<use href="#a"/></svg>', text + '<use href="#a"/>' * 10 + "</svg>"
    assert len(list(parse_svg(once).shapes())) == 1
    assert len(often) < 3000
    with pytest.raises(ValueError, match="letters once links are followed"):
        parse_svg(often)


@pytest.mark.parametrize(
    "text",
    [
        "<style>{}</style>",
        '<rect width="1" height="1" style="{}"/>',
        '<rect width="1" height="1" fill="{}"/>',
        '<rect width="1" height="1" transform="{}"/>',
        '<rect width="{}" height="1"/>',
        '<path d="{}"/>',
    ],
)
@pytest.mark.parametrize(
    "start, again, end",
    [("", "/*", ""), ("", "a", ""), ("url(", " ", "x"), ("1", "1", "!"), ("1", " ", "!")],
)
def test_no_text_takes_time_out_of_proportion(text: str, start: str, again: str, end: str) -> None:
    """100,000 letters that patterns may be tried on in many ways: read or refused within 2 s.

    In proportion it is some 10 ms; quadratic, a minute and more.
    """
    before = time.process_time()
    attack = text.replace("{}", start + again * 100_000 + end)
    with warnings.catch_warnings(), contextlib.suppress(ValueError):
        warnings.simplefilter("ignore")
        parse_svg(HEAD + attack + "</svg>")
    assert time.process_time() - before < 2


def test_style_sheets_cascade() -> None:
    """By specificity, then by order; comments and what a sheet wraps are seen through."""
    sheet = (
        "#a{fill:#010101} .b{fill:#020202} rect{fill:#030303} /*.b{fill:#040404}*/"
        "@media all{.c{stroke:#050505}} .b,.d{stroke-width:3}"
    )
    rects = ('class="b" id="a"', 'class="b c"', "", 'class="d" style="fill:#060606"')
    rects_text = "".join(f'<rect width="1" height="1" {given}/>' for given in rects)
    shapes = list(parse_svg(f"{HEAD}<style>{sheet}</style>{rects_text}</svg>").shapes())
    fills = [round(float(shape.fill[0]) * 255) for shape in shapes]  # type: ignore[index]
    assert fills == [1, 2, 3, 6]
    assert [shape.stroke is None for shape in shapes] == [True, False, True, True]
    assert shapes[1].stroke is not None and shapes[1].stroke.width == 3


def test_what_is_left_out_is_named_in_one_warning() -> None:
    text = HEAD + '<text>a</text><image/><rect width="2" height="2" filter="url(#f)"/></svg>'
    with pytest.warns(UserWarning, match="<image>, <text>, filter") as caught:
        document = parse_svg(text)
    assert len(caught) == 1 and len(list(document.shapes())) == 1


def test_diffvg_is_asked_for_by_name_and_may_be_missing() -> None:
    document = parse_svg(HEAD + '<circle r="3"/></svg>')
    try:
        import pydiffvg  # noqa: F401
    except ImportError:
        with pytest.raises(ValueError, match="pydiffvg is not installed"):
            document.render(8, 8, rasterise=DiffvgRasterise())
    else:
        own, theirs = document.render(64, 64), document.render(64, 64, rasterise=DiffvgRasterise())
        assert (own - theirs).abs().mean() < 0.01


def test_any_callable_rasterises() -> None:
    document = parse_svg(HEAD + '<circle r="3"/></svg>')
    seen = document.render(
        4, 6, torch.ones(3), rasterise=lambda document, height, width: torch.zeros(4, height, width)
    )
    assert torch.equal(seen, torch.ones(3, 4, 6))


def test_names_groups_and_parameters_survive() -> None:
    shape = Shape(Circle(torch.tensor([1.0, 2.0]), torch.tensor(3.0)), fill=torch.rand(4), name="c")
    group = Group([shape], opacity=torch.tensor(0.5), name='g"<')
    document = parse_svg(svg_text(Document([group], ViewBox(0, 0, 8, 8), (16, 16))))
    found = document.children[0]
    assert isinstance(found, Group) and found.name == 'g"<' and found.children[0].name == "c"
    parameters = document.parameters()
    assert [len(kind) for kind in parameters] == [2, 0, 2, 0, 0]
    assert all(t.is_leaf and t.dtype == torch.float32 for kind in parameters for t in kind)


def test_a_drawing_is_fitted_to_a_image() -> None:
    g = torch.Generator().manual_seed(0)
    shapes = []
    for _ in range(8):
        points = 64 * (
            0.2 + 0.6 * torch.rand(2, generator=g) + 0.1 * torch.randn(12, 2, generator=g)
        )
        shapes.append(Shape(Path.closed(points), fill=torch.rand(4, generator=g)))
    document = Document(shapes, ViewBox(0, 0, 64, 64))
    disc = Shape(
        Circle(torch.tensor([32.0, 32.0]), torch.tensor(20.0)),
        fill=torch.tensor([0.9, 0.3, 0.1, 1]),
    )
    white = torch.ones(3)
    target = Document([disc], ViewBox(0, 0, 64, 64)).render(64, 64, white)
    found = document.parameters()
    for tensor in (*found.points, *found.colours):
        tensor.requires_grad_()
    adam = torch.optim.Adam(
        [{"params": found.points, "lr": 1.0}, {"params": found.colours, "lr": 0.03}]
    )
    losses = []
    for _ in range(100):
        loss = (document.render(64, 64, white) - target).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        with torch.no_grad():
            for colour in found.colours:
                colour.clamp_(0, 1)
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.1 * losses[0], (losses[0], losses[-1])
    with warnings.catch_warnings():
        assert parse_svg(svg_text(document)).render(64, 64).shape == (4, 64, 64)
