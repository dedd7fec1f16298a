"""Styles, units, colours and entities as CSS, SVG 2 and drawing programs have them."""

import re
import time
import warnings
from pathlib import Path as FilePath

import pytest
import torch
from torch import Tensor

from scorefield.sds.vector import LinearGradient, Shape, load_svg, parse_svg
from scorefield.sds.vector.reading import css
from scorefield.sds.vector.reading.colour import parse_colour
from scorefield.sds.vector.reading.media import media_applies

RECT = 'width="9" height="9"'


def svg(inside: str) -> str:
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 200 100">{inside}</svg>'


def shapes_of(inside: str) -> list[Shape]:
    """The shapes; a warning is an error here."""
    return list(parse_svg(svg(inside)).shapes())


def fill_of(shape: Shape) -> str:
    assert isinstance(shape.fill, Tensor)
    red, green, blue = (255 * shape.fill[:3]).round().int().tolist()
    return f"{red:02x}{green:02x}{blue:02x}"


def named(inside: str) -> str:
    """What one warning says."""
    with pytest.warns(UserWarning) as caught:
        parse_svg(svg(inside))
    assert len(caught) == 1
    return str(caught[0].message)


RULES = [
    ("rect{fill:red} .a{fill:lime} #b{fill:blue}", 'class="a"', "00ff00"),
    ("#b{fill:blue} .a{fill:lime} rect{fill:red}", 'class="a" id="b"', "0000ff"),
    ("rect.a{fill:lime} .a{fill:red}", 'class="a"', "00ff00"),
    ("g > rect{fill:lime} g rect{fill:red} g > rect{fill:lime}", "", "00ff00"),
    (".icon .body{fill:lime}", 'class="body"', "00ff00"),
    ("[id^=x]{fill:lime}", 'id="xy"', "00ff00"),
    ("rect:first-child{fill:lime} rect:last-child{fill:red}", "", "00ff00"),
    ("rect:nth-child(odd){fill:lime}", "", "00ff00"),
    ("rect:not(.b){fill:lime}", 'class="a"', "00ff00"),
    (":is(circle, .a){fill:lime}", 'class="a"', "00ff00"),
    ("rect:hover{fill:red}", "", "000000"),
    (".a{fill:lime!important}", 'class="a" style="fill:red"', "00ff00"),
    (".a{fill:red!important}", 'class="a" style="fill:lime !important"', "00ff00"),
    (".a{fill:lime}", 'class="a" fill="red"', "00ff00"),
    (".a{fill:lime; fill:hsl(what)}", 'class="a"', "00ff00"),
    (".a{fill:lime}/* .a{fill:red} */", 'class="a"', "00ff00"),
    ("@media print{.a{fill:red}} .a{stroke:none}", 'class="a" fill="lime"', "00ff00"),
    ("@media (prefers-color-scheme: dark){.a{fill:red}}", 'class="a" fill="lime"', "00ff00"),
    ("@media screen and (min-width: 100px){.a{fill:lime}}", 'class="a"', "00ff00"),
    ('@font-face{font-family:X;src:url("data:font/woff2;base64,AA")}.a{fill:lime}', 'class="a"',
     "00ff00"),
    ("@font-face{src:url(https://a.example/x.woff)} .a{fill:lime}", 'class="a"', "00ff00"),
    (":root{--brand:lime} .a{fill:var(--brand)}", 'class="a"', "00ff00"),
    (":root{--a:0,255,0;--b:rgb(var(--a))} .a{fill:var(--b)}", 'class="a"', "00ff00"),
    (".a{fill:var(--brand, lime)}", 'class="a"', "00ff00"),
    ("g{fill:lime} .a{fill:inherit}", 'class="a"', "00ff00"),
    ("g{fill:lime} .a{fill:unset}", 'class="a"', "00ff00"),
    ("g{fill:lime} .a{fill:initial}", 'class="a"', "000000"),
    ("g{color:lime} .a{fill:currentColor}", 'class="a"', "00ff00"),
    ("RECT{fill:red} .A{fill:red} rect{FILL:LIME}", 'class="a"', "00ff00"),
    ('rect{fill:lime;font-family:"a;fill:red}"}', "", "00ff00"),
]  # fmt: skip


