"""Clip paths, masks, patterns and nested drawings: against resvg, written back, differentiated."""

import re
import warnings
from pathlib import Path as FilePath

import numpy as np
import pytest
import torch
from torch import Tensor

from scorefield.sds.svg.resvg import render_with_resvg
from scorefield.sds.vector import (
    Circle,
    Document,
    Group,
    Mask,
    Pattern,
    RadialGradient,
    Rect,
    Shape,
    ViewBox,
    load_svg,
    parse_svg,
    svg_text,
)
from scorefield.sds.vector.blending import BlendMode, blended
from scorefield.sds.vector.nodes import MaskKind

pytest.importorskip("resvg_py")

FRAMED = (
    '<rect x="20" y="20" width="160" height="160" fill="#36c" stroke="#c33" stroke-width="12"/>'
)
GRADED = (
    '<linearGradient id="g"><stop stop-color="#fff"/><stop offset="1"/></linearGradient>'
    '<rect width="200" height="200" fill="url(#g)"/>'
)
BOX = '<rect x="20" y="30" width="150" height="120" '
DRAWINGS = {
    "order": '<circle cx="100" cy="100" r="60" fill="#fc0" '
    'style="stroke:#234;stroke-width:30;paint-order:stroke fill"/>',
    "origin": '<rect x="60" y="60" width="80" height="40" transform="rotate(30)" '
    'transform-origin="100 80"/>',
    "clip": '<clipPath id="c"><circle cx="90" cy="80" r="60"/>'
    '<rect x="100" y="100" width="70" height="70"/></clipPath>'
    f'<g clip-path="url(#c)" opacity=".7">{FRAMED}</g>',
    "clip of a box": '<clipPath id="c" clipPathUnits="objectBoundingBox"><circle cx=".5" cy=".5" '
    'r=".5"/></clipPath><rect x="20" y="40" width="100" height="60" clip-path="url(#c)" '
    'transform="rotate(20 70 70)"/>',
    "clip by a link": '<defs><path id="p" d="M20 20H180L100 180z"/></defs><clipPath id="c">'
    f'<use href="#p"/></clipPath><g clip-path="url(#c)">{FRAMED}</g>',
    "clipped clip": '<clipPath id="d"><rect width="100" height="200"/></clipPath><clipPath id="c" '
    f'clip-path="url(#d)"><circle cx="100" cy="100" r="80"/></clipPath><g clip-path="url(#c)">'
    f"{FRAMED}</g>",
    "clip rule": '<clipPath id="c"><path clip-rule="evenodd" '
    'd="M20 20H180V180H20zM60 60H140V140H60z"/></clipPath>'
    '<rect width="200" height="200" clip-path="url(#c)"/>',
    "mask": f'<mask id="m">{GRADED}</mask><g mask="url(#m)">{FRAMED}</g>',
    "mask of a box": '<mask id="m" maskContentUnits="objectBoundingBox"><circle cx=".5" cy=".5" '
    'r=".4" fill="#ff0"/></mask><rect x="20" y="40" width="100" height="60" mask="url(#m)"/>',
    "alpha mask": '<mask id="m" mask-type="alpha"><circle cx="100" cy="100" r="60" '
    f'fill-opacity=".5"/></mask><g mask="url(#m)">{FRAMED}</g>',
    "clip and mask": f'<mask id="m">{GRADED}</mask><clipPath id="c"><circle cx="90" cy="80" '
    f'r="70"/></clipPath><g mask="url(#m)" clip-path="url(#c)">{FRAMED}</g>',
    "symbol": '<symbol id="s" viewBox="0 0 10 10"><rect width="12" height="8" fill="red"/></symbol>'
    '<use href="#s" width="50" height="80" x="20"/><svg x="100" y="10" width="60" height="90" '
    'viewBox="0 0 1 1"><rect width="1" height="2"/></svg>',
    "pattern": '<pattern id="p" width="20" height="20" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(30)"><rect width="10" height="10" fill="red"/>'
    '<circle cx="15" cy="15" r="4"/></pattern><circle cx="100" cy="100" r="80" fill="url(#p)"/>',
    "pattern of a box": '<pattern id="p" width=".2" height=".25" x=".05"><rect width="10" '
    f'height="10" fill="red"/></pattern>{BOX} fill="url(#p)" stroke="url(#p)" stroke-width="20"/>',
    "pattern with a view box": '<pattern id="p" width="30" height="20" viewBox="0 0 10 10" x="7" '
    'y="5" patternUnits="userSpaceOnUse"><path d="M0 0L10 10" stroke="#000"/></pattern>'
    f'{BOX} fill="url(#p)"/>',
    "pattern in a pattern": '<pattern id="q" href="#p" width="50"/><pattern id="p" width="40" '
    'height="40" patternUnits="userSpaceOnUse"><rect width="20" height="30" fill="#080"/>'
    f'</pattern>{BOX} fill="url(#q)" fill-opacity=".5"/>',
    "markers": '<marker id="m" markerWidth="4" markerHeight="5" refX="5" refY="5" '
    'viewBox="0 0 10 10" orient="auto"><path d="M0 0L10 5L0 10z" fill="red"/></marker>'
    '<marker id="n" markerUnits="userSpaceOnUse" markerWidth="20" markerHeight="20" refX="8" '
    'orient="30"><rect width="16" height="9"/></marker>'
    '<path d="M30 150L60 50Q100 10 120 90T170 90" '
    'fill="none" stroke="#36c" stroke-width="5" marker-start="url(#n)" marker-mid="url(#m)" '
    'marker-end="url(#m)"/><polygon points="100,120 180,130 150,190" fill="#cfc" '
    'stroke="#000" style="marker:url(#m)" opacity=".6"/>',
    "paints of the context": '<marker id="m" style="overflow:visible" viewBox="0 0 3 2" refX="0" '
    'markerWidth="3" markerHeight="3" orient="auto-start-reverse"><path d="M2 0L-1 2V-2z" '
    'style="fill:context-stroke;stroke:context-fill;stroke-width:.5"/></marker>'
    '<path d="M40 40C120 20 60 180 160 150" stroke="#d40" stroke-width="8" fill="#fc0" '
    'marker-start="url(#m)" marker-end="url(#m)"/><symbol id="s" viewBox="0 0 10 10">'
    '<circle cx="5" cy="5" r="4" fill="context-fill" stroke="context-stroke"/></symbol>'
    '<use href="#s" y="120" width="70" height="70" fill="#3c3" stroke="#00f"/>',
    "blend modes": '<linearGradient id="g"><stop stop-color="#e33"/><stop offset=".5" '
    'stop-color="#3c5"/><stop offset="1" stop-color="#22c" stop-opacity=".3"/></linearGradient>'
    '<rect width="200" height="200" fill="url(#g)"/>'
    + "".join(
        f'<rect y="{12 * i}" width="190" height="10" fill="#b85" fill-opacity=".85" '
        f'style="mix-blend-mode:{mode.value}"/>'
        for i, mode in enumerate(BlendMode)
    ),
    "blending in groups": '<rect width="200" height="200" fill="#fd0"/>'
    '<g style="isolation:isolate"><circle cx="70" cy="70" r="50" fill="#0af"/><circle cx="110" '
    'cy="90" r="50" fill="#f0a" style="mix-blend-mode:multiply"/></g><g><circle cx="140" '
    'cy="150" r="40" fill="#0af" style="mix-blend-mode:difference"/></g>'
    '<g style="mix-blend-mode:hue" opacity=".9"><rect x="20" y="130" width="90" height="50" '
    'fill="#0a5"/></g>',
    "switch": '<switch><foreignObject requiredExtensions="http://ns.adobe.com/x"/>'
    f"<g>{FRAMED}</g></switch>",
    "two circles": '<radialGradient id="g" gradientUnits="userSpaceOnUse" cx="100" cy="100" r="80" '
    'fx="60" fy="100" fr="20"><stop stop-color="red"/><stop offset="1" stop-color="blue"/>'
    '</radialGradient><rect width="200" height="200" fill="url(#g)"/>',
    "cone": '<radialGradient id="g" gradientUnits="userSpaceOnUse" cx="120" cy="100" r="40" '
    'fx="40" fy="100" fr="10" spreadMethod="reflect"><stop stop-color="red"/>'
    '<stop offset="1" stop-color="blue"/></radialGradient>'
    '<rect width="200" height="200" fill="url(#g)"/>',
}


