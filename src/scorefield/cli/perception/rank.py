"""`scorefield rank`: which images fit a text best."""

from dataclasses import dataclass, replace
from heapq import nlargest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from scorefield.cli.command import Outcome, under_way
from scorefield.cli.perception.data_set import ImagesCommand
from scorefield.cli.perception.image_results import AT_ONCE, ImageResults
from scorefield.domains import Count, Domain

if TYPE_CHECKING:
    from torch import Tensor

    from scorefield.perception.fleet.work import ImageWork

_BEST = 10
"""Images of a data set that are named."""


@dataclass(frozen=True, kw_only=True)
class Rank(ImagesCommand):
    """Rank images by how much a text raises the likelihood a prior gives them.

    The score is log p(image | text) - log p(image), in nats: the second term keeps images
    from being first because they are simple. Any number of images stream through; with --out,
    each one's score is on disk as soon as it is known.
    """

    text: str
    """Prompt that the images are ranked for, such as "a red chair"."""
    draws: Annotated[int, Domain(2.0)] = 16
    """Draws of noise and level; each costs two network evaluations per image."""
    out: Path | None = None
    """File of one JSON line per image, in the order given (scores.jsonl), or with --data a folder;
    new, unless resuming."""
    batch_size: Count | None = None
    """Rows in one pass of the network; changes the speed and the memory, not the scores; None
    takes what free memory has room for, up to 64, and with --data 64."""

    def check(self) -> None:
        """Refuse a text without words."""
        super().check()
        if not self.text.strip():
            raise ValueError("--text must say what the images are ranked for; it is empty")

    def run(self) -> Outcome:
        """Score, append, report the best first."""
        if self.data is not None:
            return self._over_data()
        work = self.work()
        results = ImageResults(self.out, work.settings, self.resume)  # makes the file, so last
        with under_way():
            results.stream(self.images, work, quiet=self.quiet)
        rows, problem = results.of(self.images)
        ranked = sorted((row for row in rows if "error" not in row), key=lambda row: -row["score"])
        lines = [_line(row) for row in ranked]
        if self.out is not None:
            lines.append(f"wrote {self.out}")
        unread = [row for row in rows if "error" in row]
        metrics = {**work.settings, **work.notes, "results": ranked + unread}
        return Outcome(metrics, lines, problem)

    def work(self) -> "ImageWork":
        """Scores of images."""
        from scorefield.cli.loading import prior_of
        from scorefield.perception.classification.text_scores import text_scores
        from scorefield.perception.fleet.work import ImageWork
        from scorefield.priors.frozen_prior import prior_digest

        prior = prior_of(self)
        prior.condition([self.text])
        prior.condition(None)
        many = self.rows_in_a_pass(prior, self.text)

        def judge(images: "Tensor", items: list[int]) -> list[dict[str, Any]]:
            found = text_scores(
                prior, images, [self.text], draws=self.draws, seed=self.seed, items=items,
                batch_size=many,
            )  # fmt: skip
            scores = zip(found.values[:, 0], found.standard_errors[:, 0], strict=True)
            return [
                {"score": float(f"{score:.6g}"), "standard_error": float(f"{error:.3g}")}
                for score, error in scores
            ]

        settings = {
            "prior": self.prior, "weights": prior_digest(prior), "text": self.text,
            "draws": self.draws, "seed": self.seed,
        }  # fmt: skip
        columns = {"score": float, "standard_error": float}
        notes = {"batch_size": many}
        return ImageWork(judge, columns, settings, prior.device, prior.image_size, AT_ONCE, notes)

    def _over_data(self) -> Outcome:
        """Score, and name the best of all files."""
        from scorefield.perception.fleet.part_files import part_paths, part_rows

        outcome = self.over_data()
        assert self.out is not None
        rows = (
            row
            for path in part_paths(self.out)
            for row in part_rows(path, "image", "score", "standard_error")
            if row["score"] is not None
        )
        best = nlargest(_BEST, rows, key=lambda row: row["score"])
        lines = [*map(_line, best), *outcome.lines]
        return replace(outcome, metrics={**outcome.metrics, "best": best}, lines=lines)


def _line(row: dict[str, Any]) -> str:
    return f"{row['score']:10.3f} +- {row['standard_error']:.3f}  {row['image']}"
