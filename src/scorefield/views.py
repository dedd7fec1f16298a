"""How a camera is told, in words or in numbers: one convention for captions, renders and priors."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch

VIEWS = ("front view", "side view", "back view", "overhead view")
"""The view words of captions, as `view_name` assigns them."""

FOV = 40.0
"""Horizontal field of view of every camera, degrees."""


def view_name(azimuth: float | int, elevation: float | int) -> str:
    """View word of a camera at azimuth and elevation in degrees.

    Overhead above 60 degrees of elevation; otherwise front within 45 degrees of azimuth 0, back
    within 45 degrees of azimuth 180, side between them.
    """
    if elevation > 60:
        return "overhead view"
    off = abs((azimuth + 180) % 360 - 180)
    return "front view" if off < 45 else "back view" if off > 135 else "side view"


CAMERA_WIDTH = 7
"""Numbers of `camera_vector`."""


@runtime_checkable
class SphericalCameras(Protocol):
    """Upright cameras around an object: tensors (batch,), angles in degrees.

    `scorefield.cameras.Cameras` is one.
    """

    @property
    def azimuth(self) -> "torch.Tensor":
        """Around z from the object's front, +x, towards +y."""
        ...

    @property
    def elevation(self) -> "torch.Tensor":
        """Above the horizon."""
        ...

    @property
    def distance(self) -> "torch.Tensor":
        """From the middle of an object that fits the unit sphere."""
        ...

    @property
    def fov(self) -> "torch.Tensor":
        """Horizontal field of view."""
        ...


def camera_vector(cameras: SphericalCameras) -> "torch.Tensor":
    """Cameras as networks are told them, float32 (batch, 7).

    (cos azimuth, sin azimuth, cos elevation, sin elevation, distance - 3, (fov - 40) / 20, 1). The
    1 tells every camera from none, which is all zeros. Where a camera looks and how it rolls is not
    told: it is upright and looks at the object.

    Raises:
        ValueError: they are not of one number per camera, or a number is not finite.
    """
    import torch

    values = [getattr(cameras, name) for name in ("azimuth", "elevation", "distance", "fov")]
    if {tuple(value.shape) for value in values} != {(values[0].numel(),)}:
        shapes = ", ".join(str(tuple(value.shape)) for value in values)
        raise ValueError(
            "cameras must have an azimuth, an elevation, a distance and a fov of one shape "
            f"(batch,); got {shapes}"
        )
    azimuth, elevation, distance, fov = (value.float() for value in values)
    a, e = torch.deg2rad(azimuth), torch.deg2rad(elevation)
    numbers = [a.cos(), a.sin(), e.cos(), e.sin(), distance - 3, (fov - FOV) / 20]
    vectors = torch.stack([*numbers, torch.ones_like(a)], dim=-1)
    if not bool(vectors.isfinite().all()):
        raise ValueError("cameras must be of finite numbers; one is NaN or infinite")
    return vectors


@dataclass(frozen=True)
class CameraRanges:
    """The cameras that a prior was trained on, (low, high) each: degrees, and units of distance.

    Azimuths are all.
    """

    elevation: tuple[float, float]
    distance: tuple[float, float]
    fov: tuple[float, float]

    @classmethod
    def of_card(cls, content: object) -> "CameraRanges":
        """The ranges that a card says, {"elevation": [low, high], "distance": ..., "fov": ...}.

        Raises:
            ValueError: it says anything else.
        """
        names = [one.name for one in fields(cls)]
        if not isinstance(content, Mapping) or sorted(content) != sorted(names):
            raise ValueError(f"cameras must have the ranges {', '.join(names)}; got {content!r}")
        for name in names:
            pair = content[name]
            if (
                not isinstance(pair, list | tuple)
                or len(pair) != 2
                or not all(isinstance(one, float | int) for one in pair)
                or not pair[0] <= pair[1]
            ):
                raise ValueError(f"{name} of cameras must be [low, high]; got {pair!r}")
        return cls(**{name: (float(content[name][0]), float(content[name][1])) for name in names})

    @classmethod
    def of_vectors(cls, vectors: "torch.Tensor") -> "CameraRanges":
        """The ranges of cameras that are told as `camera_vector`, (batch, 7), to a tenth."""
        import torch

        elevation = torch.rad2deg(torch.atan2(vectors[:, 3], vectors[:, 2]))
        told = {"elevation": elevation, "distance": vectors[:, 4] + 3}
        told["fov"] = 20 * vectors[:, 5] + FOV
        ends = {name: [float(end) for end in value.aminmax()] for name, value in told.items()}
        return cls(**{name: (round(low, 1), round(high, 1)) for name, (low, high) in ends.items()})
