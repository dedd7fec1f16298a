import math

import numpy as np
import pytest
import torch

from scorefield.views import FOV, VIEWS, view_name
from scorefield.world import (
    CATEGORIES,
    COLORS,
    FRONTED,
    Images,
    WorldScene,
    draw_scene,
    render,
)
from scorefield.world.geometry import Kind, Part

MANY = 1500


@pytest.fixture(scope="module")
def scenes() -> list[WorldScene]:
    return [draw_scene(3, index) for index in range(MANY)]


@pytest.fixture(scope="module")
def pictures(scenes: list[WorldScene]) -> Images:
    return render(scenes[:200], size=96, antialias=1)


def same(a: WorldScene, b: WorldScene) -> bool:
    plain = ("category", "color", "azimuth", "elevation", "distance", "ambient", "caption")
    arrays = ("look_at", "light", "background")
    return (
        all(getattr(a, name) == getattr(b, name) for name in plain)
        and all(np.array_equal(getattr(a, name), getattr(b, name)) for name in arrays)
        and all(same_part(p, q) for p, q in zip(a.parts, b.parts, strict=True))
    )


def same_part(p: Part, q: Part) -> bool:
    return all(
        np.array_equal(getattr(p, name), getattr(q, name))
        for name in ("name", "kind", "centre", "linear", "color", "taper")
    )


def test_a_scene_is_a_function_of_seed_and_index() -> None:
    assert same(draw_scene(0, 7), draw_scene(0, 7))
    others = [draw_scene(0, 8), draw_scene(1, 7), draw_scene(7, 0)]
    assert not any(same(draw_scene(0, 7), other) for other in others)


def test_images_are_deterministic() -> None:
    scenes = [draw_scene(0, index) for index in range(8)]
    first, second = render(scenes), render(scenes)
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.part, second.part)


def test_images_do_not_depend_on_their_batch() -> None:
    scenes = [draw_scene(5, index) for index in range(24)]
    together = render(scenes)
    for i, scene in enumerate(scenes):
        alone = render([scene])
        # bit for bit
        assert torch.equal(alone.images[0], together.images[i])
        assert torch.equal(alone.depth[0], together.depth[i])
        assert torch.equal(alone.mask[0], together.mask[i])
        names = [together.part_names[k] for k in together.part[i][together.mask[i]]]
        assert names == [alone.part_names[k] for k in alone.part[0][alone.mask[0]]]
        count = len(alone.landmark_names[0])
        assert alone.landmark_names[0] == together.landmark_names[i]
        assert torch.equal(alone.landmarks[0], together.landmarks[i, :count])
        assert torch.equal(alone.visible[0], together.visible[i, :count])
        assert not together.visible[i, count:].any()


@pytest.mark.parametrize("index", range(20))
def test_fixing_does_not_move_other_draws(index: int) -> None:
    free = draw_scene(2, index)
    assert same(free, draw_scene(2, index, category=free.category, color=free.color))
    fixed = draw_scene(2, index, category="robot", color="teal")
    assert (fixed.category, fixed.color) == ("robot", "teal")
    for name in ("azimuth", "elevation", "distance", "ambient"):
        assert getattr(fixed, name) == getattr(free, name)
    for name in ("look_at", "light", "background"):
        assert np.array_equal(getattr(fixed, name), getattr(free, name))
    recolored = draw_scene(2, index, color="teal")
    for p, q in zip(free.parts, recolored.parts, strict=True):
        assert np.array_equal(p.linear, q.linear)
        assert np.array_equal(p.centre, q.centre)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"category must be one of mushroom, .*got 'sofa'"):
        draw_scene(0, 0, category="sofa")
    with pytest.raises(ValueError, match=r"color must be one of red, .*got 'mauve'"):
        draw_scene(0, 0, color="mauve")


@pytest.mark.parametrize(("kind", "names"), [("category", CATEGORIES), ("color", COLORS)])
def test_marginals_are_uniform(
    scenes: list[WorldScene], kind: str, names: dict[str, object]
) -> None:
    p = 1 / len(names)
    error = math.sqrt(p * (1 - p) / MANY)
    drawn = [getattr(scene, kind) for scene in scenes]
    for name in names:
        assert abs(drawn.count(name) / MANY - p) < 5 * error


def test_category_and_color_are_independent(scenes: list[WorldScene]) -> None:
    p = 1 / len(CATEGORIES) / len(COLORS)
    error = math.sqrt(p * (1 - p) / MANY)
    pairs = [(scene.category, scene.color) for scene in scenes]
    for category in CATEGORIES:
        for color in COLORS:
            assert abs(pairs.count((category, color)) / MANY - p) < 5 * error


