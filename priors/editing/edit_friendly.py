"""Edit-friendly inversion: noise maps with which ancestral sampling makes a given sample.

Huberman-Spiegelglas et al. 2024, "An edit friendly DDPM noise space: inversion and manipulations".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.priors.denoiser import Denoiser
from scorefield.priors.experts import check_is_denoiser
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import items_of, keyed_noise
from scorefield.priors.prediction import Prediction
from scorefield.priors.steps import FiniteCheck, ddim_step, denoise_loop, level_path


@dataclass(frozen=True, eq=False)
class NoiseMaps:
    """What ancestral sampling has to add in every step to end in a given sample.

    Step i goes from levels[i] to levels[i + 1] by ``z' = mean(z) + residuals[i]``.  The residual is
    the paper's noise map times the standard deviation of the step; so it also exists in the last
    step, where that is zero and the residual is what the denoiser's last guess misses of x.

    Attributes:
        x: the sample, shape (batch, *shape).
        levels: noisiest first, the last one clean; steps + 1 of them.
        residuals: shape (steps, batch, *shape), so steps times the memory of ``x``.
        seed: of the noisy samples that the residuals connect.
        items: whose noise each row has.
    """

    x: Float[Tensor, "batch *shape"]
    levels: tuple[NoiseLevel, ...]
    residuals: Float[Tensor, "steps batch *shape"]
    seed: int
    items: tuple[int, ...]

    def start(self, skip: int = 0) -> Float[Tensor, "batch *shape"]:
        """The noisy sample at levels[skip].

        Raises:
            ValueError: skip outside 0 ... steps - 1.
        """
        if not 0 <= skip < len(self.residuals):
            raise ValueError(f"skip must lie in 0 ... {len(self.residuals) - 1}, got {skip}")
        return _noisy(self.x, self.levels[skip], self.seed, self.items, skip)

    @torch.no_grad()
    def replay(
        self, denoiser: Denoiser, *, skip: int = 0, progress: bool = False
    ) -> Float[Tensor, "batch *shape"]:
        """Walk down from levels[skip], adding the residuals.

        With the denoiser of the inversion the result is ``x``, to the rounding of the network; with
        another prompt or guidance it is an edit, the closer to ``x`` the more steps are skipped.

        Raises:
            ValueError: skip out of range.
            FloatingPointError: as soon as z is not finite.
        """

        def step(z: Tensor, here: NoiseLevel, to: NoiseLevel, i: int) -> Tensor:
            residual = self.residuals[skip + i].to(self.x.device)
            return ancestral_mean(denoiser(z, here), to) + residual

        return denoise_loop(self.start(skip), self.levels[skip:], step, progress=progress)

    def twice(self) -> "NoiseMaps":
        """Every row a second time, after all rows: for walks of pairs."""
        return NoiseMaps(
            torch.cat([self.x, self.x]),
            self.levels,
            torch.cat([self.residuals, self.residuals], dim=1),
            self.seed,
            self.items * 2,
        )


@torch.no_grad()
def edit_friendly_invert(
    denoiser: Denoiser,
    x: Float[Tensor, "batch *shape"],
    *,
    steps: int = 50,
    seed: int = 0,
    items: Sequence[int] | None = None,
    storage: torch.device | str = "cpu",
    progress: bool = False,
) -> NoiseMaps:
    """The noise maps of ``x`` under a denoiser (Algorithm 1).

    ``x`` is noised to every level with noise of its own, independent between levels; the residuals
    are what the ancestral steps (eta = 1) between these samples lack.  They are larger than what
    sampling adds, and hold the structure of ``x``, which so outlives a change of the prompt.

    Args:
        denoiser: under the prompt that describes ``x``, or none; with or without guidance.
        x: clean samples in the space of the denoiser.
        steps: of a walk from the noisiest level; each one evaluation.
        seed: row i of the result depends on (seed, items[i]) and x[i] only.
        items: whose noise each row gets; 0 ... batch - 1 if None.
        storage: where the residuals are kept, steps times the memory of ``x``.
        progress: show a progress bar.

    Raises:
        ValueError: no denoiser first, steps out of range, or another number of items than rows.
        FloatingPointError: a step is not finite, on a CPU as soon as it is not.
    """
    check_is_denoiser(denoiser)
    items = tuple(items_of(len(x), items))
    levels = level_path(denoiser.schedule, steps)
    residuals = torch.empty((steps, *x.shape), dtype=x.dtype, device=storage)
    finite = FiniteCheck()

    def step(z: Tensor, here: NoiseLevel, to: NoiseLevel, i: int) -> Tensor:
        below = _noisy(x, to, seed, items, i + 1)
        residual = below - ancestral_mean(denoiser(z, here), to)
        finite.note(residual, to)
        residuals[i] = residual
        return below

    start = _noisy(x, levels[0], seed, items, 0)
    denoise_loop(start, levels, step, label="inverting", progress=progress)
    finite.end()
    return NoiseMaps(x, tuple(levels), residuals, seed, items)


def ancestral_mean(prediction: Prediction, to: NoiseLevel) -> Tensor:
    """The mean of the ancestral step of DDPM to a level."""
    return ddim_step(prediction, to, 1, torch.zeros_like(prediction.z))


def _noisy(x: Tensor, level: NoiseLevel, seed: int, items: Sequence[int], draw: int) -> Tensor:
    """``x`` at a level; exactly itself at the clean one."""
    if float(level.sigma) == 0:
        return x
    noise = keyed_noise(seed, items, draw, x.shape[1:], x.dtype, x.device)
    return level.add_noise(x, noise).to(x.dtype)
