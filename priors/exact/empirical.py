"""The empirical distribution of a set of exemplars as a prior.

Its posterior mean is known (Karras et al. 2022, "Elucidating the design space", appendix B.3):

    E[x | z] = sum_i softmax_i(-|z - alpha x_i|^2 / (2 sigma^2)) x_i.

A perfectly trained network of unlimited capacity would predict just this, and would memorise.
"""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.images import load_image
from scorefield.priors.condition import Condition
from scorefield.priors.denoiser import ConditionedDenoiser, Denoiser
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.prediction import Prediction
from scorefield.priors.schedule import DiscreteSchedule, NoiseSchedule

_IMAGES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}


class EmpiricalPrior(Denoiser):
    """Exemplars with equal weights, each with a label made of words.

    Args:
        exemplars: clean samples in the space of the prior (latents, or images in [-1, 1]), shape
            (N, *shape).
        labels: a label per exemplar; a condition selects those that contain all of its words.
        schedule: the schedule it is seen through; ``DiscreteSchedule.cosine()`` if None.
        chunk: how many exemplars are weighed at a time; bounds the memory, not the result.
    """

    def __init__(
        self,
        exemplars: Float[Tensor, "N *shape"],
        labels: Sequence[str] | None = None,
        schedule: NoiseSchedule | None = None,
        chunk: int = 1024,
    ) -> None:
        if len(exemplars) == 0:
            raise ValueError("exemplars must hold at least one sample, got none")
        if labels is not None and len(labels) != len(exemplars):
            raise ValueError(
                f"labels must name each of the {len(exemplars)} exemplars, got {len(labels)}"
            )
        if chunk < 1:
            raise ValueError(f"chunk must be >= 1, got {chunk}")
        self.exemplars = exemplars
        self.shape = tuple(exemplars.shape[1:])
        self.labels = tuple(labels) if labels is not None else None
        self.schedule = schedule if schedule is not None else DiscreteSchedule.cosine()
        self.chunk = chunk

    @classmethod
    def from_folder(
        cls, path: str | Path, size: int, schedule: NoiseSchedule | None = None
    ) -> "EmpiricalPrior":
        """Images of a folder, their centre square resized to (size, size), in [-1, 1].

        The label of ``red_chair-02.png`` is "red chair 02".
        """
        files = sorted(file for file in Path(path).iterdir() if file.suffix.lower() in _IMAGES)
        if not files:
            raise ValueError(f"no image in {path}; accepted are {', '.join(sorted(_IMAGES))}")
        pictures = torch.stack([load_image(file, size) for file in files])
        labels = [" ".join(re.split(r"[\W_]+", file.stem)).strip() for file in files]
        return cls(2 * pictures - 1, labels, schedule)

    @property
    def unconditional(self) -> ConditionedDenoiser:
        """All exemplars, as a conditioned denoiser."""
        return self.condition(None)

    def condition(self, labels: str | Sequence[str] | None) -> ConditionedDenoiser:
        """The exemplars whose label contains all words of the condition, in any order or case.

        Args:
            labels: one condition for all items, or one per item; None for all exemplars.

        Raises:
            ValueError: if no exemplar matches; names the nearest label.
        """
        rows = [labels] if labels is None or isinstance(labels, str) else list(labels)
        chosen = torch.stack([self._matching(label) for label in rows])
        return ConditionedDenoiser(self, Condition({"exemplars": chosen}))

    def predict(
        self,
        z: Float[Tensor, "batch *shape"],
        level: NoiseLevel,
        condition: Condition | None = None,
    ) -> Prediction:
        """The exact posterior mean, at any level with sigma > 0."""
        if bool((level.sigma == 0).any()):
            raise ValueError("exemplars have no density at sigma = 0; ask at sigma > 0")
        # float64: the weights are differences of numbers of the order of D / sigma^2
        flat = z.flatten(1).double()
        alpha, sigma = level.like(flat)
        running_max = flat.new_full((len(z), 1), -torch.inf)
        total = flat.new_zeros(len(z), 1)
        weighted = torch.zeros_like(flat)
        for start in range(0, len(self.exemplars), self.chunk):
            piece = slice(start, start + self.chunk)
            x = self.exemplars[piece].flatten(1).to(flat)
            # |z|^2 is the same for every exemplar and cancels in the softmax
            logits = alpha * (flat @ x.T - alpha * (x * x).sum(dim=1) / 2) / sigma**2
            if condition is not None:
                chosen = condition.tensors["exemplars"][:, piece].to(flat.device)
                logits = logits.masked_fill(~chosen, -torch.inf)
            new_max = torch.maximum(running_max, logits.amax(dim=1, keepdim=True)).detach()
            # nothing chosen so far: any finite reference keeps the sums at zero
            reference = new_max.masked_fill(new_max.isneginf(), 0.0)
            weights = (logits - reference).exp()
            decay = (running_max - reference).exp()
            total = total * decay + weights.sum(dim=1, keepdim=True)
            weighted = weighted * decay + weights @ x
            running_max = new_max
        dtype = torch.promote_types(z.dtype, torch.float32)
        return Prediction.from_x0(z, level, (weighted / total).to(dtype).reshape(z.shape))

    def _matching(self, label: str | None) -> Tensor:
        """Which exemplars have all words of ``label``, shape (N,)."""
        if label is None:
            return torch.ones(len(self.exemplars), dtype=torch.bool)
        known = self.labels or ()
        wanted = _words(label)
        chosen = torch.tensor([wanted <= _words(name) for name in known], dtype=torch.bool)
        if not bool(chosen.any()):
            raise ValueError(
                f"no exemplar has all the words of {label!r}; {_nearest(label, known)}"
            )
        return chosen


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def _nearest(label: str, known: Sequence[str]) -> str:
    if not known:
        return "the exemplars were given without labels"

    def likeness(name: str) -> tuple[int, float]:
        shared = len(_words(label) & _words(name))
        return shared, difflib.SequenceMatcher(None, label.lower(), name.lower()).ratio()

    return f"the nearest label is {max(dict.fromkeys(known), key=likeness)!r}"