def svg(inside: str) -> str:
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 200 200">{inside}</svg>'


@pytest.mark.parametrize("name", DRAWINGS)
def test_same_image_as_resvg_before_and_after_saving(name: str, tmp_path: FilePath) -> None:
    text = svg(DRAWINGS[name])
    theirs = render_with_resvg(text, 200)
    document = parse_svg(text)
    assert (document.render(200, 200, torch.ones(3)) - theirs).abs().mean() < 0.005
    saved = document.save(tmp_path / "a.svg")
    again = load_svg(saved)
    assert (again.render(200, 200, torch.ones(3)) - theirs).abs().mean() < 0.005
    assert (render_with_resvg(saved.read_text(), 200) - theirs).abs().mean() < 0.005
    assert again.save(tmp_path / "b.svg").read_bytes() == saved.read_bytes()


@pytest.mark.parametrize(
    ("width", "height", "transform"),
    [
        (6.0, 5.0, ""),
        (6.4, 5.3, ""),
        (2.6, 3.7, "translate(0.3 0.5)"),
        (9.5, 7.2, "rotate(30)"),
        (4.0, 4.0, "translate(0.5 0.25)"),
        (3.3, 8.1, "skewX(20) scale(1.1)"),
        (70.3, 41.8, "rotate(10)"),
    ],
)
def test_a_pattern_is_what_its_drawing_repeated_by_hand_is(
    width: float, height: float, transform: str
) -> None:
    def drawn(inside: str) -> Tensor:
        text = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">{inside}</svg>'
        return parse_svg(text).render(32, 32, torch.ones(3))

    across, down = width * 0.4, height * 0.5
    path = "M{} {}h{}v{}h{}z"
    drawing = path.format(width * 0.2, height * 0.3, across, down, -across)
    copies = "".join(
        path.format((column + 0.2) * width, (row + 0.3) * height, across, down, -across)
        for column in range(int(-40 / width), int(80 / width))
        for row in range(int(-40 / height), int(80 / height))
    )
    tiled = drawn(
        f'<pattern id="p" width="{width}" height="{height}" patternUnits="userSpaceOnUse" '
        f'patternTransform="{transform}"><path d="{drawing}" fill="#c30"/></pattern>'
        '<rect width="32" height="32" fill="url(#p)"/>'
    )
    by_hand = drawn(f'<path d="{copies}" transform="{transform}" fill="#c30"/>')
    error = (tiled - by_hand).abs()
    assert error.mean() < 0.01
    assert error.max() < 0.2


