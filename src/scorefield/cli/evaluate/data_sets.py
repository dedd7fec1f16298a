"""What the evaluations on published data sets share: rows that are resumed, metrics, a report."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import tyro

from scorefield.cli.command import Outcome, PriorCommand, under_way
from scorefield.domains import Count
from scorefield.files import write_json

if TYPE_CHECKING:
    from scorefield.perception.benchmarks.report import Table
    from scorefield.rows import Row, RowStore


@dataclass(frozen=True)
class Report:
    """What `report.html` says.

    facts: what the metrics are of, by name.
    published: whose published figures stand beside them.
    """

    title: str
    facts: Mapping[str, object]
    tables: "Sequence[Table]"
    published: str


@dataclass(frozen=True, kw_only=True)
class DataSetCommand(PriorCommand):
    """A command that goes through a data set, item by item."""

    item: ClassVar[str] = "image"
    """What a data set consists of; the rows are in a file that is named by it."""

    out: Path
    """Folder of the metrics, new or empty unless resuming."""
    n: Annotated[Count | None, tyro.conf.arg(aliases=("-n",))] = None
    """Number of images or pairs, the first ones; None takes all."""
    resume: bool = False
    """Go on with the evaluation in --out, with the same settings."""

    def evaluated(
        self,
        settings: dict[str, Any],
        evaluate: "Callable[[RowStore], list[Row]]",
        metrics_of: "Callable[[list[Row]], dict[str, Any]]",
    ) -> Outcome:
        """Go through the items that have no row yet, and write metrics.json and report.html.

        settings: what rows that are there must have been made with.
        evaluate: makes the rows that a store lacks, and returns all.
        metrics_of: the metrics of rows.
        """
        from scorefield.perception.benchmarks.report import problem_of, write_report
        from scorefield.rows import RowStore

        rows = RowStore(self.out / f"{self.item}s.jsonl", settings, [self.item])
        with under_way():
            found = evaluate(rows)
            metrics = {**settings, **metrics_of(found)}
            problem = problem_of(found, self.item, f"{self.item}s")
            write_json(self.out / "metrics.json", metrics)
            told = self.report(metrics)
            path = self.out / "report.html"
            write_report(path, told.title, told.facts, told.tables, told.published, problem)
        lines = [*self.lines(metrics), f"wrote {path}"]
        return Outcome({"out": str(self.out), **metrics}, lines, problem)

    def report(self, metrics: dict[str, Any]) -> Report:
        """The metrics as a page."""
        raise NotImplementedError

    def lines(self, metrics: dict[str, Any]) -> list[str]:
        """The metrics for people."""
        raise NotImplementedError
