"""`scorefield gallery`: a page of runs."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from scorefield.cli.command import Command, Outcome, check_unused, under_way
from scorefield.domains import Positive
from scorefield.gallery.read import Run
from scorefield.gallery.site import check_site, write_gallery


@dataclass(frozen=True, kw_only=True)
class Gallery(Command):
    """Write a static page of run folders: settings, curves, previews, models, images, tables.

    The page opens from a disk or from any static server and fetches nothing from a network.
    Folders that are no runs are listed as such.
    """

    runs: Annotated[list[Path], tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER ...")]
    """Folders of runs, or folders that hold them."""
    out: Path
    """Folder of the page: new, empty, or that of an earlier gallery, which is then updated."""
    watch: bool = False
    """Go on and write the page again every few seconds, until Ctrl-C."""
    every: Positive = 10.0
    """With --watch: seconds between two writings of the page."""

    def run(self) -> Outcome:
        """Write the page, with --watch again and again."""
        check_unused(self, "gallery", "seed", "device", "dtype", "unverified")
        if not self.watch:
            check_unused(self, "gallery without --watch", "every")
        check_site(self.out)
        shown = write_gallery(self.runs, self.out)
        if self.watch:
            shown = self._watch(shown)
        page = self.out / "index.html"
        broken = [str(run.path) for run in shown if run.problem]
        metrics = {"out": str(self.out), "page": str(page), "runs": len(shown), "broken": broken}
        lines = [f"wrote {page}, {len(shown) - len(broken)} runs"]
        lines += [f"listed as no run: {path}" for path in broken]
        return Outcome(metrics, lines)

    def _watch(self, shown: list[Run]) -> list[Run]:
        try:
            while True:
                if not self.quiet:
                    now = time.strftime("%H:%M:%S")
                    print(f"{now} {self.out}: {len(shown)} runs; Ctrl-C ends", file=sys.stderr)
                time.sleep(self.every)
                with under_way():
                    shown = write_gallery(self.runs, self.out)
        except KeyboardInterrupt:
            return shown