@pytest.mark.parametrize("rules, attributes, wanted", RULES)
def test_rules_cascade(rules: str, attributes: str, wanted: str) -> None:
    with warnings.catch_warnings():
        if "what" in rules:  # a value that is not understood is named
            warnings.simplefilter("ignore")
        (seen, _) = shapes_of(
            f'<style>{rules}</style><g class="icon"><rect {RECT} {attributes}/><circle r="1"/></g>'
        )
    assert fill_of(seen) == wanted


@pytest.mark.parametrize(
    "colour, wanted",
    [
        # The sample values of CSS Color 4 and of the tests for it: all are green, #008000.
        ("lab(46.2775% -47.5621 48.5837)", "008000"),
        ("lch(46.2775% 67.9892 134.3912)", "008000"),
        ("oklab(51.975% -0.1403 0.10768)", "008000"),
        ("oklch(51.975% 0.17686 142.495)", "008000"),
        ("color(display-p3 0.21604 0.49418 0.13151)", "008000"),
        ("color(a98-rgb 0.28137 0.49810 0.11683)", "008000"),
        ("color(prophoto-rgb 0.230479 0.395789 0.129968)", "008000"),
        ("color(rec2020 0.23515 0.43174 0.08543)", "008000"),
        ("color(srgb-linear 0 0.21586 0)", "008000"),
        ("color(xyz 0.07719 0.15438 0.02573)", "008000"),
        ("color(xyz-d50 0.08312 0.15475 0.02097)", "008000"),
        ("color(srgb 0 50.2% 0)", "008000"),
        ("hsl(210deg 50% 40%)", "336699"),
        ("hsl(.5833333turn, 50%, 40%)", "336699"),
        ("hwb(120 0% 49.8%)", "008000"),
        ("rgb(0 128 0 / 50%)", "008000"),
        ("rebeccapurple", "663399"),
        ("light-dark(rgb(0, 128, 0), #123)", "008000"),
        ("Light-Dark(green,lab(20% 0 0))", "008000"),
        # Out of sRGB: lightness and hue stay, and the result is in gamut.
        ("color(display-p3 1 1 1)", "ffffff"),
        ("oklch(100% 0.3 120)", "ffffff"),
        ("oklch(0% 0.3 120)", "000000"),
    ],
)
def test_colours_of_css_4(colour: str, wanted: str) -> None:
    red, green, blue, _ = (round(255 * v) for v in parse_colour(colour))
    assert f"{red:02x}{green:02x}{blue:02x}" == wanted


def test_half_transparent_colours_have_their_alpha() -> None:
    for text in ("hsl(120 100% 50% / 50%)", "hsla(120,100%,50%,50%)", "#00ff0080"):
        red, green, blue, alpha = parse_colour(text)
        assert (red, green, blue) == (0, 1, 0) and abs(alpha - 0.5) < 0.003


def test_wide_gamut_comes_after_its_fallback() -> None:
    """Figma writes a colour twice; the second is what counts, and is close to the first."""
    both = "fill:#E85D2A;fill:color(display-p3 .91 .36 .16)"
    (seen,) = shapes_of(f'<rect {RECT} style="{both}"/>')
    assert isinstance(seen.fill, Tensor)
    # In display-p3 the same numbers are a stronger orange.
    torch.testing.assert_close(seen.fill, torch.tensor([0.984, 0.308, 0.0, 1.0]), atol=2e-3, rtol=0)


def test_units() -> None:
    style = "font-size:20px"
    (seen,) = shapes_of(f'<g style="{style}"><rect width="2em" height="10vw" x="5%" y="5%"/></g>')
    corner, size = seen.geometry.points()[0], seen.geometry.points()[2]
    assert corner.tolist() == [10, 5] and (size - corner).tolist() == [40, 20]


def test_lists_of_numbers_share_one_grammar() -> None:
    texts = [
        ("matrix(1 0 0-1 0 200)", [[1, 0, 0], [0, -1, 200]]),
        ("translate(100-20)", [[1, 0, 100], [0, 1, -20]]),
        ("scale(.5.25)", [[0.5, 0, 0], [0, 0.25, 0]]),
        ("translate(1e1-1e-1),scale(2)", [[2, 0, 10], [0, 2, -0.1]]),
    ]
    for text, wanted in texts:
        (seen,) = shapes_of(f'<rect {RECT} transform="{text}"/>')
        assert seen.transform is not None
        torch.testing.assert_close(seen.transform, torch.tensor(wanted).float())
    (line,) = shapes_of('<polyline points="0-1.5.5,3" stroke-dasharray="1-0 2.5.5" stroke="red"/>')
    assert line.geometry.points().tolist() == [[0, -1.5], [0.5, 3]]


