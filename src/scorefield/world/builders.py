"""Builders of the dozen categories of the procedural world, from parts of random proportions.

Each returns parts in any convenient scale, z up, with the object's front towards +x; `build` of
`objects` then fits the object into the unit sphere. `main` is the colour that captions name.
"""

from typing import Any

import numpy as np

from scorefield.world.geometry import Kind, Part, rotation

Real = float | int
Triple = tuple[Real, Real, Real]

CREAM, WHITE, SILVER = (0.94, 0.88, 0.74), (0.94, 0.94, 0.93), (0.72, 0.73, 0.75)
GREY, DARK, WOOD = (0.48, 0.49, 0.52), (0.14, 0.14, 0.17), (0.50, 0.35, 0.22)
GLASS, BEAK = (0.72, 0.86, 0.95), (0.95, 0.55, 0.10)

Rng = np.random.Generator
Rgb = np.ndarray | Triple


def _part(
    name: str,
    kind: Kind,
    centre: Triple,
    half: Triple,
    color: Rgb,
    *,
    taper: Real = 1.0,
    turn: np.ndarray | None = None,
) -> Part:
    linear = np.diag(half).astype(float)
    linear = linear if turn is None else turn @ linear
    return Part(name, kind, np.array(centre, float), linear, np.asarray(color, float), taper)


def _ball(name: str, centre: Triple, half: Real | Triple, color: Rgb) -> Part:
    half = half if isinstance(half, tuple) else (half, half, half)
    return _part(name, Kind.SPHERE, centre, half, color)


def _box(name: str, centre: Triple, half: Triple, color: Rgb, **kw: Any) -> Part:
    return _part(name, Kind.BOX, centre, half, color, **kw)


def _tube(
    name: str, centre: Triple, radius: Real, half_height: Real, color: Rgb, **kw: Any
) -> Part:
    return _part(name, Kind.CONE, centre, (radius, radius, half_height), color, **kw)


def _pick(rng: Rng, *colors: Rgb) -> Rgb:
    return colors[rng.integers(len(colors))]


def mushroom(rng: Rng, main: Rgb) -> list[Part]:
    """A stem and a round cap, often with pale spots."""
    stem, radius = rng.uniform(0.75, 1.1), rng.uniform(0.55, 0.75)
    dome = rng.uniform(0.36, 0.56)
    parts = [
        _tube("stem", (0, 0, stem / 2), rng.uniform(0.17, 0.26), stem / 2, CREAM, taper=0.8),
        _ball("cap", (0, 0, stem), (radius, radius, dome), main),
    ]
    if rng.random() < 0.6:
        spin = rng.uniform(0, 360)
        for k, height in enumerate((0.95, 0.62, 0.62, 0.62, 0.62, 0.62)):
            a = np.radians(spin + 72 * k)
            ring = np.sqrt(1 - height**2)
            centre = (radius * ring * np.cos(a), radius * ring * np.sin(a), stem + dome * height)
            parts.append(_ball("spot", centre, 0.12 * radius / 0.7, WHITE))
    return parts


def lamp(rng: Rng, main: Rgb) -> list[Part]:
    """A foot, a thin pole and a tapered shade."""
    pole, shade_height = rng.uniform(0.7, 1.1), rng.uniform(0.45, 0.65)
    metal = _pick(rng, DARK, GREY, WOOD)
    return [
        _tube("foot", (0, 0, 0.05), rng.uniform(0.28, 0.4), 0.05, metal),
        _tube("pole", (0, 0, pole / 2), 0.055, pole / 2, metal),
        _tube(
            "shade",
            (0, 0, pole + shade_height / 2 - 0.1),
            rng.uniform(0.5, 0.65),
            shade_height / 2,
            main,
            taper=rng.uniform(0.45, 0.7),
        ),
    ]


def _legs(x: Real, y: Real, height: Real, thick: Real, color: Rgb) -> list[Part]:
    return [
        _box("leg", (sx * x, sy * y, -height / 2), (thick, thick, height / 2), color)
        for sx in (-1, 1)
        for sy in (-1, 1)
    ]


