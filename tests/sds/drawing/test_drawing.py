"""Drawings: views, penalties, exchanged shapes, cleaning, tracing."""

import copy
import math
from pathlib import Path as FilePath

import pytest
import torch
from torch import Tensor

from scorefield.sds.svg import Augmentation, Icon, PixelArt, Sketch
from scorefield.sds.svg.augmentation import warp
from scorefield.sds.svg.drawing import Drawing, Rates
from scorefield.sds.svg.optimize import on_white, optimized
from scorefield.sds.svg.penalties import crossing_penalty, saturation_penalty
from scorefield.sds.svg.trace import fitting_loss, layers, place
from scorefield.sds.vector import Document, Group, Path, Shape, Stroke, ViewBox, load_svg

WHITE = torch.ones(3)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ramp(size: int = 60) -> Tensor:
    """Red is x, green is y, blue is 1: an image that says where it was looked at."""
    at = (torch.arange(size) + 0.5) / size
    y, x = torch.meshgrid(at, at, indexing="ij")
    return torch.stack([x, y, torch.ones_like(x)])


def test_a_view_without_distortion_is_a_crop_of_the_said_size() -> None:
    plain = Augmentation(crop=0.5, distortion=0.0)
    seen = warp(ramp(), plain.draw(16, generator()), 10, WHITE)
    x, y = seen[:, 0], seen[:, 1]
    # Pixel centres of a crop of half the side are a twentieth of the side apart, along x and y.
    assert torch.allclose(x.diff(dim=2), torch.full((), 0.05), atol=1e-5)
    assert torch.allclose(y.diff(dim=1), torch.full((), 0.05), atol=1e-5)
    corner = x[:, 0, 0] - 0.025
    assert (corner >= -1e-5).all() and (corner <= 0.5 + 1e-5).all()
    assert corner.std() > 0.05  # not the same crop every time


def test_perspective_moves_the_corners_inwards_by_at_most_the_distortion() -> None:
    """The image's corners, seen in the view, lie within a quarter of a side of its corners."""
    homographies = Augmentation(crop=1.0, distortion=0.5, probability=1.0).draw(64, generator(1))
    corners = torch.tensor([[0.0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]]).T
    seen = homographies.inverse() @ corners
    seen = (seen[:, :2] / seen[:, 2:]).mT
    inwards = (seen - corners[:2].T).abs()
    assert inwards.max() <= 0.25 + 1e-4 and inwards.max() > 0.2
    assert (seen >= -1e-4).all() and (seen <= 1 + 1e-4).all()


def test_a_perspective_happens_as_often_as_said() -> None:
    drawn = Augmentation(crop=1.0, probability=0.7).draw(2000, generator(2))
    share = ((drawn - torch.eye(3)).abs().amax((1, 2)) > 1e-6).float().mean()
    # Standard error sqrt(.7 .3 / 2000) = 0.0102; four of them.
    assert abs(share - 0.7) < 0.041


def test_beyond_the_image_a_view_shows_the_background() -> None:
    shrunk = torch.diag(torch.tensor([3.0, 3.0, 1.0]))[None]
    seen = warp(torch.zeros(3, 30, 30), shrunk, 30, torch.tensor([1.0, 0.5, 0.0]))
    assert torch.equal(seen[0, :, 20, 20], torch.tensor([1.0, 0.5, 0.0]))
    assert torch.equal(seen[0, :, 2, 2], torch.zeros(3))


def test_finer_sampling_averages() -> None:
    """A board of pixels, seen at half its size, is grey with two samples a side."""
    board = ((torch.arange(32)[:, None] + torch.arange(32)) % 2).float().expand(3, -1, -1)
    seen = warp(board, torch.eye(3)[None], 16, WHITE, samples=2)
    assert torch.allclose(seen, torch.full((), 0.5), atol=1e-5)


