"""What is set of the method `scorefield` of nerfstudio. Nothing heavy is imported here."""

from dataclasses import dataclass
from typing import Literal

from scorefield.domains import Count, NotNegative, Share
from scorefield.sds.presets import ObjectiveName

__all__ = ["FieldChoice", "MethodSettings"]

FieldChoice = Literal["generfacto", "nerf", "voxels", "hash", "hash-large"]


@dataclass(frozen=True, kw_only=True)
class MethodSettings:
    """How nerfstudio's trainer distils a prior; of what is None the preset's value is taken."""

    field: FieldChoice = "voxels"
    """Radiance field. Of nerfstudio: generfacto, its hash grid for text to 3D, or nerf, a network
    of four layers. Of this library: voxels, fastest on a CPU, or its hash grids."""
    preset: str | None = None
    """Published settings to begin with, such as dreamfusion; None takes those for the prior."""
    objective: ObjectiveName | None = None
    """Objective that turns the prior into a gradient; None takes the preset's."""
    negative: str = ""
    """Prompt that guidance leads away from; without one it leads away from no prompt."""
    scale: float | None = None
    """Classifier-free guidance scale, DreamFusion's omega plus 1."""
    low: Share | None = None
    """Lowest noise level that the prior looks at, as a share of its schedule."""
    high: Share | None = None
    """Highest noise level that the prior looks at, as a share of its schedule."""
    samples: Count | None = None
    """Points looked at along a ray through the whole sphere."""
    shaded: Share | None = None
    """Share of the later updates that see the colours shaded."""
    opacity: NotNegative | None = None
    """Weight of the penalty on opaque rays, which asks for less of everything."""
    orientation: NotNegative | None = None
    """Weight of the penalty on visible surfaces that face away from the camera."""
    entropy: NotNegative | None = None
    """Weight of the penalty on half-opaque rays, which asks for a surface instead of fog."""
    spread: NotNegative | None = None
    """Weight of the penalty on density spread along a ray, which asks for thin surfaces."""
    smoothness: NotNegative | None = None
    """Weight of the total variation of the voxels; other fields have none."""