def test_shapes_that_stand_in_for_html_are_drawn() -> None:
    """As draw.io writes labels."""
    html = '<foreignObject width="9" height="9"/>'
    with pytest.warns(UserWarning, match="left out <foreignObject>"):
        shapes = list(
            parse_svg(svg(f'<switch>{html}<rect width="9" height="9"/></switch>')).shapes()
        )
    assert len(shapes) == 1
    with pytest.warns(UserWarning, match="left out <foreignObject>"):
        document = parse_svg(svg(f"<switch>{html}<text>not shown</text></switch>"))
    assert not list(document.shapes())


def test_a_box_may_be_the_origin() -> None:
    """resvg knows no transform-box; the law is that the centre stays where it is."""
    style = "transform:rotate(90deg);transform-box:fill-box;transform-origin:center"
    (seen,) = parse_svg(
        svg(f'<rect x="60" y="60" width="80" height="40" style="{style}"/>')
    ).shapes()
    assert seen.transform is not None
    moved = seen.geometry.points() @ seen.transform[:, :2].T + seen.transform[:, 2]
    torch.testing.assert_close(moved.amin(0), torch.tensor([80.0, 40.0]), atol=1e-4, rtol=0)
    torch.testing.assert_close(moved.amax(0), torch.tensor([120.0, 120.0]), atol=1e-4, rtol=0)


