"""What a diffusion network predicts, readable in every parameterisation.

With z = alpha x0 + sigma eps, any one of the following determines the others:

=========  =================================  ===================================================
eps        noise                              x0 = (z - sigma eps) / alpha
x0         clean sample                       eps = (z - alpha x0) / sigma
v          alpha eps - sigma x0               x0 = (alpha z - sigma v) / (alpha^2 + sigma^2)
velocity   eps - x0                           x0 = (z - sigma u) / (alpha + sigma)
score      grad log p(z) = -eps / sigma       eps = -sigma score
=========  =================================  ===================================================

v is that of Salimans and Ho 2022 (appendix D), velocity that of rectified flow with the sign of
diffusers (towards noise).  The formulas hold for variance-preserving levels and for flow levels.
"""

from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any

from jaxtyping import Float
from torch import Tensor

from scorefield.priors.levels import NoiseLevel


class _Kind(Enum):
    EPS = "eps"
    X0 = "x0"
    V = "v"
    VELOCITY = "velocity"
    SCORE = "score"


@dataclass(frozen=True, eq=False)
class Prediction:
    """The prediction of a denoiser at (z, level); make one with ``from_eps`` and its siblings.

    A quantity read in the kind it was made from is returned untouched.  What does not exist at an
    end of the schedule (x0 from eps where alpha = 0, eps from x0 or a score where sigma = 0) raises
    a ValueError that says so.

    Attributes:
        z: the noisy sample, shape (batch, *shape).
        level: its noise level, shape () or (batch,).
    """

    z: Float[Tensor, "batch *shape"]
    level: NoiseLevel
    _kind: _Kind
    _value: Float[Tensor, "batch *shape"]

    @classmethod
    def from_eps(cls, z: Tensor, level: NoiseLevel, value: Tensor) -> "Prediction":
        """From the predicted noise."""
        return cls(z, level, _Kind.EPS, value)

    @classmethod
    def from_x0(cls, z: Tensor, level: NoiseLevel, value: Tensor) -> "Prediction":
        """From the predicted clean sample, the posterior mean E[x | z]."""
        return cls(z, level, _Kind.X0, value)

    @classmethod
    def from_v(cls, z: Tensor, level: NoiseLevel, value: Tensor) -> "Prediction":
        """From v = alpha eps - sigma x0."""
        return cls(z, level, _Kind.V, value)

    @classmethod
    def from_velocity(cls, z: Tensor, level: NoiseLevel, value: Tensor) -> "Prediction":
        """From the flow velocity u = eps - x0."""
        return cls(z, level, _Kind.VELOCITY, value)

    @classmethod
    def from_score(cls, z: Tensor, level: NoiseLevel, value: Tensor) -> "Prediction":
        """From the score grad_z log p(z)."""
        return cls(z, level, _Kind.SCORE, value)

    @property
    def kind(self) -> str:
        """What it was made from: "eps", "x0", "v", "velocity" or "score"."""
        return self._kind.value

    def read_as(self, kind: str) -> "Prediction":
        """The same values, taken to be of another kind; not a conversion."""
        return Prediction(self.z, self.level, _Kind(kind), self._value)

    @property
    def eps(self) -> Float[Tensor, "batch *shape"]:
        """The predicted noise, E[eps | z]."""
        alpha, sigma = self._amplitudes
        match self._kind:
            case _Kind.EPS:
                return self._value
            case _Kind.X0:
                self._require_noise("eps from x0 is (z - alpha x0) / sigma")
                return (self.z - alpha * self._value) / sigma
            case _Kind.V:
                return (sigma * self.z + alpha * self._value) / (alpha**2 + sigma**2)
            case _Kind.VELOCITY:
                return (self.z + alpha * self._value) / (alpha + sigma)
            case _Kind.SCORE:
                return -sigma * self._value

    @property
    def x0(self) -> Float[Tensor, "batch *shape"]:
        """The predicted clean sample, E[x | z]."""
        alpha, sigma = self._amplitudes
        match self._kind:
            case _Kind.EPS:
                self._require_signal("x0 from eps is (z - sigma eps) / alpha")
                return (self.z - sigma * self._value) / alpha
            case _Kind.X0:
                return self._value
            case _Kind.V:
                return (alpha * self.z - sigma * self._value) / (alpha**2 + sigma**2)
            case _Kind.VELOCITY:
                return (self.z - sigma * self._value) / (alpha + sigma)
            case _Kind.SCORE:
                self._require_signal("x0 from the score is (z + sigma^2 score) / alpha")
                return (self.z + sigma**2 * self._value) / alpha

    @property
    def v(self) -> Float[Tensor, "batch *shape"]:
        """``v = alpha eps - sigma x0``."""
        if self._kind is _Kind.V:
            return self._value
        alpha, sigma = self._amplitudes
        return alpha * self.eps - sigma * self.x0

    @property
    def velocity(self) -> Float[Tensor, "batch *shape"]:
        """The flow velocity u = eps - x0 = dz/dsigma along alpha = 1 - sigma."""
        if self._kind is _Kind.VELOCITY:
            return self._value
        return self.eps - self.x0

    @property
    def score(self) -> Float[Tensor, "batch *shape"]:
        """grad_z log p(z) = -eps / sigma."""
        if self._kind is _Kind.SCORE:
            return self._value
        self._require_noise("the score is -eps / sigma")
        _, sigma = self._amplitudes
        return -self.eps / sigma

    def chunk(self, parts: int) -> "list[Prediction]":
        """Split along the batch into equal parts, e.g. after a forward pass they shared."""
        size, rest = divmod(len(self.z), parts)
        if rest:
            raise ValueError(f"a batch of {len(self.z)} does not split into {parts} equal parts")
        level = self.level.expand(len(self.z))
        pieces = [slice(i * size, (i + 1) * size) for i in range(parts)]
        return [Prediction(self.z[p], level[p], self._kind, self._value[p]) for p in pieces]

    def towards(self, other: "Prediction", scale: float | int) -> "Prediction":
        """self + scale (other - self), at this z.

        The weights sum to one, so it is the same in every kind: it is made in the one that both
        were made from, or else in v.
        """
        if self._kind is other._kind:
            value = self._value + scale * (other._value - self._value)
            return Prediction(self.z, self.level, self._kind, value)
        v = self.v
        return Prediction.from_v(self.z, self.level, v + scale * (other.v - v))

    @cached_property
    def _amplitudes(self) -> tuple[Tensor, Tensor]:
        return self.level.like(self.z)

    def _require_signal(self, law: str) -> None:
        if bool((self.level.alpha == 0).any()):
            raise ValueError(
                f"{law}, and alpha = 0 here: at zero terminal SNR the noise says nothing about x0; "
                "use a denoiser that predicts v, x0 or velocity, or stop short of this level"
            )

    def _require_noise(self, law: str) -> None:
        if bool((self.level.sigma == 0).any()):
            raise ValueError(
                f"{law}, and sigma = 0 here: a clean sample holds no noise; "
                "ask at a level with sigma > 0"
            )


def as_prediction(found: Any, by: str) -> Prediction:
    """What a `predict` has returned, if it is a prediction.

    Raises:
        TypeError: it is something else; what is to be returned is named.
    """
    if not isinstance(found, Prediction):
        raise TypeError(
            f"{by}.predict must return a Prediction; got a {type(found).__name__}: return "
            "Prediction.from_eps(z, level, value), or from_v, from_x0, from_velocity"
        )
    return found
