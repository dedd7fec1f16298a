"""`scorefield rank`: which images fit a text best."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from scorefield.cli.command import Outcome, PriorCommand, under_way
from scorefield.cli.perception.picture_results import PictureResults
from scorefield.domains import Count, Domain

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Rank(PriorCommand):
    """Rank images by how much a text raises the likelihood a prior gives them.

    The score is log p(image | text) - log p(image), in nats: the second term keeps images
    from being first because they are simple. Any number of images stream through; with --out,
    each one's score is on disk as soon as it is known.
    """

    pictures: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE ...")]
    """Images of any size and mode; their middle square is taken."""
    text: str
    """Prompt that the images are ranked for, such as "a red chair"."""
    draws: Annotated[int, Domain(2.0)] = 16
    """Draws of noise and level; each costs two network evaluations per image."""
    out: Path | None = None
    """File of one JSON line per image, in the order given (scores.jsonl); new, unless resuming."""
    resume: bool = False
    """Go on with the file --out: images that have a score there, and have not changed since, are
    not scored again."""
    batch_size: Count = 64
    """Rows in one pass of the network; changes the speed and the memory, not the scores."""

    def run(self) -> Outcome:
        """Score, append, report the best first."""
        if not self.pictures:
            raise ValueError("no image is given; name one or several files")
        if not self.text.strip():
            raise ValueError("--text must say what the images are ranked for; it is empty")

        from scorefield.cli.loading import prior_of
        from scorefield.perception.classification.text_scores import text_scores

        settings = {
            "prior": self.prior, "text": self.text, "draws": self.draws, "seed": self.seed
        }  # fmt: skip
        prior = prior_of(self)
        prior.condition([self.text])
        prior.condition(None)
        results = PictureResults(self.out, settings, self.resume)  # makes the file, so last

        def judge(images: "Tensor", items: list[int]) -> list[dict[str, Any]]:
            found = text_scores(
                prior, images, [self.text], draws=self.draws, seed=self.seed, items=items,
                batch_size=self.batch_size,
            )  # fmt: skip
            scores = zip(found.values[:, 0], found.standard_errors[:, 0], strict=True)
            return [
                {"score": float(f"{score:.6g}"), "standard_error": float(f"{error:.3g}")}
                for score, error in scores
            ]

        with under_way():
            results.stream(self.pictures, prior, judge, quiet=self.quiet)
        rows, problem = results.of(self.pictures)
        ranked = sorted((row for row in rows if "error" not in row), key=lambda row: -row["score"])
        lines = [
            f"{row['score']:10.3f} +- {row['standard_error']:.3f}  {row['picture']}"
            for row in ranked
        ]
        if self.out is not None:
            lines.append(f"wrote {self.out}")
        unread = [row for row in rows if "error" in row]
        return Outcome({**settings, "results": ranked + unread}, lines, problem)
