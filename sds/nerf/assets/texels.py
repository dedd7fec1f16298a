"""What the texels of an unwrapped mesh hold: its vertices' values, and beyond the charts too."""

from collections.abc import Iterator

import numpy as np
import torch
import trimesh
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor

from scorefield.sds.nerf.assets.rasterise import rasterise, texture_coordinates

__all__ = ["fill_gaps", "texel_values"]

FACES_AT_ONCE = 4096
TEXELS_AT_ONCE = 2**17
"""These bound the memory of a large texture."""


def texel_values(
    mesh: trimesh.Trimesh, values: Float[Tensor, "vertices channels"], size: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The vertices' values at the centres of the texels that have any, some at a time.

    Args:
        mesh: an unwrapped one.
        values: one row per vertex.
        size: side of the texture; row 0 has the largest v.

    Yields:
        Rows (n,), columns (n,) and values (n, channels); a texel on an edge of two triangles comes
        twice.
    """
    uv = texture_coordinates(mesh).to(values)
    places = size * torch.stack([uv[:, 0], 1 - uv[:, 1]], dim=-1)
    for faces in torch.as_tensor(np.array(mesh.faces)).split(FACES_AT_ONCE):
        found = rasterise(places[faces], size)
        for start in range(0, len(found.face), TEXELS_AT_ONCE):
            part = slice(start, start + TEXELS_AT_ONCE)
            yield found.row[part], found.column[part], found.mix(values, faces, part)


def fill_gaps(
    image: Float[Tensor, "size size channels"], covered: Bool[Tensor, "size size"]
) -> Float[Tensor, "size size channels"]:
    """Texels that nothing covers take the value of the nearest one that something does.

    A reader mixes neighbouring texels; at a seam these are outside of the chart.
    """
    if not covered.any():
        raise ValueError("no triangle covers the centre of a texel; take a larger texture")
    row, column = ndimage.distance_transform_edt(
        ~covered.numpy(), return_distances=False, return_indices=True
    )
    return image[torch.from_numpy(row).long(), torch.from_numpy(column).long()]
