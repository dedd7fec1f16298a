"""Colours of CSS Color 4, in sRGB.

tinycss2 reads the syntax. Colours outside of sRGB's gamut keep lightness and hue and lose chroma,
by the binary search of CSS Color 4, section 13.2.
"""

import math
import re
from functools import lru_cache

import numpy as np
from tinycss2.color4 import Color, parse_color

__all__ = ["parse_colour"]

RGBA = tuple[float, float, float, float]

# From linear components to XYZ under D65 (CSS Color 4, section 18).
_TO_XYZ = {
    "srgb": [
        [506752 / 1228815, 87881 / 245763, 12673 / 70218],
        [87098 / 409605, 175762 / 245763, 12673 / 175545],
        [7918 / 409605, 87881 / 737289, 1001167 / 1053270],
    ],
    "display-p3": [
        [608311 / 1250200, 189793 / 714400, 198249 / 1000160],
        [35783 / 156275, 247089 / 357200, 198249 / 2500400],
        [0, 32229 / 714400, 5220557 / 5000800],
    ],
    "a98-rgb": [
        [573536 / 994567, 263643 / 1420810, 187206 / 994567],
        [591459 / 1989134, 6239551 / 9945670, 374412 / 4972835],
        [53769 / 1989134, 351524 / 4972835, 4929758 / 4972835],
    ],
    "rec2020": [
        [63426534 / 99577255, 20160776 / 139408157, 47086771 / 278816314],
        [26158966 / 99577255, 472592308 / 697040785, 8267143 / 139408157],
        [0, 19567812 / 697040785, 295819943 / 278816314],
    ],
}
_PROPHOTO_TO_D50 = [
    [0.79776664490064230, 0.13518129740053308, 0.03134773412839220],
    [0.28807482881940130, 0.71183523424187300, 0.00008993693872564],
    [0, 0, 0.82510460251046020],
]
_D50_TO_D65 = np.array(
    [
        [0.955473421488075, -0.02309845494876471, 0.06325924320057072],
        [-0.0283697093338637, 1.0099953980813041, 0.021041441191917323],
        [0.012314014864481998, -0.020507649298898964, 1.330365926242124],
    ]
)
_XYZ_TO_LMS = np.array(
    [
        [0.8190224379967030, 0.3619062600528904, -0.1288737815209879],
        [0.0329836539323885, 0.9292868615863434, 0.0361446663506424],
        [0.0481771893596242, 0.2642395317527308, 0.6335478284694309],
    ]
)
_LMS_TO_OKLAB = np.array(
    [
        [0.2104542683093140, 0.7936177747023054, -0.0040720430116193],
        [1.9779985324311684, -2.4285922420485799, 0.4505937096174110],
        [0.0259040424655478, 0.7827717124575296, -0.8086757549230774],
    ]
)
_LIGHT_DARK = re.compile(r"light-dark\((.*)\)", re.IGNORECASE | re.DOTALL)
_JUST_NOTICEABLE, _CLOSE = 0.02, 1e-4


@lru_cache(maxsize=4096)
def parse_colour(text: str) -> RGBA:
    """RGBA in [0, 1] of a CSS colour: a name, #rgb, rgb(), hsl(), hwb(), lab(), color(), ...

    Of light-dark() it is the first one, as on a light page.

    Raises:
        ValueError: if it is none.
    """
    both = _LIGHT_DARK.fullmatch(text.strip())
    if both:
        light, _ = (_one_colour(part) for part in _halves(both[1]))
        return light
    return _one_colour(text)


def _one_colour(text: str) -> RGBA:
    try:
        colour = parse_color(text.strip())
    except (AttributeError, IndexError, RecursionError, TypeError, ValueError, ZeroDivisionError):
        colour = None  # what tinycss2 stumbles over is no colour either
    if not isinstance(colour, Color):
        raise ValueError(
            f"{text[:60]!r} is not a CSS colour; use a name, #rrggbb, rgb(), hsl() or color()"
        )
    values = [float(v or 0) for v in (*colour.coordinates, colour.alpha)]
    if not all(math.isfinite(v) for v in values):
        raise ValueError(f"{text[:60]!r} is not a CSS colour: its numbers are not finite")
    try:
        if colour.space in ("srgb", "hsl", "hwb"):
            rgb = [float(v) for v in colour.to("srgb").coordinates]
        else:
            rgb = _mapped(_linear_srgb(colour)).tolist()
    except ArithmeticError as error:
        raise ValueError(f"{text[:60]!r} is not a CSS colour: its numbers are too large") from error
    r, g, b, a = (min(1.0, max(0.0, v)) for v in (*rgb, values[3]))
    return r, g, b, a


