"""Classification by a generative prior: which label makes an image most likely.

Li et al. 2023, "Your diffusion model is secretly a zero-shot classifier": the error of a denoiser
under a label bounds -log p(x | label), so that by Bayes' rule the labels with the least error win.
`ErrorMeasure` says when the bound is the likelihood itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.special import logsumexp
from torch import Tensor
from tqdm.auto import tqdm

from scorefield.images import Images, as_images
from scorefield.perception.classification.error_measure import ErrorMeasure
from scorefield.perception.classification.paired_errors import (
    ErrorSource,
    PairedErrors,
    Request,
    clean_samples,
)
from scorefield.perception.classification.stopping import Race, StoppingRule
from scorefield.priors.prior import ImagePrior, Prior, Prompts, check_is_prior

Labels = Sequence[str] | Mapping[str, Prompts]
"""Labels that are their own prompt, or the prompt or prompts of each label."""

DRAWS = 32
"""Evaluations per prompt that an image may cost on average, where no budget is given."""


@dataclass(frozen=True, eq=False)
class Classification:
    """What is known of the labels of some images.

    labels: their names, C of them.
    log_likelihoods: log p(x | label) - log p(x | best label) in nats, 0 for the best label; what
        other measures than the default give in its place is in their unit.
    standard_errors: of these differences over the draws that both had; nan for a single draw. The
        draws are spread evenly, so this is an upper estimate.
    draws: of noise and level, that each label had.
    evaluations: of the network that each image has cost.
    decided: whether the policy came to a single label, or the budget ended before.
    confidence: that unlimited draws would name the same label, as the policy states it; nan if it
        does not.
    temperature: of the probabilities.
    """

    labels: tuple[str, ...]
    log_likelihoods: Float[Tensor, "images labels"]
    standard_errors: Float[Tensor, "images labels"]
    draws: Int[Tensor, "images labels"]
    evaluations: Int[Tensor, " images"]
    decided: Bool[Tensor, " images"]
    confidence: Float[Tensor, " images"]
    temperature: float = 1.0

    @property
    def probabilities(self) -> Float[Tensor, "images labels"]:
        """p(label | x) under equal priors: softmax(log_likelihoods / temperature)."""
        return (self.log_likelihoods / self.temperature).softmax(dim=1)

    @property
    def best(self) -> list[str]:
        """The most likely label of each image."""
        return [self.labels[i] for i in self.log_likelihoods.argmax(dim=1).tolist()]

    def with_temperature(self, temperature: float | int) -> "Classification":
        """The same with probabilities of that temperature, such as `fit_temperature` finds."""
        if not temperature > 0:
            raise ValueError(f"temperature must be positive; got {temperature}")
        return replace(self, temperature=float(temperature))


def classify(
    prior: Prior,
    images: Images,
    labels: Labels,
    *,
    policy: StoppingRule | None = None,
    budget: int | None = None,
    measure: ErrorMeasure | None = None,
    temperature: float | int = 1.0,
    seed: int = 0,
    items: Sequence[int] | None = None,
    batch_size: int = 64,
    progress: bool = False,
) -> Classification:
    """The labels of images by a prior that was trained for something else.

    All labels of an image meet the same noise at the same levels, which are spread so evenly that
    the draws can end anywhere; `policy` drops labels on the way. Several prompts of a label are
    alternatives, p(x | label) = mean of p(x | prompt): a label gains nothing by having more of
    them, and its worse prompts take nothing away but log(their number). Images are independent of
    each other, of their order and of the batch.

    Args:
        prior: image priors, mixtures, empirical priors: whatever has `condition(prompts)`.
        images: of an `ImagePrior`, one image or a batch, as `scorefield.images.as_images` takes
            them: files give their middle square at the prior's size, tensors and arrays are of its
            size. Otherwise clean samples in the prior's space.
        labels: two or more.
        policy: `Race(confidence=0.99)` if None.
        budget: evaluations of the network per image at most; ``32 * prompts`` if None. The last
            look is cut short to meet it.
        measure: `ErrorMeasure()`, the log-likelihood, if None.
        temperature: of the probabilities.
        seed: of noise and levels.
        items: what keys the noise of each image; 0, 1, ... if None.
        batch_size: rows in one pass of the network: speed and memory, not the result.
        progress: show a bar of images.

    Raises:
        ValueError: no image, fewer than two labels, one without a prompt, or a budget that does
            not reach for one draw of every prompt.
    """
    check_is_prior(prior)
    names, groups, prompts = _read(labels)
    if isinstance(prior, ImagePrior) and not prior.is_video:
        images = as_images(images, prior.image_size).to(prior.device)
    assert isinstance(images, Tensor)
    if len(images) == 0:
        raise ValueError("give at least one image")
    budget = DRAWS * len(prompts) if budget is None else budget
    if budget < len(prompts):
        raise ValueError(
            f"a budget of {budget} evaluations does not reach for one draw of each of the "
            f"{len(prompts)} prompts; give at least that"
        )
    if not temperature > 0:
        raise ValueError(f"temperature must be positive; got {temperature}")
    source = PairedErrors(
        prior.condition(prompts),
        clean_samples(prior, images, batch_size),
        ErrorMeasure() if measure is None else measure,
        seed=seed,
        items=items,
        batch_size=batch_size,
    )
    policy = Race() if policy is None else policy
    found = run_races(
        source, len(images), names, groups, policy=policy, budget=budget, progress=progress
    )
    return found.with_temperature(temperature)


def run_races(
    source: ErrorSource,
    images: int,
    names: Sequence[str],
    groups: Sequence[Sequence[int]],
    *,
    policy: StoppingRule,
    budget: int,
    progress: bool = False,
) -> Classification:
    """Classify by errors from any source, such as a table of them; see `classify`.

    groups: the indices of the prompts of each label.
    """
    races = [_ImageRace(image, groups, policy, budget) for image in range(images)]
    with tqdm(total=images, disable=not progress, desc="classify", leave=False) as bar:
        running = races
        while running:
            requests = [race.request for race in running]
            answers = source.evaluate([request for request in requests if request is not None])
            for race, errors in zip(running, answers, strict=True):
                race.answer(errors)
            left = [race for race in running if race.request is not None]
            bar.update(len(running) - len(left))
            running = left
    results = [race.result() for race in races]
    columns: dict[str, Any] = {
        name: torch.as_tensor(np.array([result[name] for result in results])) for name in results[0]
    }
    return Classification(tuple(names), **columns)


class _ImageRace:
    """The labels of one image and what is known of them."""

    def __init__(
        self, image: int, groups: Sequence[Sequence[int]], policy: StoppingRule, budget: int
    ) -> None:
        self._image = image
        self._groups = [list(group) for group in groups]
        self._policy = policy
        self._budget = budget
        self._left = list(range(len(groups)))
        # by label, for those that are dropped early have few draws
        self._errors = [np.empty((len(group), 0, 1)) for group in self._groups]
        self._spent = 0
        self._look = 0
        self.request = self._next()

    @property
    def _prompts(self) -> list[int]:
        return [prompt for label in self._left for prompt in self._groups[label]]

    def _next(self) -> Request | None:
        """What is to be evaluated; None if there is nothing to decide or nothing to spend."""
        wanted = self._policy.draws(self._look)
        if len(self._left) == 1 or wanted is None:
            return None
        had = self._errors[self._left[0]].shape[1]
        affordable = had + (self._budget - self._spent) // len(self._prompts)
        if affordable <= had:
            return None
        return Request(self._image, tuple(self._prompts), had, min(wanted, affordable))

    def answer(self, errors: Float[np.ndarray, "prompts draws parts"]) -> None:
        """Take in what was asked for, and drop labels."""
        assert self.request is not None
        self._spent += self.request.evaluations
        bounds = np.cumsum([len(self._groups[label]) for label in self._left])[:-1]
        for label, more in zip(self._left, np.split(errors, bounds), strict=True):
            had = self._errors[label]
            # a copy, for a view would keep the errors of the whole request
            self._errors[label] = np.concatenate([had, more] if had.size else [more], axis=1)
        if self.request.stop == self._policy.draws(self._look):
            kept = self._policy.keep(self._of_labels(self._left), self._look, len(self._groups))
            self._left = [label for label, keep in zip(self._left, kept, strict=True) if keep]
            self._look += 1
        self.request = self._next()

    def _of_labels(self, labels: Sequence[int], draws: int | None = None) -> np.ndarray:
        """Errors per label, draw and part, of all draws or the first ones."""
        return np.stack([mixed_errors(self._errors[label][:, :draws].copy()) for label in labels])

    def result(self) -> dict[str, Any]:
        """The fields of `Classification` for this image."""
        errors = self._of_labels(self._left)
        best = self._left[int(errors.sum(axis=2).mean(axis=1).argmin())]
        had = [own.shape[1] for own in self._errors]
        gaps = [
            np.subtract(*self._of_labels([c, best], had[c])).sum(axis=1) for c in range(len(had))
        ]
        decided = len(self._left) == 1
        return {
            # a label dropped on the way may still come out ahead of the best over its own draws
            "log_likelihoods": [min(0.0, -gap.mean()) for gap in gaps],
            "standard_errors": [
                gap.std(ddof=1) / len(gap) ** 0.5 if len(gap) > 1 else np.nan for gap in gaps
            ],
            "draws": had,
            "evaluations": self._spent,
            "decided": decided,
            "confidence": self._policy.confidence_in(errors),
        }


def mixed_errors(
    errors: Float[np.ndarray, "prompts draws parts"],
) -> Float[np.ndarray, "draws parts"]:
    """The errors of a label of several prompts.

    Their sum over parts and mean over draws is -log of the mean over prompts of exp(-error), the
    mixture's; around it they scatter as the mixture's estimate does, to first order: by the
    prompts' errors, each with the probability of its prompt.
    """
    if len(errors) == 1:
        return errors[0]
    draws, parts = errors.shape[1:]
    scores = -errors.sum(axis=2).mean(axis=1)
    total = logsumexp(scores)
    weights = np.exp(scores - total)
    weighted: np.ndarray = np.tensordot(weights, errors, axes=1)
    mixture = np.log(len(errors)) - total
    return weighted + (mixture - weighted.sum() / draws) / parts


def _read(labels: Labels) -> tuple[tuple[str, ...], list[list[int]], list[str]]:
    """Names, the places of each label's prompts, and all prompts."""
    given = [labels] if isinstance(labels, str) else list(labels)
    prompts_of: dict[str, list[str]] = (
        {name: [own] if isinstance(own, str) else list(own) for name, own in labels.items()}
        if isinstance(labels, Mapping)
        else {name: [name] for name in given}
    )
    if len(prompts_of) < 2 or len(given) > len(prompts_of):
        raise ValueError(f"give two or more labels, all different; got {given}")
    for name, own in prompts_of.items():
        if not own:
            raise ValueError(f"label {name!r} has no prompt; give each at least one")
    groups, prompts = [], list[str]()
    for own in prompts_of.values():
        groups.append(list(range(len(prompts), len(prompts) + len(own))))
        prompts += own
    return tuple(prompts_of), groups, prompts