def chair(rng: Rng, main: Rgb) -> list[Part]:
    """Four legs, a seat, and a back at the rear."""
    width, height, back = rng.uniform(0.42, 0.55), rng.uniform(0.6, 0.8), rng.uniform(0.75, 1.0)
    legs = _legs(0.4, width - 0.08, height, 0.065, _pick(rng, WOOD, DARK, GREY))
    return [
        *legs,
        _box("seat", (0, 0, 0.04), (0.48, width, 0.08), main),
        _box("back", (-0.42, 0, 0.1 + back / 2), (0.07, width, back / 2), main),
    ]


def table(rng: Rng, main: Rgb) -> list[Part]:
    """Four legs under a wide square or round top."""
    height, width = rng.uniform(0.6, 0.85), rng.uniform(0.62, 0.95)
    legs_color = _pick(rng, WOOD, DARK, GREY)
    if rng.random() < 0.35:
        top = _part("top", Kind.CONE, (0, 0, 0.06), (0.85, width, 0.08), main)
        return [*_legs(0.5, 0.58 * width, height, 0.07, legs_color), top]
    top = _box("top", (0, 0, 0.06), (0.75, width, 0.08), main)
    return [*_legs(0.64, width - 0.11, height, 0.07, legs_color), top]


def snowman(rng: Rng, main: Rgb) -> list[Part]:
    """Two or three stacked balls with eyes, a nose, buttons and often a hat."""
    parts, z, radius = [], 0.0, rng.uniform(0.5, 0.58)
    count = rng.integers(2, 4)
    for k in range(count):
        parts.append(_ball("head" if k == count - 1 else "body", (0, 0, z), radius, main))
        if k < count - 1:
            for up in (0.1, 0.5):
                x = 1.0 * radius * np.cos(up)
                parts.append(_ball("button", (x, 0, z + radius * np.sin(up)), 0.075, DARK))
            smaller = radius * rng.uniform(0.7, 0.78)
            z += 0.82 * (radius + smaller)
            radius = smaller
    for side in (-1, 1):
        eye = (0.88 * radius, side * 0.36 * radius, z + 0.34 * radius)
        parts.append(_ball("eye", eye, 0.075, DARK))
    nose = rotation(1, 90)  # the local z axis, along which a cone narrows, to +x
    length = rng.uniform(0.16, 0.24)
    parts.append(
        _part(
            "nose", Kind.CONE, (radius + 0.8 * length, 0, z), (0.1, 0.1, length), BEAK,
            taper=0.05, turn=nose,
        )
    )  # fmt: skip
    if rng.random() < 0.7:
        parts.append(_tube("brim", (0, 0, z + 0.78 * radius), 1.05 * radius, 0.04, DARK))
        parts.append(_tube("hat", (0, 0, z + 1.15 * radius), 0.65 * radius, 0.4 * radius, DARK))
    return parts


def rocket(rng: Rng, main: Rgb) -> list[Part]:
    """A tall body with a pointed nose, fins and portholes."""
    radius, height = rng.uniform(0.26, 0.34), rng.uniform(1.0, 1.3)
    trim = _pick(rng, SILVER, GREY, WHITE)
    tip = rng.uniform(0.4, 0.6)
    parts = [
        _tube("hull", (0, 0, height / 2), radius, height / 2, main, taper=0.85),
        _tube("tip", (0, 0, height + tip / 2), 0.85 * radius, tip / 2, trim, taper=0.05),
        _tube("engine", (0, 0, -0.08), 0.6 * radius, 0.09, DARK, taper=0.8),
    ]
    for k in range(4):
        turn = rotation(2, 45 + 90 * k)
        a = np.radians(45 + 90 * k)
        centre = (1.25 * radius * np.cos(a), 1.25 * radius * np.sin(a), 0.14)
        shear = np.eye(3)
        shear[2, 0] = -0.9  # the fin's outer edge hangs lower
        parts.append(_box("fin", centre, (0.55 * radius, 0.045, 0.2), trim, turn=turn @ shear))
        a = np.radians(90 * k)
        window = (0.93 * radius * np.cos(a), 0.93 * radius * np.sin(a), 0.68 * height)
        parts.append(_ball("window", window, 0.12, GLASS))
    return parts


