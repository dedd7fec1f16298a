"""What is set of texturing. The command line shows it without loading torch."""

from dataclasses import dataclass
from typing import Annotated

from scorefield.domains import Domain
from scorefield.sds.nerf.settings import ViewedSettings


@dataclass(frozen=True)
class TextureSettings(ViewedSettings):
    """How a surface is painted: `ViewedSettings`, and what a surface needs besides.

    detail: finest of the colours that are learnt, voxels across the object.
    """

    detail: Annotated[int, Domain(16.0)] = 64
