"""`scorefield classify`: which of some labels images show."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scorefield.cli.command import (
    Outcome,
    check_at_least,
    check_template,
    check_unused,
    under_way,
)
from scorefield.cli.perception.data_set import ImagesCommand
from scorefield.cli.perception.image_results import AT_ONCE, ImageResults, file_digest
from scorefield.domains import Count, Positive, Share
from scorefield.perception.classification.choices import Loss, Quantity, Spacing

if TYPE_CHECKING:
    from torch import Tensor

    from scorefield.perception.classification.classify import Classification
    from scorefield.perception.classification.rejection import LabelFit
    from scorefield.perception.fleet.work import ImageWork
    from scorefield.priors.frozen_prior import FrozenPrior

NONE = "none of these"
"""What is said of an image that no label fits."""


@dataclass(frozen=True, kw_only=True)
class Classify(ImagesCommand):
    """Classify images by the likelihood a prior gives them under each label.

    No classifier is trained. Labels that are behind by more than chance explains are dropped on the
    way, so that most images cost far less than the budget. Any number of images stream
    through; with --out, each one's result is on disk as soon as it is known.
    """

    labels: str
    """Labels to choose from, in one word with commas: "mushroom,lamp,chair"."""
    template: tuple[str, ...] = ("a {}",)
    """Prompt of a label, {} being the label; several are alternatives."""
    confidence: float = 0.99
    """How often a dropped label would truly have lost: the winner survives this often."""
    inflation: Positive = 4.0
    """How much noise inflates a prior's errors beyond independent parts: 1 for digits."""
    budget: Count | None = None
    """Network evaluations per image at most; None is 32 for every prompt."""
    quantity: Quantity = "eps"
    """Quantity in which predictions are compared; x0 and v weight high noise more."""
    loss: Loss = "l2"
    """Loss of the noise-prediction error; l1 and huber mind outlying dimensions less."""
    spacing: Spacing = "log_snr"
    """Scale on which the noise levels are evenly spaced: log-SNR, or the schedule's timesteps."""
    log_snr: tuple[float, float] = (-3.0, 3.0)
    """Range (low high) of the noise levels."""
    temperature: Positive = 1.0
    """Temperature of the probabilities: above 1, less sure than the likelihoods."""
    reject: Share | None = None
    """Share of images that do fit a label which may be called "none of these", such as 0.05; None
    names a label for every image."""
    own: Count = 60
    """Number of images of the labels that the prior makes for --reject, to know what fits."""
    reference: tuple[Path, ...] = ()
    """Images that do fit a label, for --reject to compare with instead of those that the prior
    makes: of the kind that is judged."""
    out: Path | None = None
    """File of one JSON line per image (results.jsonl), or with --data a folder; new, unless
    resuming."""
    batch_size: Count | None = None
    """Rows in one pass of the network; changes the speed and the memory, not the results; None
    takes what free memory has room for, up to 64, and with --data 64."""

    def check(self) -> None:
        """Refuse labels that are too few; others than the first are images, without commas."""
        super().check()
        labels = self._labels()
        if len(labels) < 2 or len(set(labels)) < len(labels):
            raise ValueError(
                "--labels must be two or more labels, all different, in one word with commas "
                f'between, such as "duck,boat"; got "{self.labels}"'
            )

    def _labels(self) -> list[str]:
        return [label.strip() for label in self.labels.split(",") if label.strip()]

    def run(self) -> Outcome:
        """Classify, append, report."""
        for template in self.template:
            check_template(template)
        self._check_reject()
        if self.data is not None:
            return self.over_data()
        work = self.work()
        results = ImageResults(self.out, work.settings, self.resume)  # makes the file, so last
        with under_way():
            results.stream(self.images, work, quiet=self.quiet)
        rows, problem = results.of(self.images)
        lines = [_line(row) for row in rows if "error" not in row]
        if self.out is not None:
            lines.append(f"wrote {self.out}")
        return Outcome({**work.settings, **work.notes, "results": rows}, lines, problem)

    def work(self) -> "ImageWork":
        """Labels of images."""
        import torch

        from scorefield.cli.loading import prior_of
        from scorefield.images import load_image
        from scorefield.perception.benchmarks.labelled_images import noise_key
        from scorefield.perception.classification.classify import DRAWS, classify
        from scorefield.perception.classification.error_measure import ErrorMeasure
        from scorefield.perception.classification.stopping import Race
        from scorefield.perception.fleet.work import ImageWork
        from scorefield.priors.frozen_prior import prior_digest

        labels = self._labels()
        prompts = {
            label: [template.format(label) for template in self.template] for label in labels
        }
        count = len(labels) * len(self.template)
        budget = DRAWS * count if self.budget is None else self.budget
        check_at_least(count, budget=budget)
        policy = Race(self.confidence, inflation=self.inflation)
        measure = ErrorMeasure(self.quantity, self.loss, self.spacing, self.log_snr)
        prior = prior_of(self)
        settings = {
            "prior": self.prior,
            "weights": prior_digest(prior),
            "prompts": prompts,
            "policy": asdict(policy),
            "measure": asdict(measure),
            "budget": budget,
            "temperature": self.temperature,
            "seed": self.seed,
        }
        columns = {
            "label": str, "confidence": float, "decided": bool, "evaluations": int,
            "probabilities": dict, "log_likelihoods": dict,
        }  # fmt: skip
        if self.reject is not None:
            settings |= {"reject": self.reject}
            settings |= (
                {"reference": {str(path): file_digest(path) for path in self.reference}}
                if self.reference
                else {"own": self.own}
            )
            columns |= {"fit": float, "gain": float, "nearest": str}
        prior.condition([prompt for own in prompts.values() for prompt in own])
        many = self.rows_in_a_pass(prior, prompts[labels[0]][0])
        fitting = [load_image(path, prior.image_size) for path in self.reference]

        def named(images: "Tensor", items: list[int]) -> "Classification":
            return classify(
                prior, images, prompts, policy=policy, measure=measure, budget=budget,
                temperature=self.temperature, seed=self.seed, items=items,
                batch_size=many,
            )  # fmt: skip

        def judge(images: "Tensor", items: list[int]) -> list[dict[str, Any]]:
            rows = _rows(named(images, items))
            if self.reject is not None:
                self._reject(rows, prior, images, items, reference(), many)
            return rows

        @cache
        def reference() -> "LabelFit":  # takes a while: when it is used
            if not fitting:
                own = [labels[i % len(labels)] for i in range(self.own)]
                # unguided: guidance exaggerates what a label adds, and real images would not fit
                made = prior.generate(
                    self._prompts(own), 1, seed=self.seed, progress=not self.quiet
                )
                return self._fit(prior, made, own, many)
            images = torch.stack(fitting).to(prior.device)
            items = [noise_key(file_digest(path)) for path in self.reference]
            return self._fit(prior, images, named(images, items).best, many, items)

        notes = {"batch_size": many}
        return ImageWork(judge, columns, settings, prior.device, prior.image_size, AT_ONCE, notes)

    def _check_reject(self) -> None:
        """Refuse too few images to tell so small a share by."""
        if self.reject is None:
            return check_unused(self, "classify without --reject", "own", "reference")
        if self.reject == 0:
            raise ValueError("--reject 0 rejects nothing; leave it out")
        if self.reference:
            check_unused(self, "--reference", "own")
        given = len(self.reference) or self.own
        if 2 / (given + 1) >= self.reject:
            raise ValueError(
                f"--{'reference' if self.reference else 'own'}: {given} images are too few to "
                f"reject at {self.reject:g}; give more than {2 / self.reject - 1:.0f}"
            )

    def _prompts(self, labels: Sequence[str]) -> list[str]:
        """The prompt that images are compared under."""
        return [self.template[0].format(label) for label in labels]

    def _fit(
        self,
        prior: "FrozenPrior",
        images: "Tensor",
        labels: Sequence[str],
        many: int,
        items: list[int] | None = None,
    ) -> "LabelFit":
        """How well images fit a label each."""
        from scorefield.perception.classification.rejection import label_fit

        return label_fit(
            prior, images, self._prompts(labels), seed=self.seed, items=items,
            batch_size=many,
        )  # fmt: skip

    def _reject(
        self,
        rows: list[dict[str, Any]],
        prior: "FrozenPrior",
        images: "Tensor",
        items: list[int],
        reference: "LabelFit",
        many: int,
    ) -> None:
        """Note how well each image fits its label, and take labels back that do not."""
        fit = self._fit(prior, images, [row["label"] for row in rows], many, items)
        for row, p, gain in zip(rows, fit.p_values(reference), fit.gains, strict=True):
            row |= {"fit": round(float(p), 4), "gain": round(float(gain), 3)}
            if self.reject is not None and p < self.reject:
                row |= {"label": NONE, "nearest": row["label"]}