def tree(rng: Rng, main: Rgb) -> list[Part]:
    """A trunk with stacked cones or a round crown."""
    trunk = rng.uniform(0.3, 0.5)
    parts = [_tube("trunk", (0, 0, trunk / 2), rng.uniform(0.1, 0.16), trunk / 2 + 0.1, WOOD)]
    if rng.random() < 0.65:
        z, radius = trunk, rng.uniform(0.55, 0.7)
        for _ in range(3):
            parts.append(_tube("crown", (0, 0, z + 0.28), radius, 0.28, main, taper=0.12))
            z, radius = z + 0.36, 0.76 * radius
        return parts
    radius = rng.uniform(0.42, 0.52)
    parts.append(_ball("crown", (0, 0, trunk + 1.3 * radius), radius, main))
    spin = rng.uniform(0, 360)
    for k in range(3):
        a = np.radians(spin + 120 * k)
        centre = (0.55 * radius * np.cos(a), 0.55 * radius * np.sin(a), trunk + 0.8 * radius)
        parts.append(_ball("crown", centre, 0.72 * radius, main))
    return parts


def cup(rng: Rng, main: Rgb) -> list[Part]:
    """A wide cup with a dark drink in it and a square handle at the +y side."""
    radius, height = rng.uniform(0.5, 0.62), rng.uniform(0.85, 1.15)
    taper = rng.uniform(1.0, 1.25)
    rim = radius * taper
    reach, hold, thick = rng.uniform(0.2, 0.28), 0.26 * height, 0.07
    y = 0.5 * (radius + rim)
    return [
        _tube("body", (0, 0, 0), radius, height / 2, main, taper=taper),
        _tube("drink", (0, 0, height / 2), 0.86 * rim, 0.012, DARK),
        _box("handle", (0, y + reach, 0.02), (thick, thick, hold), main),
        _box("handle", (0, y + reach / 2, hold - 0.05), (thick, reach / 2 + thick, thick), main),
        _box("handle", (0, y + reach / 2, 0.09 - hold), (thick, reach / 2 + thick, thick), main),
    ]


def robot(rng: Rng, main: Rgb) -> list[Part]:
    """A boxy body and head with eyes, a chest panel, arms, legs and an antenna."""
    width, height = rng.uniform(0.38, 0.48), rng.uniform(0.38, 0.46)
    head = rng.uniform(0.24, 0.3)
    limb = _pick(rng, SILVER, GREY)
    neck = height + head + 0.06
    parts = [
        _box("body", (0, 0, 0), (0.28, width, height), main),
        _box("head", (0, 0, neck), (head, 1.15 * head, head), main),
        _box("panel", (0.28, 0, 0.02), (0.03, 0.6 * width, 0.5 * height), WHITE),
        _tube("antenna", (0, 0, neck + head + 0.1), 0.04, 0.12, limb),
        _ball("bulb", (0, 0, neck + head + 0.24), 0.085, limb),
        _box("mouth", (head, 0, neck - 0.5 * head), (0.03, 0.55 * head, 0.045), DARK),
    ]
    for side in (-1, 1):
        parts += [
            _ball("eye", (head, side * 0.5 * head, neck + 0.2 * head), 0.1, WHITE),
            _ball("pupil", (head + 0.07, side * 0.5 * head, neck + 0.2 * head), 0.055, DARK),
            _box("arm", (0, side * (width + 0.13), 0.02), (0.1, 0.09, 0.9 * height), limb),
            _box("leg", (0, side * 0.5 * width, -height - 0.2), (0.13, 0.13, 0.22), limb),
        ]
    return parts


