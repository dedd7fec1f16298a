"""A Gaussian mixture as a prior: everything about it has a closed form.

With p(x) = sum_k w_k N(x; m_k, S_k), the noisy marginal is the mixture with means alpha m_k and
covariances C_k = alpha^2 S_k + sigma^2 I, and

    score(z) = -sum_k r_k(z) C_k^-1 (z - alpha m_k),    r_k(z) = w_k N(z; alpha m_k, C_k) / p(z).

It is what every estimator of this library is tested against.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.priors.condition import Condition
from scorefield.priors.denoiser import ConditionedDenoiser, Denoiser
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import noise_generator
from scorefield.priors.prediction import Prediction
from scorefield.priors.schedule import DiscreteSchedule, NoiseSchedule

Labels = str | Sequence[str] | None


class GaussianMixturePrior(Denoiser):
    """A mixture of Gaussians, isotropic or of full covariance, with a label per component.

    Differentiable in z, to any order.

    Args:
        means: shape (K, *shape).
        scales: standard deviations >= 0, shape (K,), or covariances over the flattened event, shape
            (K, D, D), D = prod(shape), symmetric positive semi-definite.
        weights: positive, shape (K,); normalised here.  Equal if None.
        labels: a label per component; several components may share one.
        schedule: the schedule it is seen through; ``DiscreteSchedule.linear_beta()`` if None.
    """

    def __init__(
        self,
        means: Float[Tensor, "K *shape"],
        scales: Float[Tensor, "K *D"],
        weights: Float[Tensor, " K"] | None = None,
        labels: Sequence[str] | None = None,
        schedule: NoiseSchedule | None = None,
    ) -> None:
        k, d = len(means), means[0].numel()
        weights = means.new_ones(k) if weights is None else weights
        if scales.shape not in ((k,), (k, d, d)):
            raise ValueError(
                f"scales must have shape ({k},) for standard deviations or ({k}, {d}, {d}) for "
                f"covariances, got {tuple(scales.shape)}"
            )
        if weights.shape != (k,) or bool((weights <= 0).any()):
            raise ValueError(f"weights must be {k} positive numbers, got {weights.tolist()}")
        if labels is not None and len(labels) != k:
            raise ValueError(f"labels must name each of the {k} components, got {len(labels)}")
        self.schedule = schedule if schedule is not None else DiscreteSchedule.linear_beta()
        self.shape = tuple(means.shape[1:])
        self.means = means
        self.scales = scales
        self.weights = weights / weights.sum()
        self.labels = tuple(labels) if labels is not None else None
        if scales.ndim == 1:
            if bool((scales < 0).any()):
                raise ValueError(f"standard deviations must be >= 0, got {scales.tolist()}")
            self._variances, self._axes = scales[:, None] ** 2, None
        else:
            variances, self._axes = torch.linalg.eigh(scales)
            if bool((variances < -1e-5 * variances.abs().amax()).any()):
                raise ValueError("covariances must be positive semi-definite")
            self._variances = variances.clamp(min=0)

    @property
    def unconditional(self) -> "ConditionedMixture":
        """The whole mixture, as a conditioned denoiser."""
        return self.condition(None)

    def condition(self, labels: Labels) -> "ConditionedMixture":
        """The mixture of the components of a label, by their relative weights.

        Args:
            labels: one label for all items, or one per item; None for the whole mixture.

        Raises:
            ValueError: labels that no component has, all named.
        """
        rows = [labels] if labels is None or isinstance(labels, str) else list(labels)
        self._check_known(rows)
        weights = torch.stack([self.weights * self._members(label) for label in rows])
        return ConditionedMixture(
            self, Condition({"weights": weights / weights.sum(dim=1, keepdim=True)})
        )

    def restrict(self, label: str) -> "GaussianMixturePrior":
        """The components of one label as a mixture of their own."""
        self._check_known([label])
        keep = self._members(label)
        return GaussianMixturePrior(
            self.means[keep],
            self.scales[keep],
            self.weights[keep],
            [label] * int(keep.sum()),
            self.schedule,
        )

    def predict(
        self,
        z: Float[Tensor, "batch *shape"],
        level: NoiseLevel,
        condition: Condition | None = None,
    ) -> Prediction:
        """The exact posterior means, given as v, which is well conditioned at both ends."""
        alpha, sigma = level.like(z.flatten(1))
        posterior, means, _, whitened = self._components(z, level, condition)
        # E[eps | z, k] = sigma C^-1 (z - alpha m), E[x | z, k] = m + alpha S C^-1 (z - alpha m)
        variances = self._variances.to(whitened)
        in_axes = alpha[..., None] * sigma[..., None] * (1 - variances) * whitened
        v = self._from_axes(in_axes) - sigma[..., None] * means
        return Prediction.from_v(z, level, (posterior[..., None] * v).sum(dim=1).reshape(z.shape))

    def score(
        self,
        z: Float[Tensor, "batch *shape"],
        level: NoiseLevel,
        condition: Condition | None = None,
    ) -> Float[Tensor, "batch *shape"]:
        """grad_z log p(z) without dividing by sigma, so also at sigma = 0 if no scale is 0."""
        posterior, _, _, whitened = self._components(z, level.expand(len(z)), condition)
        pull = (posterior[..., None] * self._from_axes(whitened)).sum(dim=1)
        return -pull.reshape(z.shape)

    def log_density(
        self,
        z: Float[Tensor, "batch *shape"],
        level: NoiseLevel,
        condition: Condition | None = None,
    ) -> Float[Tensor, " batch"]:
        """Normalised ``log p(z)`` of the noisy marginal, in nats."""
        _, _, log_joint, _ = self._components(z, level.expand(len(z)), condition)
        return log_joint.logsumexp(dim=1)

    def energy(
        self,
        z: Float[Tensor, "batch *shape"],
        level: NoiseLevel,
        condition: Condition | None = None,
    ) -> Float[Tensor, " batch"]:
        """E(z) = -log p(z), normalised."""
        return -self.log_density(z, level, condition)

    def sample(self, n: int, seed: int = 0) -> Float[Tensor, "n *shape"]:
        """Exact samples of x; item i depends on (seed, i) only."""
        bounds = self.weights.cumsum(0)
        dtype, device = self.means.dtype, self.means.device
        generators = [noise_generator(seed, item) for item in range(n)]
        u = torch.stack([torch.rand((), generator=g, dtype=torch.float64) for g in generators])
        noise = torch.stack([torch.randn(*self.shape, generator=g) for g in generators])
        # rounding may leave the last bound below 1
        k = torch.searchsorted(bounds, u.to(bounds)).clamp(max=len(bounds) - 1)
        in_axes = self._variances[k].sqrt() * noise.flatten(1).to(device, dtype)
        if self._axes is not None:
            in_axes = torch.einsum("bij,bj->bi", self._axes[k], in_axes)
        return self.means[k] + in_axes.reshape(n, *self.shape)

    def _members(self, label: str | None) -> Tensor:
        """Which components a label covers, shape (K,)."""
        if label is None:
            return torch.ones(len(self.weights), dtype=torch.bool, device=self.weights.device)
        known = self.labels or ()
        return torch.tensor([name == label for name in known], device=self.weights.device)

    def _check_known(self, labels: Sequence[str | None]) -> None:
        known = self.labels or ()
        unknown = dict.fromkeys(repr(x) for x in labels if x is not None and x not in known)
        if unknown:
            names = ", ".join(repr(name) for name in dict.fromkeys(known)) or "none"
            raise ValueError(f"no component is labelled {' or '.join(unknown)}; labels are {names}")

    def _components(
        self, z: Tensor, level: NoiseLevel, condition: Condition | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The quantities all closed forms are made of.

        Per component k: r_k (B, K), m_k (K, D), log w_k N(z; ...) (B, K) and, in the axes of its
        covariance, C_k^-1 (z - alpha m_k) (B, K, D).
        """
        flat = z.flatten(1)
        alpha, sigma = level.like(flat)
        flat = flat.to(alpha.dtype)
        means = self.means.flatten(1).to(flat)
        variances = alpha[..., None] ** 2 * self._variances.to(flat) + sigma[..., None] ** 2
        if bool((variances <= 0).any()):
            raise ValueError("a component of scale 0 has no density at sigma = 0; ask at sigma > 0")
        offsets = self._to_axes(flat[:, None] - alpha[..., None] * means)
        whitened = offsets / variances
        log_det = variances.log().expand(-1, -1, flat.shape[1]).sum(dim=2)
        log_two_pi = flat.shape[1] * math.log(2 * math.pi)
        log_normal = -0.5 * ((offsets * whitened).sum(dim=2) + log_det + log_two_pi)
        weights = self.weights[None] if condition is None else condition.tensors["weights"]
        log_joint = weights.to(flat).log() + log_normal
        return log_joint.softmax(dim=1), means, log_joint, whitened

    def _to_axes(self, x: Tensor) -> Tensor:
        return x if self._axes is None else torch.einsum("kij,bki->bkj", self._axes.to(x), x)

    def _from_axes(self, x: Tensor) -> Tensor:
        return x if self._axes is None else torch.einsum("kij,bkj->bki", self._axes.to(x), x)


class ConditionedMixture(ConditionedDenoiser):
    """A Gaussian mixture under a label: a denoiser whose density is known."""

    def __init__(self, prior: GaussianMixturePrior, condition: Condition) -> None:
        super().__init__(prior, condition)
        self._mixture = prior

    def score(
        self, z: Float[Tensor, "batch *shape"], level: NoiseLevel
    ) -> Float[Tensor, "batch *shape"]:
        """grad_z log p(z | label), exact."""
        return self._mixture.score(z, level, self.condition.expand(len(z)))

    def log_density(
        self, z: Float[Tensor, "batch *shape"], level: NoiseLevel
    ) -> Float[Tensor, " batch"]:
        """Normalised ``log p(z | label)`` of the noisy marginal, in nats."""
        return self._mixture.log_density(z, level, self.condition.expand(len(z)))

    def energy(
        self, z: Float[Tensor, "batch *shape"], level: NoiseLevel
    ) -> Float[Tensor, " batch"]:
        """E(z) = -log p(z | label), normalised."""
        return -self.log_density(z, level)
