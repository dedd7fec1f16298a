"""What is set of texturing. The command line shows it without loading torch."""

from dataclasses import dataclass
from typing import Annotated

from scorefield.domains import Count, Domain, NotNegative, Positive
from scorefield.sds.nerf.camera_distribution import CameraDistribution
from scorefield.sds.settings import RenderedSettings


@dataclass(frozen=True)
class TextureSettings(RenderedSettings):
    """How a surface is painted: `RenderedSettings`, and what a surface needs besides.

    views: cameras per update, spread evenly around the object.
    detail: finest of the colours that are learnt, voxels across the object.
    cameras: distribution of the cameras.
    learning_rate: Adam's, at the start; falls to a tenth of it along a cosine.
    """

    clip: NotNegative = 1.0
    views: Count = 4
    detail: Annotated[int, Domain(16.0)] = 64
    cameras: CameraDistribution = CameraDistribution()  # noqa: RUF009  (frozen)
    learning_rate: Positive = 0.015

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.prompt.strip():
            raise ValueError("the prompt is empty; say what to paint, such as 'a rusty robot'")