def test_a_clip_is_the_product_of_coverages() -> None:
    disc = Circle(torch.tensor([15.2, 16.0]), torch.tensor(9.0))
    square = Rect(torch.tensor([10.5, 4.0]), torch.tensor([14.0, 20.0]))
    white = torch.ones(4)

    def alpha(*shapes: Shape) -> Tensor:
        return Document([*shapes], ViewBox(0, 0, 32, 32)).render(32, 32)[3]

    clipped = alpha(Shape(square, fill=white, masks=(Mask([Shape(disc, fill=white)]),)))
    wanted = alpha(Shape(square, fill=white)) * alpha(Shape(disc, fill=white))
    torch.testing.assert_close(clipped, wanted)
    faint = Mask([Shape(disc, fill=torch.tensor([0.3, 0.6, 0.9, 0.5]))], MaskKind.LUMINANCE)
    seen = alpha(Shape(square, fill=white, masks=(faint,)))
    light = 0.5 * (0.2125 * 0.3 + 0.7154 * 0.6 + 0.0721 * 0.9)
    torch.testing.assert_close(seen, light * wanted, atol=1e-5, rtol=0)


def scene() -> Document:
    """A masked, clipped group and a pattern, all of whose numbers matter."""
    generator = torch.Generator().manual_seed(3)

    def disc(x: float, y: float, radius: float) -> Shape:
        circle = Circle(torch.tensor([x, y]), torch.tensor(radius))
        return Shape(circle, fill=0.2 + 0.7 * torch.rand(4, generator=generator))

    clip = Mask([disc(13.0, 14.0, 9.0), disc(20.0, 19.0, 6.0)])
    mask = Mask([disc(14.0, 17.0, 10.0), disc(18.0, 12.0, 7.0)], MaskKind.LUMINANCE)
    group = Group([disc(15.0, 12.0, 8.0), disc(18.0, 18.0, 8.0)], masks=(clip, mask))
    tiles = Pattern([disc(3.0, 3.5, 2.3)], 7.0, 8.0)
    patterned = Shape(Rect(torch.tensor([3.2, 21.3]), torch.tensor([25.0, 9.0])), fill=tiles)
    return Document([group, patterned], ViewBox(0, 0, 32, 32))


def test_gradients_reach_clips_masks_and_patterns() -> None:
    """Central differences of the image eight times as fine."""
    document = scene()
    target = torch.nn.functional.interpolate(
        torch.rand(1, 4, 5, 5, generator=torch.Generator().manual_seed(0)), size=32, mode="bicubic"
    )[0]
    found = document.parameters()

    def loss(fine: int) -> Tensor:
        image = document.render(32 * fine, 32 * fine)[None]
        return (torch.nn.functional.avg_pool2d(image, fine)[0] - target).square().mean()

    for kind, step in (("points", 0.05), ("colours", 0.02)):
        tensors = getattr(found, kind)
        for tensor in tensors:
            tensor.requires_grad_()
        gradient = torch.cat(
            [g.flatten() for g in torch.autograd.grad(loss(1), tensors, allow_unused=False)]
        )
        for tensor in tensors:
            tensor.requires_grad_(False)
        differences = []
        for tensor in tensors:
            flat = tensor.view(-1)
            for i in range(len(flat)):
                kept = float(flat[i])
                flat[i] = kept + step
                above = float(loss(8))
                flat[i] = kept - step
                differences.append((above - float(loss(8))) / (2 * step))
                flat[i] = kept
        cosine = torch.nn.functional.cosine_similarity(gradient, torch.tensor(differences), dim=0)
        assert cosine > 0.99, (kind, float(cosine))