def _halves(text: str) -> tuple[str, str]:
    """The two colours of light-dark(), the first of which a light page shows.

    Raises:
        ValueError: if they are not two.
    """
    depth, commas = 0, []
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            commas.append(place)
    if len(commas) != 1:
        raise ValueError(f"light-dark({text[:40]}) is not of two colours")
    return text[: commas[0]], text[commas[0] + 1 :]


def _linear_srgb(colour: Color) -> np.ndarray:
    """Linear sRGB, beyond [0, 1] where the colour is out of gamut."""
    space = colour.space
    if space in ("lab", "lch"):
        xyz = _D50_TO_D65 @ np.array(colour.to("xyz-d50").coordinates)
    elif space in ("oklab", "oklch"):
        xyz = np.array(colour.to("xyz-d65").coordinates)
    else:
        values = np.array([float(v or 0) for v in colour.coordinates])
        if space == "xyz-d50":
            xyz = _D50_TO_D65 @ values
        elif space == "xyz-d65":
            xyz = values
        elif space == "prophoto-rgb":
            xyz = _D50_TO_D65 @ np.array(_PROPHOTO_TO_D50) @ _power(values, 1.8, 16 / 512, 16.0)
        elif space == "a98-rgb":
            xyz = np.array(_TO_XYZ[space]) @ _power(values, 563 / 256, 0.0, 1.0)
        elif space == "rec2020":
            a, b = 1.09929682680944, 0.018053968510807
            size = np.abs(values)
            curve = np.where(size < 4.5 * b, size / 4.5, ((size + a - 1) / a) ** (1 / 0.45))
            xyz = np.array(_TO_XYZ[space]) @ (np.sign(values) * curve)
        elif space == "srgb-linear":
            return values
        else:  # display-p3 has sRGB's curve
            xyz = np.array(_TO_XYZ[space]) @ _decoded(values)
    return np.linalg.solve(np.array(_TO_XYZ["srgb"]), xyz)


def _power(values: np.ndarray, gamma: float, below: float, slope: float) -> np.ndarray:
    size = np.abs(values)
    return np.asarray(np.sign(values) * np.where(size <= below, size / slope, size**gamma))


def _decoded(values: np.ndarray) -> np.ndarray:
    """From sRGB's curve to linear light."""
    size = np.abs(values)
    curve = np.where(size <= 0.04045, size / 12.92, ((size + 0.055) / 1.055) ** 2.4)
    return np.asarray(np.sign(values) * curve)


def _encoded(values: np.ndarray) -> np.ndarray:
    """From linear light to sRGB's curve."""
    size = np.abs(values)
    curve = np.where(size > 0.0031308, 1.055 * size ** (1 / 2.4) - 0.055, 12.92 * size)
    return np.asarray(np.sign(values) * curve)


def _oklab(linear: np.ndarray) -> np.ndarray:
    xyz = np.array(_TO_XYZ["srgb"]) @ linear
    return np.asarray(_LMS_TO_OKLAB @ np.cbrt(_XYZ_TO_LMS @ xyz))


def _from_oklab(lab: np.ndarray) -> np.ndarray:
    lms = np.linalg.solve(_LMS_TO_OKLAB, lab) ** 3
    return np.linalg.solve(np.array(_TO_XYZ["srgb"]), np.linalg.solve(_XYZ_TO_LMS, lms))


def _mapped(linear: np.ndarray) -> np.ndarray:
    """sRGB in gamut, by reducing Oklch chroma until what is clipped is not noticed."""
    if linear.min() >= -1e-4 and linear.max() <= 1 + 1e-4:
        return _encoded(linear)
    lab = _oklab(linear)
    if lab[0] >= 1 or lab[0] <= 0:
        return np.full(3, 1.0 if lab[0] >= 1 else 0.0)
    low, high, low_in_gamut = 0.0, 1.0, True
    clipped = linear.clip(0, 1)
    if np.linalg.norm(_oklab(clipped) - lab) < _JUST_NOTICEABLE:
        return _encoded(clipped)
    chroma = float(np.hypot(lab[1], lab[2]))
    while (high - low) * chroma > _CLOSE:
        share = (low + high) / 2
        now = lab * [1, share, share]
        light = _from_oklab(now)
        if low_in_gamut and light.min() >= 0 and light.max() <= 1:
            low = share
            continue
        clipped = light.clip(0, 1)
        gap = float(np.linalg.norm(_oklab(clipped) - now))
        if gap < _JUST_NOTICEABLE:
            if _JUST_NOTICEABLE - gap < _CLOSE:
                break
            low_in_gamut, low = False, share
        else:
            high = share
    return _encoded(clipped)
