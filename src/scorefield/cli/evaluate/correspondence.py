"""`scorefield evaluate correspondence`: PCK on published pairs of images."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import tyro

from scorefield.cli.command import Outcome, check_folder, check_template
from scorefield.cli.evaluate.data_sets import DataSetCommand, Report
from scorefield.domains import Count, Positive

if TYPE_CHECKING:
    from torch import Tensor

    from scorefield.perception.benchmarks.keypoint_pairs import KeypointPair


@dataclass(frozen=True, kw_only=True)
class EvaluateCorrespondence(DataSetCommand):
    """Find the annotated points of SPair-71k, PF-PASCAL or TSS with the features of a prior.

    OUT gets metrics.json, report.html beside the published figures, and pairs.jsonl, a line per
    pair, from which --resume goes on.
    """

    item: ClassVar[str] = "pair"

    data: tuple[Literal["spair", "pf-pascal", "tss"], Path]
    """Which benchmark, and its folder as it is published."""
    split: str = "test"
    """Split of the benchmark: trn, val or test; TSS has one alone."""
    template: str | None = None
    """Prompt of a category, {} being its name, such as "a photo of a {}"; None gives no prompt."""
    fuse: Annotated[Literal["sift"] | None, tyro.conf.arg(name="with")] = None
    """Descriptor to match together with the features: dense SIFT."""
    every: Count = 4
    """Step between the dense points of TSS that are taken, pixels; 1 is the published protocol."""
    memory: Positive = 1.0
    """GiB for features of images that are kept for further pairs."""

    def run(self) -> Outcome:
        """Evaluate and write the metrics."""
        if self.template is not None:
            check_template(self.template, "category")
        check_folder(self.out, self.resume)

        from scorefield.cli.loading import prior_of
        from scorefield.perception.benchmarks.keypoint_evaluation import (
            evaluate_keypoints,
            keypoint_metrics,
        )
        from scorefield.perception.correspondence.dift import dift_preset
        from scorefield.perception.correspondence.sift import SiftFusion
        from scorefield.priors.frozen_prior import prior_digest

        pairs = self._pairs()[: self.n]
        prior = prior_of(self)
        preset = dift_preset(prior)
        if self.template is not None:
            names = sorted({pair.category for pair in pairs})
            prior.condition([self.template.format(name) for name in names])
        settings = {
            "data": self.data[0], "split": self.split, "prior": self.prior,
            "weights": prior_digest(prior),
            "image_size": prior.image_size, "layers": list(preset.layers),
            "log_snr": float(preset.level(prior.schedule).log_snr), "template": self.template,
            "with": self.fuse, "every": self.every, "seed": self.seed,
        }  # fmt: skip
        sift = None if self.fuse is None else SiftFusion()
        return self.evaluated(
            settings,
            lambda rows: evaluate_keypoints(
                pairs, self._describe(prior, preset, sift), rows,
                locate=None if sift is None else sift.locate, memory=self.memory,
                progress=not self.quiet,
            ),
            keypoint_metrics,
        )  # fmt: skip

    def lines(self, metrics: dict[str, Any]) -> list[str]:
        """The shares of points that were found."""
        if not metrics["pairs"]:
            return ["no pair could be read"]
        lines = [f"{metrics['pairs']} pairs, {metrics['points']} points"]
        for alpha, share in metrics["per_point"].items():
            lines.append(
                f"PCK@{alpha}: {100 * share:.1f} per point, "
                f"{100 * metrics['per_image'][alpha]:.1f} per image, "
                f"{100 * metrics['by_category'][alpha]:.1f} mean of the categories"
            )
        return lines

    def _pairs(self) -> "list[KeypointPair]":
        from scorefield.perception.benchmarks import keypoint_pairs

        name, folder = self.data
        if name == "spair":
            return keypoint_pairs.spair_pairs(folder, self.split)
        if name == "pf-pascal":
            return keypoint_pairs.pf_pascal_pairs(folder, self.split)
        return keypoint_pairs.tss_pairs(folder, self.every)

    def _describe(self, prior: Any, preset: Any, sift: Any) -> "Callable[[Tensor, str], Tensor]":
        from scorefield.perception.correspondence.dift import features, with_sift
        from scorefield.perception.resize import resize_to_prior

        def describe(image: "Tensor", category: str) -> "Tensor":
            prompt = None if self.template is None else self.template.format(category)
            seen = resize_to_prior(image[None], prior)
            found = features(prior, seen, prompt, preset=preset, seed=self.seed)[0]
            return found if sift is None else with_sift(found, image, prior, sift)

        return describe

    def report(self, metrics: dict[str, Any]) -> Report:
        """A row for each category."""
        from scorefield.perception.benchmarks.report import percent

        alphas = list(metrics.get("per_point", {}))
        heads = ["", "pairs", "points"]
        heads += [f"PCK@{a} {how}" for how in ("per point", "per image") for a in alphas]
        rows = [
            [name, str(one["pairs"]), str(one["points"])]
            + [percent(one[how][a]) for how in ("per_point", "per_image") for a in alphas]
            for name, one in [("all", metrics), *metrics["categories"].items()]
            if one["pairs"]
        ]
        facts = {
            name: metrics[name]
            for name in (
                "prior",
                "image_size",
                "layers",
                "log_snr",
                "template",
                "with",
                "split",
                "seed",
            )
        }
        if metrics["data"] == "tss":
            facts["points"] = f"each {self.every}th pixel of the objects, along both axes"
        title = f"{self.prior} on {self.data[0]}"
        table = ("Share of points found, in percent", heads, rows)
        return Report(title, facts, [table], self.data[0])