def test_a_cone_is_clear_outside() -> None:
    paint = RadialGradient(
        torch.tensor([24.0, 16.0]), torch.tensor(4.0), torch.tensor([0.0, 1.0]), torch.ones(2, 4),
        focus=torch.tensor([8.0, 16.0]), inner=torch.tensor(0.0),
    )  # fmt: skip
    colours = paint.colours.requires_grad_()
    shape = Shape(Rect(torch.zeros(2), torch.full((2,), 32.0)), fill=paint)
    image = Document([shape], ViewBox(0, 0, 32, 32)).render(32, 32)
    assert image[3, 16, 20] == 1 and image[3, 2, 20] == 0 and image[3, 16, 2] == 0
    image.sum().backward()
    assert colours.grad is not None and colours.grad.isfinite().all()


def test_what_links_to_itself_is_left_out_or_refused() -> None:
    rings = (
        '<clipPath id="c" clip-path="url(#c)"><rect width="9" height="9"/></clipPath>'
        '<rect width="9" height="9" clip-path="url(#c)"/>',
        '<mask id="m"><rect width="9" height="9" mask="url(#m)"/></mask>'
        '<rect width="9" height="9" mask="url(#m)"/>',
        '<pattern id="p" width="2" height="2"><rect width="9" height="9" fill="url(#p)"/></pattern>'
        '<rect width="9" height="9" fill="url(#p)"/>',
    )
    for ring in rings:
        with pytest.warns(UserWarning, match="link|url"):
            assert len(list(parse_svg(svg(ring)).shapes())) == 1


def test_clips_that_multiply_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from scorefield.sds.vector import svg_read

    monkeypatch.setattr(svg_read, "MOST_ELEMENTS", 500)
    clip = '<clipPath id="c">' + '<rect width="9" height="9"/>' * 50 + "</clipPath>"
    uses = '<rect width="9" height="9" clip-path="url(#c)"/>'
    parse_svg(svg(clip + 5 * uses))
    with pytest.raises(ValueError, match="once links are followed"):
        parse_svg(svg(clip + 20 * uses))