def test_the_gradient_of_a_view_is_that_of_finite_differences() -> None:
    image = torch.rand(3, 8, 8, generator=generator(3), dtype=torch.float64, requires_grad=True)
    homographies = Augmentation().draw(2, generator(4)).double()

    def views(x: Tensor) -> Tensor:
        return warp(x, homographies, 5, WHITE.double())

    assert torch.autograd.gradcheck(views, (image,))


@pytest.mark.parametrize(("crop", "distortion"), [(0.0, 0.5), (1.5, 0.5), (0.8, 1.5), (0.8, -1.0)])
def test_shares_outside_their_range_are_refused(crop: float, distortion: float) -> None:
    with pytest.raises(ValueError, match=r"must be in"):
        Augmentation(crop=crop, distortion=distortion)


def cubic(*points: tuple[float, float]) -> Path:
    return Path.open(torch.tensor(points, dtype=torch.float32))


def test_only_a_cubic_that_turns_back_is_penalised() -> None:
    arch = cubic((0, 0), (0, 1), (1, 1), (1, 0))  # legs up, right, down: turns one way
    assert crossing_penalty([arch]) == 0
    wave = cubic((0, 0), (0, 1), (1, 1), (1, 2))  # legs up, right, up: the last is level, sine 0
    assert crossing_penalty([wave]) == 0
    # Legs right, up-left, and down-right at 45 degrees: the last turns the other way by 45 degrees.
    loop = cubic((0, 0), (2, 0), (1, 1), (2, 0))
    assert crossing_penalty([loop]).item() == pytest.approx(math.sqrt(0.5), abs=1e-6)
    assert crossing_penalty([arch, loop]).item() == pytest.approx(math.sqrt(0.5) / 2, abs=1e-6)


def test_descending_the_penalty_takes_the_loop_out() -> None:
    points = torch.tensor([[0.0, 0], [2, 0], [1, 1], [2, 0]], requires_grad=True)
    for _ in range(200):
        penalty = crossing_penalty([Path.open(points)])
        (gradient,) = torch.autograd.grad(penalty, points)
        points = (points - 0.05 * gradient).detach().requires_grad_()
    assert penalty < 0.01


def test_circles_have_no_penalty_and_the_radius_they_should() -> None:
    for segments in (3, 4, 5, 8):
        shape = Icon(segments=segments).circle((300.0, 200.0), 100.0, torch.ones(4))
        anchors = shape.geometry.points()[::3]
        distance = (anchors - torch.tensor([300.0, 200.0])).norm(dim=1)
        assert torch.allclose(distance, torch.full((), 100.0), atol=1e-3)
        assert crossing_penalty([shape.geometry]) == 0
        black = Shape(shape.geometry, fill=torch.tensor([0.0, 0, 0, 1]))
        seen = Document([black], ViewBox(0, 0, 600, 600)).render(60, 60, WHITE)
        area = (1 - seen[0]).sum() * 100
        # Three cubics miss the circle's area by 0.7%, more of them by less.
        assert area.item() == pytest.approx(math.pi * 1e4, rel=0.01)


def test_saturation_is_zero_at_grey_and_one_at_the_ends() -> None:
    assert saturation_penalty(torch.full((3, 4, 4), 0.5)) == 0
    assert saturation_penalty(torch.rand(3, 4, 4, generator=generator()).round()) == 1


def icon(paths: int = 3, **options: object) -> Drawing:
    style = Icon(paths=paths)
    document = Document(list(style.start(generator())), style.view_box)
    return Drawing(document, Rates(points=5.0, colours=0.05), blank=style.blank, **options)  # type: ignore[arg-type]


def red_in_the_middle(drawing: Drawing) -> Tensor:
    return drawing.render(24)[1:, 6:18, 6:18].mean()


def test_updates_go_down_the_loss_and_colours_stay_in_range() -> None:
    drawing = icon()
    before = red_in_the_middle(drawing).item()
    for _ in range(30):
        drawing.update(red_in_the_middle(drawing))
    assert red_in_the_middle(drawing) < 0.7 * before
    colours = torch.stack(drawing.parameters().colours)
    assert 0 <= colours.min() and colours.max() <= 1


