"""What is set of objects seen by cameras. The command line shows it without loading torch."""

from dataclasses import dataclass
from typing import Literal

from scorefield.domains import Count, NotNegative, Positive, Share, Whole
from scorefield.sds.nerf.camera_distribution import CameraDistribution
from scorefield.sds.settings import RenderedSettings

FieldName = Literal["voxels", "hash", "hash-large"]

ON_WHITE = "{}, white background"
"""The prompt of a view on white, in the words of the embedded priors' captions."""


@dataclass(frozen=True)
class ViewedSettings(RenderedSettings):
    """How an object is distilled that cameras see: `RenderedSettings`, and the cameras.

    The defaults are those of the embedded prior.

    views: cameras per update, spread evenly around the object.
    cameras: distribution of the cameras.
    learning_rate: Adam's, at the start; falls to a tenth of it along a cosine.
    """

    clip: NotNegative = 1.0
    views: Count = 4
    cameras: CameraDistribution = CameraDistribution()  # noqa: RUF009  (frozen)
    learning_rate: Positive = 0.015

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.prompt.strip():
            raise ValueError("the prompt is empty; say what to make, such as 'a red mushroom'")


@dataclass(frozen=True)
class TextTo3DSettings(ViewedSettings):
    """How a scene is distilled: `ViewedSettings`, and what a scene needs besides.

    samples: points looked at along a ray through the whole sphere.
    field: kind of radiance field: voxels, fastest on a CPU; hash, a small hash grid;
        hash-large, Instant-NGP's of 16 levels, for a GPU.
    background: background of the views: greys of random brightness, or a learned sky.
    on_white: share of the views whose background is white in place of grey, and whose prompt says
        so (", white background"): a prior that learnt its things mostly on white may take a grey
        background for part of one, and fill the whole sphere, or empty it.
    perp_neg: strength of the views as negative prompts of each other (Perp-Neg), against faces on
        the back; 0 leaves it out, 1 has threestudio's weights.
    albedo_steps: share of the run that sees the colour without shading, before shading starts.
    shaded: share of the later updates that see the colours shaded.
    textureless: share of the later updates that see a white surface, shaded.
    opacity: weight of the penalty on opaque rays, which asks for less of everything. This and the
        four weights below are for 1,024 latents, over which the loss of a view is summed; with a
        prior of more latents they grow in proportion.
    orientation: weight of the penalty on visible surfaces that face away from the camera.
    entropy: weight of the penalty on half-opaque rays, which asks for a surface instead of fog; it
        grows over the run from 0.
    spread: weight of the penalty on density spread along a ray, which asks for thin surfaces.
    smoothness: weight of the total variation of the field's grid, against noisy shapes.
    """

    steps: Count = 200
    size: Whole = 32  # half the prior's: for two thirds of the run noise hides what is finer
    later_sizes: tuple[Count, ...] = (32, 64)
    samples: Count = 48
    field: FieldName = "voxels"
    background: Literal["greys", "sky"] = "greys"
    on_white: Share = 0.0
    perp_neg: NotNegative = 0.0
    albedo_steps: Share = 0.2
    shaded: Share = 0.5
    textureless: Share = 0.0
    opacity: NotNegative = 5.0
    orientation: NotNegative = 20.0
    entropy: NotNegative = 40.0
    spread: NotNegative = 50.0
    smoothness: NotNegative = 2000.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shaded + self.textureless > 1:
            raise ValueError(
                f"shaded + textureless must be at most 1; got {self.shaded} + {self.textureless}"
            )
        if self.on_white and self.background == "sky":
            raise ValueError(
                f"on_white puts views on white, and background sky on what is learnt; got on_white "
                f"{self.on_white}"
            )
        if self.perp_neg and self.negative:
            raise ValueError(
                "perp_neg takes the place of a negative prompt; give one of them, got "
                f"{self.perp_neg} and {self.negative!r}"
            )