@pytest.mark.parametrize(
    "link, inside, used",
    [
        ("mask", '<rect width="9" height="9" {}/>', '<mask id="p{}">{}</mask>'),
        ("clip-path", '<rect width="9" height="9" {}/>', '<clipPath id="p{}">{}</clipPath>'),
        ("marker-mid", '<path d="M0 0L1 1L2 2" {}/>', '<marker id="p{}">{}</marker>'),
        (
            "fill",
            '<rect width="9" height="9" {}/>',
            '<pattern id="p{}" width="1" height="1" patternUnits="userSpaceOnUse">{}</pattern>',
        ),
    ],
)
def test_effects_that_double_are_refused(
    link: str, inside: str, used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thirty of them in each other would be drawn a thousand million times."""
    monkeypatch.setattr("scorefield.sds.vector.svg_read.MOST_ELEMENTS", 2000)
    nested = "".join(
        used.format(i, 2 * inside.format(f'{link}="url(#p{i + 1})"')) for i in range(30)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match="once links are followed"):
            parse_svg(svg(nested + inside.format(f'{link}="url(#p0)"')))


def test_names_classes_and_what_is_not_drawn_survive(tmp_path: FilePath) -> None:
    text = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 90 60" '
        'xmlns:inkscape="http://www.inkscape.org/namespaces/inkscape">'
        "<style>.t{fill:#c00;font-family:serif} .a{fill:lime}</style>"
        '<filter id="blur"><feGaussianBlur stdDeviation="2"/></filter>'
        '<linearGradient id="sky"><stop stop-color="red"/><stop offset="1"/></linearGradient>'
        '<g id="layer1" inkscape:label="Layer 1" inkscape:groupmode="layer" font-size="20">'
        '<rect id="box" class="a b" data-name="Box" width="9" height="9" filter="url(#blur)">'
        "<title>A box &amp; more</title></rect>"
        '<text id="said" class="t" x="3">Hello <tspan>world</tspan></text></g>'
        '<circle id="sun" r="9" fill="url(#sky)"/></svg>'
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        document = parse_svg(text)
    assert 'filter of <rect id="box">' in str(caught[0].message)
    assert '<text id="said">' in str(caught[0].message)
    for point in document.parameters().points:
        point += 1  # as an optimisation moves them
    saved = document.save(tmp_path / "a.svg").read_text()
    for part in (
        '<g id="layer1" inkscape:label="Layer 1" inkscape:groupmode="layer"',
        '<rect id="box" class="a b" data-name="Box"', "<title>A box &amp; more</title>",
        'filter="url(#blur)"', '<filter id="blur">', "Hello <tspan>world</tspan>", 'id="sun"',
        'fill="url(#sky)"', '<linearGradient id="sky"',
    ):  # fmt: skip
        assert part in saved, part
    assert re.search('<text [^>]*style="[^"]*font-size:20;fill:#c00;font-family:serif', saved)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = load_svg(tmp_path / "a.svg")
    assert svg_text(again) == saved
    # resvg sees the filter in what was written as it does in what was read.
    assert np.isfinite(render_with_resvg(saved, 60).numpy()).all()


def test_gradients_pass_through_every_blend_mode() -> None:
    """To what is above and to what is below, and they are those of finite differences."""
    below = 0.1 + 0.8 * torch.rand(4, 4, 4, generator=torch.Generator().manual_seed(1)).double()
    above = 0.1 + 0.8 * torch.rand(4, 4, 4, generator=torch.Generator().manual_seed(2)).double()
    for image in (below, above):
        image[:3] *= image[3:]
        image.requires_grad_()
    for mode in BlendMode:
        assert torch.autograd.gradcheck(lambda b, s, m=mode: blended(b, s, m), (below, above))


def test_blending_on_nothing_is_painting() -> None:
    """What is below and clear does not count, and gradients are finite there."""
    clear = torch.zeros(4, 2, 2, requires_grad=True)
    above = torch.tensor([0.2, 0.0, 0.5, 0.5])[:, None, None].expand(4, 2, 2)
    for mode in BlendMode:
        image = blended(clear, above, mode)
        torch.testing.assert_close(image.detach(), above)
        (grad,) = torch.autograd.grad(image.sum(), clear)
        assert torch.isfinite(grad).all()


def test_dashes_are_measured_by_the_length_that_is_said() -> None:
    """A quarter of a circle, or a fifth of a line, in the author's own measure."""
    circle = (
        '<circle pathLength="4" cx="100" cy="100" r="60" fill="none" stroke="#000" '
        'stroke-width="8" stroke-dasharray="1"/><path pathLength="10" d="M20 20H170" '
        'stroke="#000" stroke-width="8" stroke-dasharray="2 8" stroke-dashoffset="1"/>'
    )
    image = 1 - parse_svg(svg(circle)).render(200, 200, torch.ones(3))[0]
    below = image[30:]
    for rows, columns, drawn in ((1, 1, True), (1, 0, False), (0, 0, True), (0, 1, False)):
        part = below.split(70)[rows][:, 100 * columns : 100 * columns + 100]
        quarter = float(part[:70].sum())
        assert abs(quarter - drawn * 8 * 60 * 3.1416 / 2) < 8, (rows, columns)
    assert abs(float(image[:30].sum()) - 8 * 30) < 1  # half of a dash at either end


def test_paints_of_the_context_are_colours_or_named() -> None:
    text = (
        '<linearGradient id="g"><stop/><stop offset="1"/></linearGradient><marker id="m">'
        '<path id="tip" d="M0 0h3v3z" fill="context-stroke"/></marker>'
        '<path d="M0 0h9" stroke="url(#g)" marker-end="url(#m)"/>'
    )
    with pytest.warns(UserWarning, match='context-stroke that is no colour of <path id="tip">'):
        parse_svg(svg(text))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (alone,) = parse_svg(svg('<rect width="9" height="9" fill="context-fill"/>')).shapes()
    assert alone.fill is None


def test_what_moves_is_named_wherever_it_stands() -> None:
    text = svg('<rect width="9" height="9"><animate id="a" attributeName="x"/><set id="b"/></rect>')
    with pytest.warns(UserWarning, match='<animate id="a">, <set id="b">'):
        parse_svg(text)
