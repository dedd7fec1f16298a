"""`scorefield evaluate segmentation`: mean IoU on published images with masks."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from scorefield.cli.command import Outcome, check_folder
from scorefield.cli.evaluate.data_sets import DataSetCommand, Report
from scorefield.domains import Count, Positive

if TYPE_CHECKING:
    from scorefield.perception.benchmarks.masked_images import Classes, MaskedImage


@dataclass(frozen=True, kw_only=True)
class EvaluateSegmentation(DataSetCommand):
    """Compare the regions a prior sees with those of VOC, ADE20K, COCO-Stuff, Cityscapes or yours.

    Regions have no names; within each image they are matched to classes one to one. OUT gets
    metrics.json, report.html beside the published figures, and images.jsonl, a line per image,
    from which --resume goes on.
    """

    data: tuple[Literal["voc", "ade", "coco-stuff", "coco-stuff-27", "cityscapes", "folder"], Path]
    """Which data set, and its folder as it is published; "folder" is one of yours with images/ and
    masks/."""
    split: str | None = None
    """Split of the data set; None is the one that is published about (val)."""
    k: Annotated[Count, tyro.conf.arg(aliases=("-k",))] = 6
    """Regions per image at most."""
    method: Literal["emerdiff", "kmeans", "ncut"] = "kmeans"
    """Clusters of the prior's features, or sharp masks by modulating the prior, which take many
    times as long."""
    memory: Positive = 4.0
    """GiB for recorded attention and one batch, beside the weights."""

    def run(self) -> Outcome:
        """Evaluate and write the metrics."""
        check_folder(self.out, self.resume)

        from scorefield.cli.loading import prior_of
        from scorefield.perception.benchmarks.mask_evaluation import evaluate_masks, mask_metrics
        from scorefield.perception.segmentation.presets import method_named
        from scorefield.perception.segmentation.segment import check_method
        from scorefield.priors.frozen_prior import prior_digest

        images, classes = self._images()
        images = images[: self.n]
        prior = prior_of(self)
        method = method_named(prior, self.method)
        check_method(prior, method, self.memory)
        settings = {
            "data": self.data[0], "split": self.split, "prior": self.prior,
            "weights": prior_digest(prior),
            "image_size": prior.image_size, "method": self.method, "k": self.k,
            "classes": classes.source, "seed": self.seed,
        }  # fmt: skip
        return self.evaluated(
            settings,
            lambda rows: evaluate_masks(
                images, classes, prior, self.k, rows, method=method, memory=self.memory,
                seed=self.seed, progress=not self.quiet,
            ),
            lambda found: mask_metrics(found, classes.count),
        )  # fmt: skip

    def lines(self, metrics: dict[str, Any]) -> list[str]:
        """The mean intersections over union."""
        if not metrics["images"]:
            return ["0 images"]
        return [
            f"{metrics['images']} images: mIoU {100 * metrics['set_miou']:.1f} of the set, "
            f"{100 * metrics['image_miou']:.1f} per image "
            f"({100 * metrics['image_miou_many_to_one']:.1f} with several regions per class)"
        ]

    def _images(self) -> "tuple[list[MaskedImage], Classes]":
        from scorefield.perception.benchmarks import masked_images as data

        name, folder = self.data
        split = {} if self.split is None else {"split": self.split}
        if name == "voc":
            return data.voc_images(folder, **split), data.VOC
        if name == "ade":
            return data.ade_images(folder, **split), data.ADE
        if name == "cityscapes":
            return data.cityscapes_images(folder, **split), data.CITYSCAPES
        if name == "folder":
            return data.folder_images(folder, **split), data.ANY
        coarse = name == "coco-stuff-27"
        return data.coco_images(folder, **split), data.COCO_27 if coarse else data.COCO

    def report(self, metrics: dict[str, Any]) -> Report:
        """Means, and a row for each class."""
        from scorefield.perception.benchmarks.report import percent

        ways = {
            "set_miou": "mIoU of the set, regions matched within each image",
            "image_miou": "mIoU per image, one region to one class",
            "image_miou_many_to_one": "mIoU per image, several regions to a class",
        }
        means = [[words, percent(metrics[name])] for name, words in ways.items()]
        ious = [[f"class {c}", percent(iou)] for c, iou in metrics["iou"].items()]
        facts = {
            name: metrics[name]
            for name in ("prior", "image_size", "method", "k", "classes", "split", "seed")
        }
        tables = [
            (f"{metrics['images']} images, in percent", ("", "figure"), means),
            ("Intersection over union by class, in percent", ("", "IoU"), ious),
        ]
        title = f"{self.prior} on {self.data[0]}"
        return Report(title, facts, tables, self.data[0])
