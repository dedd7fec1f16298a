"""Linear and radial gradients.

Colours are RGBA in [0, 1], not premultiplied, in sRGB; values outside are clamped when drawn.
"""

from dataclasses import dataclass, field
from enum import Enum

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["LinearGradient", "RadialGradient", "Spread", "Units", "colours_at"]


class Spread(Enum):
    """What a gradient shows before its first and after its last stop."""

    PAD = "pad"
    REFLECT = "reflect"
    REPEAT = "repeat"


class Units(Enum):
    """What a gradient's geometry is measured in: user units, or the shape's bounding box."""

    USER = "userSpaceOnUse"
    BOX = "objectBoundingBox"


@dataclass(eq=False)
class LinearGradient:
    """Colours along the line from `start` (2,) to `end` (2,).

    Args:
        start: where the position is 0.
        end: where the position is 1.
        offsets: positions (n,) of the stops, ascending in [0, 1].
        colours: RGBA (n, 4) of the stops.
        spread: beyond the stops.
        units: of start and end.
        transform: (2, 3) affine map applied to the gradient, or None.
        name: the id in an SVG file.
    """

    start: Float[Tensor, "2"]
    end: Float[Tensor, "2"]
    offsets: Float[Tensor, " stops"]
    colours: Float[Tensor, "stops 4"]
    spread: Spread = Spread.PAD
    units: Units = Units.USER
    transform: Float[Tensor, "2 3"] | None = None
    name: str | None = None

    def position(self, points: Float[Tensor, "*shape 2"]) -> Float[Tensor, "*shape"]:
        """<p - start, end - start> / |end - start|^2 at points of the gradient's own space."""
        along = self.end - self.start
        return ((points - self.start) * along).sum(dim=-1) / along.square().sum().clamp_min(1e-20)

    @property
    def empty(self) -> bool:
        """Whether start and end coincide: then the last stop is painted."""
        return bool((self.start == self.end).all())


@dataclass(eq=False)
class RadialGradient:
    """Colours between two circles: from `inner` () about `focus` (2,) to `radius` about `centre`.

    Args:
        centre: (2,) of the circle where the position is 1.
        radius: () of that circle.
        offsets: positions (n,) of the stops, ascending in [0, 1].
        colours: RGBA (n, 4) of the stops.
        focus: (2,) of the circle where the position is 0; None: the centre.
        spread: beyond the stops.
        units: of centre, radii and focus.
        transform: (2, 3) affine map applied to the gradient, or None.
        inner: () radius of the circle where the position is 0; None: 0.
        name: the id in an SVG file.

    Where neither circle lies in the other, they span a cone, outside of which nothing is painted
    (SVG 2, 14.2.3).
    """

    centre: Float[Tensor, "2"]
    radius: Float[Tensor, ""]
    offsets: Float[Tensor, " stops"]
    colours: Float[Tensor, "stops 4"]
    focus: Float[Tensor, "2"] | None = None
    spread: Spread = Spread.PAD
    units: Units = Units.USER
    transform: Float[Tensor, "2 3"] | None = field(default=None)
    inner: Float[Tensor, ""] | None = None
    name: str | None = None

    def position(self, points: Float[Tensor, "*shape 2"]) -> Float[Tensor, "*shape"]:
        """The largest t whose circle passes through a point, in the gradient's own space.

        |p - focus - t (centre - focus)| = inner + t (radius - inner) >= 0; not a number where no
        circle does.
        """
        radius = self.radius.clamp_min(1e-10)
        # The smallest number keeps the root differentiable at the centre itself.
        if self.focus is None and self.inner is None:
            return ((points - self.centre).square().sum(dim=-1) + 1e-20).sqrt() / radius
        focus = self.centre if self.focus is None else self.focus
        inner = torch.zeros_like(radius) if self.inner is None else self.inner.clamp_min(0)
        lead, grows = self.centre - focus, radius - inner
        ray = points - focus
        # a t^2 - 2 b t + c = 0
        a = lead.square().sum() - grows.square()
        b = (ray * lead).sum(dim=-1) + inner * grows
        c = ray.square().sum(dim=-1) - inner.square()
        if abs(float(a.detach())) < 1e-6 * float(grows.detach().square() + lead.square().sum()):
            return _where(c / (2 * b), inner, grows)
        root = (b.square() - a * c).clamp_min(0)
        root = torch.where(b.square() >= a * c, (root + 1e-20).sqrt(), torch.nan)
        low, high = (b - root) / a, (b + root) / a
        if float(a.detach()) < 0:
            low, high = high, low
        high = _where(high, inner, grows)
        return torch.where(high.isnan(), _where(low, inner, grows), high)

    @property
    def empty(self) -> bool:
        """Whether the circle has no radius: then the last stop is painted."""
        return float(self.radius.detach()) <= 0


def _where(position: Tensor, inner: Tensor, grows: Tensor) -> Tensor:
    """The positions whose circles have a radius of at least 0."""
    return torch.where(inner + position * grows >= 0, position, torch.nan)


def colours_at(
    gradient: LinearGradient | RadialGradient, position: Float[Tensor, "*shape"]
) -> Float[Tensor, "4 *shape"]:
    """Premultiplied RGBA at positions along the gradient; clear where they are not numbers."""
    if gradient.spread is Spread.REPEAT:
        position = position - position.detach().floor()
    elif gradient.spread is Spread.REFLECT:
        position = 1 - (position - 2 * (position.detach() / 2).floor() - 1).abs()
    outside = position.isnan()
    position = position.nan_to_num(0.0)
    # Each offset is at least its predecessor; a colour is the first one and the changes since.
    offsets = gradient.offsets.clamp(0, 1).cummax(0).values
    colours = gradient.colours.clamp(0, 1)
    rgba = colours[0][:, None].expand(4, position.numel())
    flat = position.reshape(-1)
    for low, high, change in zip(offsets[:-1], offsets[1:], colours.diff(dim=0), strict=True):
        if float(low.detach()) == float(high.detach()):
            share = (flat.detach() >= low).to(flat)
        else:
            share = ((flat - low) / (high - low)).clamp(0, 1)
        rgba = torch.addcmul(rgba, change[:, None], share)
    out = torch.cat([rgba[:3] * rgba[3:], rgba[3:]]).view(4, *position.shape)
    return torch.where(outside, 0.0, out) if bool(outside.any()) else out
