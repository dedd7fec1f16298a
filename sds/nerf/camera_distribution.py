"""The distributions a distillation draws its cameras from."""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scorefield.views import FOV, CameraRanges

if TYPE_CHECKING:  # the command line shows these settings without loading torch
    import torch

    from scorefield.cameras import Cameras


@dataclass(frozen=True)
class CameraDistribution:
    """The random cameras of a distillation; the defaults match the embedded prior's world.

    The azimuth of each view is uniform; within one draw of n views it is stratified, one view in
    each n-th of a randomly turned circle, so every step sees the object from all around.

    Attributes:
        elevation: Range of the elevation, degrees.
        overhead: Range of the elevation of views from above, degrees.
        overhead_share: Probability of a view from above.
        sphere_share: Probability that an elevation is drawn uniformly on the sphere (uniform
            in its sine) instead of uniformly in the angle.
        distance: Range of the distance from the origin.
        fov: Range of the horizontal field of view, uniform in focal length (not in the angle).
        look_at_jitter: Standard deviation of the point looked at, per axis.
        up_jitter: Standard deviation added to the unit up vector, per axis.
    """

    elevation: tuple[float, float] = (-10.0, 50.0)
    overhead: tuple[float, float] = (60.0, 90.0)
    overhead_share: float = 0.15
    sphere_share: float = 0.0
    distance: tuple[float, float] = (2.8, 3.2)
    fov: tuple[float, float] = (FOV, FOV)
    look_at_jitter: float = 0.03
    up_jitter: float = 0.0

    def __post_init__(self) -> None:
        limits = {
            "elevation": (-90.0, 90.0),
            "overhead": (-90.0, 90.0),
            "distance": (1e-3, math.inf),
            "fov": (1.0, 170.0),
        }
        for name, (low, high) in limits.items():
            given = getattr(self, name)
            if not low <= given[0] <= given[1] <= high:
                raise ValueError(
                    f"{name} must be a range (low, high) within {low:g}..{high:g}, got {given}"
                )
        for name in ("overhead_share", "sphere_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"{name} is a probability, between 0 and 1, got {getattr(self, name)}"
                )

    @classmethod
    def dreamfusion(cls) -> "CameraDistribution":
        """DreamFusion's cameras: close ones, from -10 to 90 degrees, focal 0.7..1.35 widths.

        As in threestudio, half the elevations are uniform in the angle, half on the sphere.
        """
        wide, narrow = (math.degrees(2 * math.atan(0.5 / focal)) for focal in (0.7, 1.35))
        return cls(
            elevation=(-10.0, 90.0),
            overhead_share=0.0,
            sphere_share=0.5,
            distance=(1.0, 1.5),
            fov=(narrow, wide),
            look_at_jitter=0.2,
            up_jitter=0.02,
        )

    def within(self, ranges: CameraRanges) -> "CameraDistribution":
        """These cameras, those outside the ranges moved to their nearest ends."""

        def moved(pair: tuple[float, float], ends: tuple[float, float]) -> tuple[float, float]:
            low, high = (min(max(one, ends[0]), ends[1]) for one in pair)
            return low, high

        return replace(
            self,
            elevation=moved(self.elevation, ranges.elevation),
            overhead=moved(self.overhead, ranges.elevation),
            distance=moved(self.distance, ranges.distance),
            fov=moved(self.fov, ranges.fov),
        )

    def outside(self, ranges: CameraRanges) -> list[str]:
        """What of these cameras leaves the ranges, each as "fov 50 to 60, trained on 40 to 40"."""
        drawn = {
            "elevation": (self.elevation, ranges.elevation),
            "overhead": (self.overhead, ranges.elevation),
            "distance": (self.distance, ranges.distance),
            "fov": (self.fov, ranges.fov),
        }
        if self.overhead_share == 0:
            del drawn["overhead"]
        return [
            f"{name} {pair[0]:g} to {pair[1]:g}, trained on {ends[0]:g} to {ends[1]:g}"
            for name, (pair, ends) in drawn.items()
            if pair[0] < ends[0] or pair[1] > ends[1]
        ]

    def draw(self, n: int, generator: "torch.Generator") -> "Cameras":
        """N random cameras, on the generator's device."""
        import torch

        from scorefield.cameras import Cameras

        if n < 1:
            raise ValueError(f"n must be at least 1 camera, got {n}")
        device = generator.device
        u = torch.rand(7, n, generator=generator, device=device)
        jitter = torch.randn(2, n, 3, generator=generator, device=device)

        strata = torch.arange(n, device=device) + u[0]
        azimuth = (360 * (strata / n + u[1, :1])) % 360

        low, high = self.elevation
        by_angle = low + (high - low) * u[2]
        s_low, s_high = math.sin(math.radians(low)), math.sin(math.radians(high))
        on_sphere = torch.rad2deg(torch.asin((s_low + (s_high - s_low) * u[2]).clamp(-1, 1)))
        elevation = torch.where(u[3] < self.sphere_share, on_sphere, by_angle)
        above = self.overhead[0] + (self.overhead[1] - self.overhead[0]) * u[2]
        elevation = torch.where(u[4] < self.overhead_share, above, elevation)

        focal_far, focal_near = (0.5 / math.tan(math.radians(fov) / 2) for fov in self.fov)
        focal = focal_near + (focal_far - focal_near) * u[6]
        z = torch.tensor([0.0, 0.0, 1.0], device=device)
        return Cameras(
            azimuth=azimuth,
            elevation=elevation,
            distance=self.distance[0] + (self.distance[1] - self.distance[0]) * u[5],
            fov=torch.rad2deg(2 * torch.atan(0.5 / focal)),
            look_at=self.look_at_jitter * jitter[0],
            up=z + self.up_jitter * jitter[1],
        )
