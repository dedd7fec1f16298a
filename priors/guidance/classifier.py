"""Classifier guidance: a prior led by the gradient of a classifier of noisy samples."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scorefield.priors.denoiser import Denoiser
from scorefield.priors.guidance.classifier_free import check_finite
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.prediction import Prediction


@runtime_checkable
class NoisyClassifier(Protocol):
    """A classifier of noisy samples, differentiable in them."""

    def __call__(
        self, z: Float[Tensor, "batch *shape"], level: NoiseLevel
    ) -> Float[Tensor, "batch classes"]:
        """Logits, or log-probabilities, of the classes; ``level`` has one entry per item.

        A network that wants a timestep takes ``schedule.timestep(level)``.  Items must not depend
        on each other, as they do under batch normalisation in train mode.
        """
        ...


class ClassifierGuidance(Denoiser):
    """eps - scale sigma grad_z log p(label | z) (Dhariwal and Nichol 2021, Algorithm 2).

    In score: score + scale grad_z log p(label | z).  By Bayes' rule scale = 1 with the classifier's
    exact posterior, and the prior's own frequencies of the classes, is the conditional score.
    scale = 0 does not evaluate the classifier.

    Acts on the score and so the same in eps, x0 and v.  At zero terminal SNR noise alone is
    classified: the score is the prior's, and so, there, is the prediction.

    The gradient is a constant to whoever differentiates the prediction, unless z carries a graph.
    diffusers has no guider for it: guiders combine predictions, not gradients.

    Args:
        denoiser: the prior, unconditional or not.
        classifier: see `NoisyClassifier`.
        labels: the class to lead to, or one per item.
        scale: guidance scale s, finite.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        classifier: NoisyClassifier,
        labels: int | Sequence[int] | Int[Tensor, " items"],
        scale: float | int,
    ) -> None:
        check_finite("scale", scale)
        self.denoiser = denoiser
        self.classifier = classifier
        self.labels = torch.as_tensor(labels, dtype=torch.long).reshape(-1)
        self.scale = scale
        self.schedule = denoiser.schedule
        if bool((self.labels < 0).any()):
            raise ValueError(f"labels must be >= 0, got {self.labels.tolist()}")

    def predict(self, z: Float[Tensor, "batch *shape"], level: NoiseLevel) -> Prediction:
        """The prior's prediction, shifted along the classifier's gradient."""
        prediction = self.denoiser(z, level)
        if self.scale == 0:
            return prediction
        alpha, sigma = level.like(z)
        # From eps to v along fixed z: dv = (alpha^2 + sigma^2) / alpha deps
        factor = torch.where(alpha > 0, sigma * (alpha**2 + sigma**2) / alpha, 0)
        shift = self.scale * factor * self.gradient(z, level)
        return Prediction.from_v(prediction.z, level, prediction.v - shift)

    def gradient(
        self, z: Float[Tensor, "batch *shape"], level: NoiseLevel
    ) -> Float[Tensor, "batch *shape"]:
        """grad_z log p(label | z).

        Raises:
            ValueError: the classifier's output is of another shape or has no such class, or does
                not depend on z.
        """
        keep_graph = z.requires_grad and torch.is_grad_enabled()
        with torch.enable_grad():
            at = z if keep_graph else z.detach().requires_grad_()
            labels = self._labels_of(len(z)).to(z.device)
            logits = self.classifier(at, level.expand(len(z)))
            if logits.ndim != 2 or len(logits) != len(z) or int(labels.max()) >= logits.shape[1]:
                raise ValueError(
                    f"the classifier must return (batch, classes) = ({len(z)}, "
                    f"{int(labels.max()) + 1} or more), got {tuple(logits.shape)}"
                )
            if not logits.requires_grad:
                raise ValueError(
                    "the classifier's output does not depend on z; "
                    "let gradients flow through it (no torch.no_grad, no detach)"
                )
            chosen = logits.log_softmax(dim=1).gather(1, labels[:, None])
            (gradient,) = torch.autograd.grad(chosen.sum(), at, create_graph=keep_graph)
        return gradient

    def rows(self, index: Sequence[int]) -> "ClassifierGuidance":
        """The prior and the labels of the items ``index``."""
        labels = self.labels if len(self.labels) == 1 else self.labels[list(index)]
        return ClassifierGuidance(self.denoiser.rows(index), self.classifier, labels, self.scale)

    def _labels_of(self, batch: int) -> Tensor:
        if len(self.labels) not in (1, batch):
            raise ValueError(
                f"{len(self.labels)} labels do not fit a batch of {batch}; give one or {batch}"
            )
        return self.labels.expand(batch)