def house(rng: Rng, main: Rgb) -> list[Part]:
    """Walls, a gable roof, a door and windows at the front, a window at each side."""
    depth, width, height = rng.uniform(0.5, 0.7), rng.uniform(0.55, 0.7), rng.uniform(0.38, 0.5)
    roof = 0.62 * np.asarray(main)
    pitch = rng.uniform(0.4, 0.55)
    # A square bar turned by 45 degrees about x and then stretched: the half above the walls is
    # the gable.
    gable = np.diag([1, 1.16 * width / np.sqrt(0.5), pitch / np.sqrt(0.5)]) @ rotation(0, 45)
    gable = gable @ np.diag([1.06 * depth, 0.5, 0.5])
    parts = [
        _box("walls", (0, 0, 0), (depth, width, height), main),
        Part("roof", Kind.BOX, np.array([0, 0, height]), gable, np.asarray(roof)),
        _box("door", (depth, 0, -0.4 * height), (0.03, 0.15, 0.6 * height), DARK),
        _box("chimney", (-0.4 * depth, 0.45 * width, height + 0.42), (0.09, 0.09, 0.2), roof),
    ]
    for side in (-1, 1):
        parts.append(
            _box("window", (depth, side * 0.62 * width, 0.2 * height), (0.03, 0.13, 0.13), GLASS)
        )
        parts.append(_box("window", (0, side * width, 0.1 * height), (0.15, 0.03, 0.13), GLASS))
    return parts


def boat(rng: Rng, main: Rgb) -> list[Part]:
    """A hull pointed at the front, a cabin towards the rear and a funnel."""
    width, length, height = rng.uniform(0.36, 0.46), rng.uniform(0.5, 0.62), rng.uniform(0.2, 0.27)
    bow = np.diag([0.62 / np.sqrt(0.5), width / np.sqrt(0.5), height]) @ rotation(2, 45)
    bow = bow @ np.diag([0.5, 0.5, 1.0])
    cabin = rng.uniform(0.2, 0.28)
    return [
        _box("hull", (-length / 2, 0, 0), (length, width, height), main),
        Part("bow", Kind.BOX, np.array([length / 2, 0, 0.0]), bow, np.asarray(main)),
        _box("deck", (-length / 2, 0, height), (0.9 * length, 0.86 * width, 0.02), WOOD),
        _box("cabin", (-0.7 * length, 0, height + cabin), (0.3, 0.68 * width, cabin), WHITE),
        _box(
            "window",
            (0.3 - 0.7 * length, 0, height + 1.15 * cabin),
            (0.02, 0.5 * width, 0.09),
            DARK,
        ),
        _tube(
            "funnel",
            (-0.8 * length, 0, height + 2 * cabin + 0.15),
            0.1,
            0.17,
            _pick(rng, DARK, GREY),
        ),
    ]


def duck(rng: Rng, main: Rgb) -> list[Part]:
    """A plump body, a head with a beak and eyes, wings and a tail."""
    length, width, height = rng.uniform(0.62, 0.72), rng.uniform(0.42, 0.5), rng.uniform(0.36, 0.44)
    head = rng.uniform(0.28, 0.34)
    x, z = 0.55 * length, height + 0.55 * head
    tail = rotation(1, -60)
    parts = [
        _ball("body", (0, 0, 0), (length, width, height), main),
        _ball("head", (x, 0, z), head, main),
        _part("beak", Kind.CONE, (x + 1.15 * head, 0, z - 0.1 * head), (0.1, 0.16, 0.16), BEAK,
              taper=0.35, turn=rotation(1, 90)),
        _part("tail", Kind.CONE, (-0.9 * length, 0, 0.16), (0.12, 0.2, 0.26), main,
              taper=0.15, turn=tail),
    ]  # fmt: skip
    wing = 0.86 * np.asarray(main)
    for side in (-1, 1):
        eye = (x + 0.72 * head, side * 0.58 * head, z + 0.34 * head)
        parts.append(_ball("eye", eye, 0.065, DARK))
        parts.append(_ball("wing", (-0.08, side * 0.92 * width, 0.06), (0.36, 0.09, 0.2), wing))
    return parts
