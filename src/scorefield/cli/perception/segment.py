"""`scorefield segment`: which pixels of an image belong together."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from scorefield.cli.command import Outcome, check_folder, check_unused, under_way
from scorefield.cli.perception.data_set import ImagesCommand
from scorefield.cli.perception.image_results import file_digest
from scorefield.domains import Count, NotNegative, Positive
from scorefield.files import write_json

if TYPE_CHECKING:
    from torch import Tensor

    from scorefield.perception.fleet.work import ImageWork
    from scorefield.perception.segmentation.segment import Method, Segmentation
    from scorefield.priors.frozen_prior import FrozenPrior
    from scorefield.rows import RowStore

COARSE = 5
"""Steps of a coarse walk."""

# of emerdiff alone
_WALKING = ("coarse", "one_sided", "strength", "log_snr", "modulated")


@dataclass(frozen=True, kw_only=True)
class Segment(ImagesCommand):
    """Divide images into regions by what a prior sees in them; nothing is trained or named.

    For each image FOLDER gets NAME-labels.png, whose pixels' values are their labels,
    NAME-overlay.png to look at, NAME-low-res.png, the labels of the cells of the features, and a
    line in images.jsonl, from which --resume goes on. Of a data set (--data) it writes Parquet
    files with the labels as PNG.
    """

    out: Path
    """Folder of the masks and overlays, new or empty unless resuming."""
    k: Annotated[Count, tyro.conf.arg(aliases=("-k",))] = 6
    """Regions at most."""
    method: Literal["emerdiff", "kmeans", "ncut"] = "emerdiff"
    """Sharp masks by modulating the prior, or clusters of its features alone."""
    coarse: bool = False
    """Let emerdiff take 5 steps instead of the preset's: a third of the time."""
    one_sided: bool = False
    """Let emerdiff compare with the image itself: half the time."""
    strength: NotNegative | None = None
    """Strength of emerdiff's offset to the attention's output; None is the preset's."""
    log_snr: float | None = None
    """Log-SNR at which emerdiff's trajectory begins; None is the preset's."""
    layer: str | None = None
    """Layer whose features are clustered, as scorefield info lists them; None is the preset's."""
    modulated: str | None = None
    """Cross-attention layer that emerdiff modulates; None is the preset's."""
    size: Count | None = None
    """Side of the square the prior sees, pixels; None is the preset's."""
    prompt: str | None = None
    """Prompt that the images show; none is needed."""
    memory: Positive = 4.0
    """GiB for recorded attention and one batch, beside the weights."""

    def check(self) -> None:
        """Refuse more regions than a mask has values, and what a method does not read."""
        super().check()
        if self.k > 256:
            raise ValueError(f"--k must be at most 256, the labels of a PNG; got {self.k}")
        if self.method != "emerdiff":
            check_unused(self, f"--method {self.method}", *_WALKING)

    def run(self) -> Outcome:
        """Segment one image after the other, and write what was found."""
        if self.data is not None:
            return self.over_data()
        names = [path.stem for path in self.images]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two images are named {twice[0]}; segment them into two folders")
        check_folder(self.out, self.resume)

        from tqdm.auto import tqdm

        from scorefield.rows import RowStore

        prior, method = self._loaded()
        settings = self._settings(prior, method)
        given = {name: getattr(self, name) for name in ("prompt", "layer", "size", *_WALKING)}
        known = RowStore(self.out / "images.jsonl", {**settings, **given}, ["image"])
        rows: list[dict[str, Any]] = []
        with under_way():
            for path in tqdm(self.images, desc="images", disable=self.quiet):
                rows.append(self._known(path, known) or self._one(path, prior, method, known))
            metrics = {**settings, "results": rows}
            write_json(self.out / "segmentation.json", metrics)
        bad = [f"{row['image']} ({row['error']})" for row in rows if "error" in row]
        problem = f"{len(bad)} of {len(rows)} images: {'; '.join(bad)}" if bad else None
        lines = [
            f"{row['image']}: {row['regions']} regions, {row['evaluations']} network evaluations"
            for row in rows
            if "error" not in row
        ]
        lines.append(f"wrote {self.out}")
        return Outcome({"out": str(self.out), **metrics}, lines, problem)

    def work(self) -> "ImageWork":
        """Labels of the pixels of images."""
        from scorefield.perception.fleet.work import ImageWork
        from scorefield.perception.segmentation.drawing import labels_png

        prior, method = self._loaded()

        def judge(images: "Tensor", _: list[int]) -> list[dict[str, Any]]:
            found = self._segmented(prior, images[0], method)
            return [{"labels": labels_png(found.labels), **_facts(found)}]

        columns = {"labels": bytes, "regions": int, "shares": list, "evaluations": int}
        given = {name: getattr(self, name) for name in ("prompt", "layer", "size", *_WALKING)}
        return ImageWork(
            judge, columns, {**self._settings(prior, method), **given}, prior.device, None
        )

    def _loaded(self) -> "tuple[FrozenPrior, Method]":
        """The prior and the method, tried out."""
        from scorefield.cli.loading import prior_of
        from scorefield.perception.segmentation.segment import check_method

        prior = prior_of(self)
        method = self._method(prior)
        self._say_memory(prior, method, check_method(prior, method, self.memory))
        prior.condition(self.prompt)
        return prior, method

    def _settings(self, prior: "FrozenPrior", method: "Method") -> dict[str, Any]:
        from scorefield.priors.frozen_prior import prior_digest

        return {
            "prior": self.prior, "weights": prior_digest(prior), "method": self.method, "k": self.k,
            "seed": self.seed, "source": method.source,
        }  # fmt: skip

    def _segmented(self, prior: "FrozenPrior", image: "Tensor", method: "Method") -> "Segmentation":
        from scorefield.perception.segmentation.segment import segment

        return segment(
            prior, image, self.k, method, self.prompt,
            memory=self.memory, seed=self.seed, progress=not self.quiet,
        )[0]  # fmt: skip

    def _say_memory(self, prior: "FrozenPrior", method: "Method", fits: int) -> None:
        """What the largest batch needs, before anything runs."""
        from scorefield.perception.segmentation.memory import needed_memory

        if self.quiet:
            return
        steps = getattr(method, "steps", 0)  # clusters alone take none
        walks = self.k if self.one_sided else 2 * self.k
        rows = min(fits, max(steps, method.ensemble, walks if steps else 1))
        size = prior.image_size if method.size is None else method.size
        need = needed_memory(prior, size, steps, rows) / 2**30
        print(f"up to {need:.2g} GiB beside the weights, {rows} rows in one pass", file=sys.stderr)

    def _known(self, path: Path, known: "RowStore") -> dict[str, Any] | None:
        """The row of an image that was segmented before, and its files are there."""
        row = known.get(image=str(path))
        if row is None or "error" in row or row["digest"] != file_digest(path):
            return None
        return row if all(one.exists() for one in self._paths(path.stem).values()) else None

    def _one(
        self, path: Path, prior: "FrozenPrior", method: "Method", known: "RowStore"
    ) -> dict[str, Any]:
        from scorefield.images import load_image

        try:
            image = load_image(path)
        except (ValueError, OSError) as error:
            damaged = {"image": str(path), "error": " ".join(str(error).split())}
            known.add(damaged)
            return damaged
        found = self._segmented(prior, image, method)
        row = {
            "image": str(path),
            "digest": file_digest(path),
            **_facts(found),
            **self._write(path.stem, image, found),
        }
        known.add(row)
        return row

    def _write(self, name: str, image: "Tensor", found: "Segmentation") -> dict[str, str]:
        from scorefield.images import save_image
        from scorefield.perception.segmentation.drawing import draw_overlay, save_labels

        paths = self._paths(name)
        save_labels(paths["labels"], found.labels)
        save_image(paths["overlay"], draw_overlay(image, found.labels))
        save_labels(paths["low-res"], found.low_res)
        return {what: path.name for what, path in paths.items()}

    def _paths(self, name: str) -> dict[str, Path]:
        return {what: self.out / f"{name}-{what}.png" for what in ("labels", "overlay", "low-res")}

    def _method(self, prior: "FrozenPrior") -> "Method":
        from scorefield.perception.segmentation.presets import method_named

        preset = method_named(prior, self.method)
        common: dict[str, Any] = {}
        if self.layer is not None:
            common["queries"] = self.layer
        if self.size is not None:
            common["size"] = self.size
        if self.method != "emerdiff":
            return replace(preset, **common)
        if self.strength is not None:
            common["strength"] = self.strength
        if self.log_snr is not None:
            common["level"] = prior.schedule.at_log_snr(self.log_snr)
        if self.modulated is not None:
            common["modulated"] = self.modulated
        if self.coarse:
            common["steps"] = COARSE
        common["one_sided"] = self.one_sided
        return replace(preset, **common)


def _facts(found: "Segmentation") -> dict[str, Any]:
    """What is said of an image's regions."""
    shares = found.labels.flatten().bincount(minlength=found.k) / found.labels.numel()
    return {
        "regions": int((shares > 0).sum()),
        "shares": [round(float(share), 4) for share in shares],
        "evaluations": found.evaluations,
    }
