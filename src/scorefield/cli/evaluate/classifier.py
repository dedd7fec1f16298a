"""`scorefield evaluate classifier`: accuracy on images with labels."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from scorefield.cli.command import Outcome, check_at_least, check_folder, check_template
from scorefield.cli.evaluate.data_sets import DataSetCommand, Report
from scorefield.domains import Count, Positive
from scorefield.files import parse_json

if TYPE_CHECKING:
    from scorefield.perception.benchmarks.labelled_images import LabelledImage

Names = dict[str, str] | list[str]


@dataclass(frozen=True, kw_only=True)
class EvaluateClassifier(DataSetCommand):
    """Classify the images of a data set by the likelihood a prior gives them under each label.

    OUT gets metrics.json, report.html beside the published figures, and images.jsonl, a line per
    image, from which --resume goes on.
    """

    data: tuple[Literal["imagefolder", "webdataset", "parquet"], Path]
    """How the data set is kept, and its folder: folders of images by label, shards, or tables."""
    split: str = ""
    """Folder above the labels, or what the names of shards and tables begin with; none is all."""
    names: Path | None = None
    """JSON file with the names of the labels: a list by number, or an object such as
    {"n01440764": "tench"}; None takes what the data set says."""
    template: tuple[str, ...] = ("a photo of a {}",)
    """Prompt of a label, {} being its name; several are alternatives."""
    confidence: float = 0.99
    """How often a dropped label would truly have lost: the winner survives this often."""
    inflation: Positive = 4.0
    """How much noise inflates a prior's errors beyond independent parts: 1 for digits."""
    budget: Count | None = None
    """Network evaluations per image at most; None: 32 for every prompt."""
    batch_size: Count = 64
    """Rows in one pass of the network; changes the speed and the memory, not the results."""

    def run(self) -> Outcome:
        """Evaluate and write the metrics."""
        for template in self.template:
            check_template(template)
        check_folder(self.out, self.resume)

        from scorefield.cli.loading import prior_of
        from scorefield.perception.benchmarks.label_evaluation import evaluate_labels, label_metrics
        from scorefield.perception.classification.classify import DRAWS
        from scorefield.perception.classification.stopping import Race
        from scorefield.priors.frozen_prior import prior_digest

        images, names = self._images()
        called = list(dict.fromkeys(names.values() if isinstance(names, dict) else names))
        if len(called) < 2:
            raise ValueError(f"a classifier needs two or more labels; {self.data[1]} has {called}")
        prompts = {name: [template.format(name) for template in self.template] for name in called}
        count = len(called) * len(self.template)
        budget = DRAWS * count if self.budget is None else self.budget
        check_at_least(count, budget=budget)
        policy = Race(self.confidence, inflation=self.inflation)
        prior = prior_of(self)
        prior.condition([prompt for own in prompts.values() for prompt in own])
        settings = {
            "data": self.data[0], "split": self.split, "prior": self.prior,
            "weights": prior_digest(prior),
            "image_size": prior.image_size, "prompts": prompts, "policy": asdict(policy),
            "budget": budget, "seed": self.seed,
        }  # fmt: skip
        return self.evaluated(
            settings,
            lambda rows: evaluate_labels(
                islice(images, self.n), names, prompts, prior, rows, policy=policy,
                budget=budget, batch_size=self.batch_size, seed=self.seed, progress=not self.quiet,
            ),
            label_metrics,
        )  # fmt: skip

    def lines(self, metrics: dict[str, Any]) -> list[str]:
        """Accuracy and cost."""
        if not metrics["images"]:
            return ["0 images"]
        return [
            f"{metrics['images']} images: {100 * metrics['accuracy']:.1f}% right, "
            f"{100 * metrics['mean_per_class']:.1f}% as the mean of the classes, "
            f"{100 * metrics['top5']:.1f}% among the first five; "
            f"{metrics['evaluations']:.0f} evaluations per image"
        ]

    def _images(self) -> "tuple[Iterable[LabelledImage], Names]":
        """The images, and what their labels are called."""
        from scorefield.perception.benchmarks import labelled_images as data

        kind, folder = self.data
        names = None if self.names is None else _names(self.names)
        if kind == "imagefolder":
            found = data.imagefolder_images(folder, self.split)
            return found, names or sorted({str(one.label) for one in found})
        if kind == "parquet":
            rows, own = data.parquet_images(folder, self.split)
            if not names and not own:
                raise ValueError(
                    f"the tables in {folder} do not name their labels; give --names, a JSON list"
                )
            return rows, names or own
        if not names:
            raise ValueError("shards do not list their labels; give --names, a JSON list")
        return data.webdataset_images(folder, self.split), names

    def report(self, metrics: dict[str, Any]) -> Report:
        """Means, and a row for each class."""
        from scorefield.perception.benchmarks.report import percent

        ways = {
            "accuracy": "right",
            "mean_per_class": "right, mean of the classes",
            "top5": "right among the first five",
        }
        means = [[words, percent(metrics.get(name))] for name, words in ways.items()]
        classes = [
            [name, str(one["images"]), percent(one["accuracy"])]
            for name, one in metrics.get("classes", {}).items()
        ]
        facts = {name: metrics[name] for name in ("prior", "image_size", "split", "budget", "seed")}
        facts["labels"] = len(metrics["prompts"])
        facts["prompts"] = "; ".join(self.template)
        facts["evaluations per image"] = f"{metrics.get('evaluations', 0):.0f}"
        tables = [
            (f"{metrics['images']} images, in percent", ("", "figure"), means),
            ("By class", ("", "images", "right, %"), classes),
        ]
        title = f"{self.prior} on {self.data[1].name}"
        return Report(title, facts, tables, "classifier")


def _names(path: Path) -> Names:
    """The names in a JSON file: a list, or an object of strings."""
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"--names {path} is not JSON ({error})") from error
    values = list(found.values()) if isinstance(found, dict) else found
    if not isinstance(values, list) or not all(isinstance(name, str) and name for name in values):
        raise ValueError(f"--names {path} must hold a list of names, or an object of them")
    return found if isinstance(found, dict) else values