def test_a_replaced_shape_has_new_parameters_and_a_fresh_optimiser() -> None:
    """The other shapes keep their place, their values and their moments."""
    drawing = icon()
    for _ in range(3):
        drawing.update(red_in_the_middle(drawing))
    first, second, third = drawing.shapes
    assert drawing.optimizer is not None
    moments = drawing.optimizer.state[first.fill]
    new = Icon().circle((300.0, 300.0), 30.0, torch.tensor([1.0, 0, 0, 1]))
    drawing.replace([1], [new])
    assert drawing.shapes == [first, third, new]
    trained = {id(t) for group in drawing.optimizer.param_groups for t in group["params"]}
    assert id(second.fill) not in trained and id(new.fill) in trained
    assert second.fill not in drawing.optimizer.state
    assert new.fill not in drawing.optimizer.state
    assert drawing.optimizer.state[first.fill] is moments
    before = new.geometry.points().detach().clone()
    drawing.update(red_in_the_middle(drawing))
    assert not torch.equal(new.geometry.points(), before)
    assert drawing.optimizer.state[new.fill]["step"] == 1
    assert drawing.optimizer.state[first.fill]["step"] == 4


def test_the_state_restores_another_number_of_shapes() -> None:
    drawing, other = icon(5), icon(2)
    for one in (drawing, other):
        one.update(red_in_the_middle(one))
    other.load_state(copy.deepcopy(drawing.state()))
    for one in (drawing, other):
        one.update(red_in_the_middle(one))
    assert torch.equal(drawing.render(24), other.render(24))


def test_shapes_of_a_document_with_groups_are_not_exchanged() -> None:
    shape = Icon().blank()
    drawing = Drawing(Document([Group([shape])], ViewBox(0, 0, 600, 600)), Rates())
    with pytest.raises(ValueError, match="without groups"):
        drawing.replace([0], [Icon().blank()])


def test_rates_are_in_units_of_the_view_box() -> None:
    """A document a tenth as large is moved a tenth as far: the same image after a step."""
    images = []
    weights = torch.rand(3, 32, 32, generator=generator())
    for side in (600.0, 60.0):
        ring = Icon().circle((300.0, 300.0), 100.0, torch.tensor([1.0, 0, 0, 1]))
        shape = Shape(Path.closed(ring.geometry.points() * (side / 600)), fill=ring.fill)
        drawing = Drawing(Document([shape], ViewBox(0, 0, side, side)), Rates(points=10.0))
        drawing.update((weights * drawing.render(32)).sum())
        images.append(drawing.render(32).detach())
    assert torch.allclose(*images, atol=1e-3)


def test_alpha_of_an_opaque_drawing_stays() -> None:
    style = PixelArt(grid=4)
    drawing = Drawing(
        Document(list(style.start(generator())), style.view_box), style.rates, opaque=True
    )
    for _ in range(5):
        drawing.update(drawing.render(8).mean())
    colours = torch.stack(drawing.parameters().colours)
    assert (colours[:, 3] == 1).all() and (colours[:, :3] < 1).all()


def test_pixel_art_is_its_grid_of_colours() -> None:
    style = PixelArt(grid=4)
    shapes = style.start(generator())
    seen = Document(list(shapes), style.view_box).render(8, 8, WHITE)
    colours = torch.stack([s.fill for s in shapes if isinstance(s.fill, Tensor)])
    wanted = colours[:, :3].T.view(3, 4, 4).repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert torch.allclose(seen, wanted, atol=1e-5)


def test_of_a_sketch_only_points_move() -> None:
    style = Sketch(paths=3)
    drawing = Drawing(Document(list(style.start(generator())), style.view_box), style.rates)
    before = [t.detach().clone() for kind in drawing.parameters() for t in kind]
    drawing.update(drawing.render(32).mean())
    found = drawing.parameters()
    moved = [t for t in (*found.widths, *found.colours) if t.requires_grad]
    assert not moved
    assert not torch.equal(found.points[0], before[0])