def _rows(found: "Classification") -> list[dict[str, Any]]:
    """What is kept of each image."""
    return [
        {
            "label": found.best[i],
            "confidence": round(float(found.confidence[i]), 4),
            "decided": bool(found.decided[i]),
            "evaluations": int(found.evaluations[i]),
            "probabilities": _by_label(found.labels, found.probabilities[i]),
            "log_likelihoods": _by_label(found.labels, found.log_likelihoods[i]),
        }
        for i in range(len(found.best))
    ]


def _by_label(labels: tuple[str, ...], values: "Tensor") -> dict[str, float]:
    pairs = zip(labels, values.tolist(), strict=True)
    return {label: float(f"{value:.6g}") for label, value in pairs}


def _line(row: dict[str, Any]) -> str:
    """A result for people: the label, the likeliest three, what it took."""
    likely = sorted(row["probabilities"].items(), key=lambda pair: -pair[1])[:3]
    odds = ", ".join(f"{label} {value:.3f}" for label, value in likely)
    fit = f", fit {row['fit']:.3f}" if "fit" in row else ""
    sure = f"confidence {row['confidence']:.3f}" + ("" if row["decided"] else ", undecided")
    return f"{row['image']}: {row['label']} ({odds}; {row['evaluations']} evaluations, {sure}{fit})"