@pytest.mark.parametrize(
    "given, said",
    [
        ('opacity=""', 'opacity=""'),
        ('stroke="red" stroke-dasharray="undefined"', 'stroke-dasharray="undefined"'),
        ('transform="translate(NaN,10)"', 'transform="translate(NaN,10)"'),
        ('transform="scale(nan)"', 'transform="scale(nan)"'),
        ('fill="var(--brand)"', 'fill="var(--brand)"'),
        ('fill="bleu"', 'fill="bleu"'),
        ('fill="oklch(1e300 1e300 1)"', 'fill="oklch(1e300 1e300 1)"'),
        ('style="stroke-width:-3;fill-opacity:many"', 'fill-opacity="many"'),
        ('fill="url(#none)"', "fill url(#none)"),
    ],
)
def test_a_value_that_is_not_understood_is_dropped_and_named(given: str, said: str) -> None:
    inside = f'<rect id="r" {RECT} {given}/>'
    assert f'{said} of <rect id="r">' in named(inside)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (seen,) = shapes_of(inside)
    assert seen.opacity is None and seen.transform is None
    assert seen.fill is None or fill_of(seen) == "000000"


def test_a_path_is_drawn_up_to_its_error() -> None:
    inside = '<path id="p" d="M0 0L10 10 20 0 30"/>'
    assert re.search('rest of the path .* of <path id="p">', named(inside))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (seen,) = shapes_of(inside)
    assert seen.geometry.points().tolist() == [[0, 0], [10, 10], [20, 0]]


def test_warnings_name_the_file(tmp_path: FilePath) -> None:
    path = tmp_path / "drawing.svg"
    path.write_text(svg('<text id="title">a</text><g filter="url(#f)" id="s"><rect/></g>'))
    with pytest.warns(UserWarning, match=r'drawing.svg: left out <text id="title">, filter of <g'):
        load_svg(path)


def test_stops_inherit_when_they_say_so() -> None:
    (seen,) = shapes_of(
        '<linearGradient id="g" stop-color="red"><stop stop-color="inherit"/>'
        '<stop offset="1" style="stop-color:currentColor" color="blue"/></linearGradient>'
        f'<rect {RECT} fill="url(#g)"/>'
    )
    assert isinstance(seen.fill, LinearGradient)
    assert seen.fill.colours[:, :3].tolist() == [[1, 0, 0], [0, 0, 1]]


def test_plain_entities_are_put_in() -> None:
    (seen,) = parse_svg(
        '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" '
        '"http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd" ['
        '<!ENTITY ns_svg "http://www.w3.org/2000/svg"><!ENTITY st "fill:#00ff00">]>'
        '<svg xmlns="&ns_svg;" viewBox="0 0 9 9"><rect style="&st;" width="1" height="1"/></svg>'
    ).shapes()
    assert fill_of(seen) == "00ff00"


def test_entities_that_would_swell_a_file_are_refused() -> None:
    text = f'<!DOCTYPE svg [<!ENTITY a "{"x" * 100_000}">]>' + svg("&a;" * 1000)
    with pytest.raises(ValueError, match="entity 'a'"):
        parse_svg(text)


def test_media_queries() -> None:
    window = (300.0, 150.0)
    for query, wanted in (
        ("", True), ("all", True), ("print", False), ("not print", True), ("print, screen", True),
        ("(orientation: landscape)", True), ("only screen and (max-width: 299px)", False),
        ("(min-resolution: 2dppx)", None), ("(prefers-color-scheme:light)", True),
    ):  # fmt: skip
        assert media_applies(query, window) is wanted, query