@pytest.mark.parametrize("style", [Icon, Sketch, PixelArt])
def test_a_style_without_shapes_is_refused(style: type) -> None:
    with pytest.raises(ValueError, match="at least"):
        style(**{"grid" if style is PixelArt else "paths": 0})


@pytest.mark.parametrize("paths", [1, 5, 16, 63, 64, 200])
def test_layers_add_up_and_grow(paths: int) -> None:
    counts = layers(paths)
    assert sum(counts) == paths
    assert counts[:-1] == sorted(counts[:-1])
    assert all(count >= 1 for count in counts)


def disc(size: int = 64) -> Tensor:
    """A red disc of a quarter of the side, right of the middle, on white."""
    at = (torch.arange(size) + 0.5) / size
    y, x = torch.meshgrid(at, at, indexing="ij")
    inside = ((x - 0.65).square() + (y - 0.5).square() < 0.25**2).float()
    return 1 - inside * torch.tensor([0.0, 1.0, 1.0])[:, None, None]


def test_the_first_circle_is_put_onto_the_disc() -> None:
    (shape,) = place(Icon(), torch.ones(3, 64, 64), disc(), 1, 0)
    points = shape.geometry.points() / 600
    assert torch.allclose(points.mean(0), torch.tensor([0.65, 0.5]), atol=0.01)
    radius = (points[::3] - points[::3].mean(0)).norm(dim=1).mean()
    assert radius.item() == pytest.approx(0.25, rel=0.02)
    assert isinstance(shape.fill, Tensor)
    assert torch.allclose(shape.fill, torch.tensor([1.0, 0, 0, 1]), atol=0.02)


def test_nothing_wrong_is_no_reason_to_fail() -> None:
    """An image that is right already, and more circles than there are colours."""
    shapes = place(Icon(), torch.ones(3, 8, 8), torch.ones(3, 8, 8), 5, 0)
    assert len(shapes) == 5
    assert all(torch.isfinite(shape.geometry.points()).all() for shape in shapes)


def test_a_fit_gets_close_to_the_disc() -> None:
    """Two circles, 60 steps: the error falls to a fiftieth of that of white paper."""
    style = Icon(paths=2)
    drawing = Drawing(Document([], style.view_box), style.rates, blank=style.blank)
    target = disc()
    before = fitting_loss(drawing.render(64), target).item()
    drawing.add(place(style, drawing.render(64), target, 2, 0))
    for _ in range(60):
        drawing.update(fitting_loss(drawing.render(64), target))
    assert fitting_loss(drawing.render(64), target).item() < 0.02 * before


def test_cleaning_leaves_out_what_nobody_sees_and_keeps_the_image(tmp_path: FilePath) -> None:
    style = Icon()
    red = torch.tensor([1.0, 0, 0, 1])
    seen = style.circle((200.0, 200.0), 100.0, red)
    faint = style.circle((300.0, 300.0), 100.0, torch.tensor([0.0, 0, 1, 0.001]))
    outside = style.circle((900.0, 300.0), 100.0, red)
    edge = style.circle((-50.0, 300.0), 100.0, red)
    line = torch.tensor([[10.0, 10], [100, 10], [200, 10], [300, 10]])
    flat = Shape(Path.open(line), fill=red)
    drawn = Shape(Path.open(line), stroke=Stroke(red, torch.tensor(6.0)))
    box = ViewBox(0, 0, 600, 600)
    document = Document([seen, faint, outside, edge, flat, drawn], box)
    clean = optimized(document)
    assert clean.children == [seen, edge, drawn]
    ground, *rest = on_white(clean).children
    assert ground.name == "background" and rest == clean.children
    before, after = document.render(96, 96, WHITE), clean.render(96, 96, WHITE)
    assert (before - after).abs().max() <= 0.00101  # the faint circle's alpha
    again = load_svg(clean.save(tmp_path / "a.svg", digits=4))
    assert (again.render(96, 96, WHITE) - after).abs().max() < 0.02