@pytest.mark.parametrize(
    ("azimuth", "elevation", "view"),
    [
        (0, 0, "front view"),
        (44.9, 60, "front view"),
        (-44.9, -10, "front view"),
        (359, 0, "front view"),
        (45, 0, "side view"),
        (90, 0, "side view"),
        (-90, 0, "side view"),
        (135, 0, "side view"),
        (270, 0, "side view"),
        (135.1, 0, "back view"),
        (180, 0, "back view"),
        (-180, 0, "back view"),
        (-540, 0, "back view"),
        (0, 60.1, "overhead view"),
        (180, 88, "overhead view"),
    ],
)
def test_view_name(azimuth: float, elevation: float, view: str) -> None:
    assert view_name(azimuth, elevation) == view
    assert view in VIEWS


def test_captions_are_true(scenes: list[WorldScene]) -> None:
    for scene in scenes:
        noun = scene.caption.removeprefix("a flat icon of ").removeprefix("a photo of ")
        noun, *rest = noun.split(", ")
        article, *words = noun.split()
        assert words in ([scene.category], [scene.color, scene.category])
        assert article == ("an" if words[0][0] in "aeiou" else "a")
        assert set(rest) <= {scene.view, "white background"}
        assert ("flat icon" in scene.caption) == (scene.ambient == 1)
        if "white background" in rest:
            assert (scene.background == 1).all()
    share = sum(scene.color not in scene.caption for scene in scenes) / MANY
    assert abs(share - 0.1) < 5 * math.sqrt(0.1 * 0.9 / MANY)


def test_scenes_are_within_bounds(scenes: list[WorldScene]) -> None:
    for scene in scenes:
        assert -10 <= scene.elevation <= 88
        assert 2.8 <= scene.distance <= 3.2
        assert np.linalg.norm(scene.light) == pytest.approx(1)
        for values in (scene.background, *(part.color for part in scene.parts)):
            assert ((values >= 0) & (values <= 1)).all()


def surface(part: Part) -> np.ndarray:
    """Points (n, 3) dense on what spans the part: a sphere, corners, or the rims of a cone."""
    if part.kind == Kind.BOX:
        local = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T
    elif part.kind == Kind.CONE:
        a = np.linspace(0, 2 * np.pi, 64)
        ends = ((-1.0, 1.0), (1.0, part.taper))
        rims = [(np.cos(a) * r, np.sin(a) * r, np.full_like(a, z)) for z, r in ends]
        local = np.concatenate([np.stack(rim, axis=1) for rim in rims])
    else:
        k = np.arange(500) + 0.5  # a Fibonacci lattice
        z, a = 1 - k / 250, np.pi * (1 + 5**0.5) * k
        local = np.stack([np.sqrt(1 - z * z) * np.cos(a), np.sqrt(1 - z * z) * np.sin(a), z], 1)
    return part.centre + local @ part.linear.T


def test_objects_fill_the_unit_sphere(scenes: list[WorldScene]) -> None:
    for scene in scenes[:400]:
        points = np.concatenate([surface(part) for part in scene.parts])
        assert 0.87 < np.linalg.norm(points, axis=1).max() < 1


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_category(category: str) -> None:
    scenes = [draw_scene(1, index, category=category) for index in range(8)]
    assert {scene.category for scene in scenes} == {category}
    assert all(scene.fronted == (category in FRONTED) for scene in scenes)
    pictures = render(scenes)
    share = pictures.mask.float().mean((1, 2))
    # an object of the unit sphere spans most of the image
    assert bool(((share > 0.02) & (share < 0.7)).all())


def test_ground_truth_fits_together(pictures: Images) -> None:
    assert pictures.images.shape == (200, 3, 96, 96)
    assert bool(((pictures.images >= 0) & (pictures.images <= 1)).all())
    assert torch.equal(pictures.mask, pictures.depth.isfinite())
    assert int(pictures.part.max()) < len(pictures.part_names)
    inside = pictures.depth[pictures.mask]
    assert 2.8 - 1.1 < float(inside.min()) <= float(inside.max()) < 3.2 + 1.1


def test_background_is_the_gradient(scenes: list[WorldScene], pictures: Images) -> None:
    sky = torch.as_tensor(np.stack([s.background for s in scenes[:200]]), dtype=torch.float32)
    down = torch.linspace(0, 1, 96)[None, :, None, None]
    expected = torch.lerp(sky[:, None, None, 0], sky[:, None, None, 1], down)  # (n, 96, 1, 3)
    expected = expected.expand(-1, -1, 96, -1).permute(0, 3, 1, 2)
    off = ~pictures.mask[:, None].expand(-1, 3, -1, -1)
    torch.testing.assert_close(pictures.images[off], expected[off])