@pytest.mark.parametrize(
    "rules",
    [
        "a " * 12 + "b{fill:red}",
        "g " * 12 + "~ rect{fill:red}",
        "g:has(rect){fill:red} " * 300,
        "rect:nth-last-of-type(3){fill:red} " * 300,
        "*{fill:red} " * 3000,
        "rect{fill:red} " * 3000,
        "[id*=a]{fill:red} " * 3000,
        ":not(" * 200 + "a" + ")" * 200 + "{fill:red}",
        "".join(f"rect{{--v{i}:var(--v{i - 1}) var(--v{i - 1})}}" for i in range(1, 40)),
    ],
    ids=range(9),
)
def test_style_sheets_take_bounded_time(rules: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Selectors times elements, and what variables stand for, are read or refused soon."""
    monkeypatch.setattr(css, "MOST_STEPS", 20_000)
    inside = "<g>" * 40 + "<rect/>" * 100 + "</g>" * 40
    before = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            parse_svg(svg(f"<style>{rules}</style>{inside}"))
        except ValueError as error:
            assert "steps" in str(error) or "selectors" in str(error)
    assert time.process_time() - before < 10


def test_transforms_of_properties_of_their_own() -> None:
    """translate, rotate and scale come before transform, about the same origin."""
    apart = "translate:5px 10%;rotate:30deg;scale:2 1.5;transform:skewX(10deg)"
    together = (
        "transform:translate3d(5px,10%,0) rotateZ(30deg) scale3d(2,1.5,1) translateZ(3px) "
        "skewX(10deg)"
    )
    (a,), (b,) = (
        shapes_of(f'<rect {RECT} style="transform-origin:10px 10px;{each}"/>')
        for each in (apart, together)
    )
    assert a.transform is not None and b.transform is not None
    torch.testing.assert_close(a.transform, b.transform)


@pytest.mark.parametrize(
    "rule, said",
    [
        (":root{background:#123}", "background of <svg>"),
        ("rect{offset-path:path('M0 0h9')}", "offset-path of <rect>"),
        ("svg{shape-rendering:crispEdges}", "shape-rendering of <rect>"),
        ("rect{rotate:x 30deg}", 'rotate="x 30deg" of <rect>'),
        ("rect{fill:red;:hover{fill:blue}}", "rules within 'rect'"),
    ],
)
def test_what_css_says_and_is_not_drawn_is_named(rule: str, said: str) -> None:
    with pytest.warns(UserWarning, match=re.escape(said)):
        parse_svg(svg(f"<style>{rule}</style><rect {RECT}/>"))


@pytest.mark.parametrize(
    ("font", "size"),
    [
        ("20px sans-serif", 20),
        ("italic bold 1.5em/2 'Open Sans', sans-serif", 24),
        ("x-large serif", 24),
        ("bold", 16),  # no size and no family: it is no font
    ],
)
def test_the_font_shorthand_says_what_an_em_is(font: str, size: float) -> None:
    (shape,) = shapes_of(f'<g style="font:{font}"><rect width="5em" height="1em"/></g>')
    points = shape.geometry.points()
    assert float(points[:, 0].max()) == pytest.approx(5 * size)


def test_a_symbol_that_is_used_is_displayed() -> None:
    symbol = f'<symbol id="a" style="display:none"><rect {RECT}/></symbol><use href="#a"/>'
    assert len(shapes_of(symbol)) == 1
    assert not shapes_of(symbol.replace("symbol", "svg"))


@pytest.mark.parametrize(
    ("root", "said"),
    [
        ('width="auto" height="auto" viewBox="0 0 24 24"', None),
        ('width="" height="" viewBox="0 0 24 24"', 'height=""'),
        ('width="var(--w)" height="24" viewBox="0 0 24 24"', 'width="var'),
        ('width="24" height="24" viewBox="undefined"', 'viewBox="undefined"'),
        ('width="24" height="24" viewBox="0 0 24px 24px"', 'viewBox="0 0 24px'),
    ],
)
def test_what_the_root_says_wrongly_is_as_if_it_were_not_said(root: str, said: str | None) -> None:
    text = f'<svg xmlns="http://www.w3.org/2000/svg" {root}><rect {RECT}/></svg>'
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        document = parse_svg(text)
    box = document.view_box
    assert (box.width, box.height) == (24, 24)
    told = [str(one.message) for one in caught]
    assert (said is None and not told) or (said is not None and said in told[0])
