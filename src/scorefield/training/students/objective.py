"""The gradient that moves a student, and how a student makes samples."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.priors.denoiser import Denoiser
from scorefield.priors.levels import NoiseLevel


def generate(
    student: Denoiser,
    noises: Sequence[Float[Tensor, "batch *shape"]],
    levels: Sequence[NoiseLevel],
) -> Float[Tensor, "batch *shape"]:
    """A clean sample of a student in as many steps as there are levels.

    From noise at the first level the student predicts the clean sample, which is noised anew to the
    next level, and so on: the sampler of consistency models (Song et al. 2023, algorithm 1), with
    which diffusers' LCMScheduler draws as well.

    Only the last step is differentiable. Let j be drawn and levels[:j] be given, and every step is
    trained on what the ones before it make (Yin et al. 2024, DMD2, "backward simulation").

    Args:
        student: predicts clean samples at the levels.
        noises: one per level, standard normal.
        levels: from the most noise down.
    """
    x: Tensor | None = None
    for number, (noise, level) in enumerate(zip(noises, levels, strict=True)):
        z = noise if x is None else level.add_noise(x, noise)
        with torch.set_grad_enabled(torch.is_grad_enabled() and number == len(levels) - 1):
            x = student(z, level).x0
    if x is None:
        raise ValueError("a student needs at least one level")
    return x


def reverse_kl_gradient(
    x: Float[Tensor, "batch *shape"],
    teacher_x0: Float[Tensor, "batch *shape"],
    fake_x0: Float[Tensor, "batch *shape"],
    *,
    normalise: bool = True,
) -> Float[Tensor, "batch *shape"]:
    """The gradient with respect to samples x of KL(student || teacher) at the level of both x0.

    With z = alpha x + sigma eps it is alpha (s_fake - s_teacher), and scores differ as predictions
    of the clean sample do: s = (alpha x0 - z) / sigma^2. What is returned is sigma^2 / alpha^2 of
    it, fake_x0 - teacher_x0, whose size does not depend on the level; normalised, it is divided by
    the mean distance of x from the teacher's x0 (Yin et al. 2024, "One-step diffusion with
    distribution matching distillation", equations 7 and 8).
    """
    gradient = fake_x0 - teacher_x0
    if not normalise:
        return gradient
    others = tuple(range(1, x.ndim))
    return gradient / (x - teacher_x0).abs().mean(others, keepdim=True).clamp_min(1e-6)