def test_icons_are_flat() -> None:
    icons = [scene for scene in (draw_scene(4, i) for i in range(60)) if scene.ambient == 1]
    pictures = render(icons, antialias=1)
    for scene, image, mask in zip(icons, pictures.images, pictures.mask, strict=True):
        seen = torch.unique(image[:, mask], dim=1).T
        colors = torch.as_tensor(np.stack([p.color for p in scene.parts]), dtype=torch.float32)
        distance = (seen[:, None] - colors).abs().amax(2).amin(1)
        assert float(distance.max()) < 1e-6
        assert bool((image[:, ~mask] == 1).all())


def test_antialias_averages_the_finer_image() -> None:
    scenes = [draw_scene(6, index) for index in range(6)]
    fine = render(scenes, size=96, antialias=1)
    coarse = render(scenes, size=32, antialias=3)
    averaged = torch.nn.functional.avg_pool2d(fine.images, 3)
    torch.testing.assert_close(coarse.images, averaged, rtol=0, atol=1e-6)
    # the ground truth is that of each pixel's first ray
    assert torch.equal(coarse.part, fine.part[:, ::3, ::3])
    assert torch.equal(coarse.depth, fine.depth[:, ::3, ::3])


def camera_of(scene: WorldScene) -> tuple[np.ndarray, np.ndarray]:
    a, e = math.radians(scene.azimuth), math.radians(scene.elevation)
    where = (math.cos(e) * math.cos(a), math.cos(e) * math.sin(a), math.sin(e))
    position = scene.distance * np.array(where)
    backward = (position - scene.look_at) / np.linalg.norm(position - scene.look_at)
    right = np.array([-backward[1], backward[0], 0]) / np.hypot(backward[0], backward[1])
    return position, np.stack([right, np.cross(backward, right), backward])


def test_landmarks_are_projections_of_the_ends(scenes: list[WorldScene], pictures: Images) -> None:
    focal = 48 / math.tan(math.radians(FOV / 2))
    for i, scene in enumerate(scenes[:40]):
        position, frame = camera_of(scene)
        names = pictures.landmark_names[i]
        part = scene.parts[0]
        for sign, mark in ((-1, "-"), (1, "+")):
            x, y, z = frame @ (part.centre + sign * part.linear[:, 2] - position)
            expected = torch.tensor([48 - focal * x / z, 48 + focal * y / z])
            index = names.index(f"{part.name}0 {mark}z")
            torch.testing.assert_close(
                pictures.landmarks[i, index], expected.float(), rtol=0, atol=1e-3
            )


def test_landmarks_lie_on_their_part(pictures: Images) -> None:
    """The pixel of a visible landmark shows its part, or a neighbour does.

    A landmark at an outline, or on a part of about a pixel, may round to the next pixel: at most
    one in fifty misses the 3x3 pixels around it, one in six its own.
    """
    exact = near = total = 0
    for i, names in enumerate(pictures.landmark_names):
        for k, name in enumerate(names):
            if not pictures.visible[i, k]:
                continue
            part = pictures.part_names.index(name.split()[0].rstrip("0123456789"))
            x, y = pictures.landmarks[i, k].long().tolist()
            around = pictures.part[i, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
            exact += int(pictures.part[i, y, x] == part)
            near += int((around == part).any())
            total += 1
    assert total > 800
    assert exact / total > 5 / 6
    assert near / total > 0.98


def test_landmarks_on_the_far_side_are_hidden() -> None:
    """No camera sees two opposite faces of a box."""
    scenes = [draw_scene(8, index) for index in range(100)]
    pictures = render(scenes)
    both = pairs = 0
    for i, (scene, names) in enumerate(zip(scenes, pictures.landmark_names, strict=True)):
        boxes = {part.name for part in scene.parts if part.kind == Kind.BOX}
        for k, name in enumerate(names):
            if name[-2] == "-" and name.split()[0].rstrip("0123456789") in boxes:
                both += int(pictures.visible[i, k] and pictures.visible[i, k + 1])
                pairs += 1
    assert pairs > 300
    assert both == 0


def test_horizontal_landmarks_only_where_there_is_a_front(
    scenes: list[WorldScene], pictures: Images
) -> None:
    for scene, names in zip(scenes, pictures.landmark_names, strict=False):
        assert {name[-1] for name in names} == (set("xyz") if scene.fronted else {"z"})
        assert len(names) == len(scene.parts) * (6 if scene.fronted else 2) == len(set(names))
