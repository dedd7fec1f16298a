"""Penalties on a rendering: what is asked of a scene besides pleasing the prior."""

from jaxtyping import Float
from torch import Tensor

from scorefield.sds.nerf.radiance_field import Rendering


def opacity_penalty(rendering: Rendering) -> Float[Tensor, ""]:
    """Mean of sqrt(opacity^2 + 0.01), 0.1 for an empty image: asks for less.

    DreamFusion's form of it (as threestudio's "sparsity").
    """
    return (rendering.opacity.square() + 0.01).sqrt().mean()


def orientation_penalty(rendering: Rendering) -> Float[Tensor, ""]:
    """Mean over rays of sum_k w_k max(0, n_k.d)^2: 0 when all normals face the camera.

    Ref-NeRF (Verbin et al. 2022), eq. 11, with the weights detached, as DreamFusion has it.

    Raises:
        ValueError: if the rendering has no normals.
    """
    if rendering.orientation is None:
        raise ValueError(
            "this rendering has no normals; call render with normals=True or a shading other "
            "than albedo"
        )
    return rendering.orientation.mean()


def entropy_penalty(rendering: Rendering) -> Float[Tensor, ""]:
    """Mean binary entropy of the opacity in bits, 0..1: asks for clear or opaque, not fog."""
    o = rendering.opacity.clamp(1e-5, 1 - 1e-5)
    return -(o * o.log2() + (1 - o) * (1 - o).log2()).mean()


def spread_penalty(rendering: Rendering) -> Float[Tensor, ""]:
    """Mean variance of the depth along each ray: asks for thin surfaces, not clouds.

    HiFA's z-variance (Zhu et al. 2023), weighted by the opacity instead of masked by it.
    """
    return rendering.spread.mean()
