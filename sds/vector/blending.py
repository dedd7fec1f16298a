"""Blend modes: how the colours of a layer mix with those below it.

W3C, Compositing and Blending Level 1, whose sections are named below.
"""

from enum import Enum

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["BlendMode", "blended"]

_LEAST = 1e-6
"""No divisor is smaller: gradients stay finite, and what is divided is weighted by as little."""


class BlendMode(Enum):
    """CSS's mix-blend-mode."""

    NORMAL = "normal"
    MULTIPLY = "multiply"
    SCREEN = "screen"
    OVERLAY = "overlay"
    DARKEN = "darken"
    LIGHTEN = "lighten"
    COLOR_DODGE = "color-dodge"
    COLOR_BURN = "color-burn"
    HARD_LIGHT = "hard-light"
    SOFT_LIGHT = "soft-light"
    DIFFERENCE = "difference"
    EXCLUSION = "exclusion"
    HUE = "hue"
    SATURATION = "saturation"
    COLOR = "color"
    LUMINOSITY = "luminosity"


def blended(
    below: Float[Tensor, "4 height width"], above: Float[Tensor, "4 height width"], mode: BlendMode
) -> Float[Tensor, "4 height width"]:
    """A layer over what is below, both premultiplied: section 5, "General Formula".

    c = (1 - a_s) c_b + (1 - a_b) c_s + a_s a_b B(C_b, C_s), and a = a_s + a_b - a_s a_b.
    """
    under, over = below[3:], above[3:]
    mixed = _mixed(_plain(below), _plain(above), mode)
    colour = (1 - over) * below[:3] + (1 - under) * above[:3] + over * under * mixed
    return torch.cat([colour, over + under - over * under])


def _plain(image: Tensor) -> Tensor:
    """Colours that are not premultiplied."""
    return (image[:3] / image[3:].clamp_min(_LEAST)).clamp(0, 1)


def _mixed(b: Tensor, s: Tensor, mode: BlendMode) -> Tensor:
    """B(C_b, C_s) of sections 10.1 and 10.2."""
    match mode:
        case BlendMode.NORMAL:
            return s
        case BlendMode.MULTIPLY:
            return b * s
        case BlendMode.SCREEN:
            return b + s - b * s
        case BlendMode.OVERLAY:
            return _hard_light(s, b)
        case BlendMode.DARKEN:
            return torch.minimum(b, s)
        case BlendMode.LIGHTEN:
            return torch.maximum(b, s)
        case BlendMode.COLOR_DODGE:
            return torch.where(b > 0, (b / (1 - s).clamp_min(_LEAST)).clamp_max(1), 0.0)
        case BlendMode.COLOR_BURN:
            return torch.where(b < 1, 1 - ((1 - b) / s.clamp_min(_LEAST)).clamp_max(1), 1.0)
        case BlendMode.HARD_LIGHT:
            return _hard_light(b, s)
        case BlendMode.SOFT_LIGHT:
            dark = ((16 * b - 12) * b + 4) * b
            light = torch.where(b <= 0.25, dark, b.clamp_min(0.25).sqrt())
            lit = torch.where(s <= 0.5, b * (1 - b), light - b)
            return b + (2 * s - 1) * lit
        case BlendMode.DIFFERENCE:
            return (b - s).abs()
        case BlendMode.EXCLUSION:
            return b + s - 2 * b * s
        case BlendMode.HUE:
            return _with_luminosity(_with_saturation(s, b), b)
        case BlendMode.SATURATION:
            return _with_luminosity(_with_saturation(b, s), b)
        case BlendMode.COLOR:
            return _with_luminosity(s, b)
        case BlendMode.LUMINOSITY:
            return _with_luminosity(b, s)


def _hard_light(b: Tensor, s: Tensor) -> Tensor:
    screened = 2 * s - 1
    return torch.where(s <= 0.5, 2 * b * s, b + screened - b * screened)


def _luminosity(colour: Tensor) -> Tensor:
    return 0.3 * colour[:1] + 0.59 * colour[1:2] + 0.11 * colour[2:3]


def _with_luminosity(colour: Tensor, other: Tensor) -> Tensor:
    """A colour with the luminosity of another, made paler where it leaves [0, 1]."""
    wanted = _luminosity(other)
    moved = colour + (wanted - _luminosity(colour))
    low, high = moved.amin(0, keepdim=True), moved.amax(0, keepdim=True)
    grey = moved - wanted
    moved = torch.where(low < 0, wanted + grey * wanted / (wanted - low).clamp_min(_LEAST), moved)
    grey = moved - wanted
    paler = wanted + grey * (1 - wanted) / (high - wanted).clamp_min(_LEAST)
    return torch.where(high > 1, paler, moved)


def _with_saturation(colour: Tensor, other: Tensor) -> Tensor:
    """A colour with the saturation of another."""
    low, high = colour.amin(0, keepdim=True), colour.amax(0, keepdim=True)
    wanted = other.amax(0, keepdim=True) - other.amin(0, keepdim=True)
    return (colour - low) * wanted / (high - low).clamp_min(_LEAST)
