"""`scorefield sweep`: many runs of one command."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from scorefield.cli.command import Command, Failed, Outcome, check_folder, check_unused, under_way
from scorefield.cli.sweep.fleet import Crew, Ended
from scorefield.cli.sweep.plan import PlannedRun, SweepFile, check_runs
from scorefield.cli.sweep.table import LiveTable
from scorefield.domains import Count, NotNegative, Whole
from scorefield.gallery.site import write_gallery
from scorefield.locks import owned
from scorefield.ray_cluster import check_ray
from scorefield.rows import RowStore

_NAMED = 5  # failed runs in the line about them


@dataclass(frozen=True, kw_only=True)
class Sweep(Command):
    """Do the runs that a TOML file asks for, several at once, on this machine or a Ray cluster.

    The file names a command, options of all runs in [options], and lists of values in [axes], of
    which each combination is a run, in OUT/runs. A run whose process dies goes on from its last
    checkpoint. All of them are shown in OUT/gallery.
    """

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """File that asks for the runs, in TOML."""
    out: Path
    """Folder of the runs, their logs and their gallery, new or empty."""
    resume: bool = False
    """Go on with the runs in --out; those that are done are not begun again. The file may ask for
    further ones."""
    dry_run: bool = False
    """Print the command line of each run, and begin none."""
    address: str | None = None
    """Ray cluster to use, HOST:PORT or auto, on a machine that belongs to it; None starts one
    here."""
    workers: Count | None = None
    """Number of runs at once; None takes as many as the cluster has room for."""
    threads: Count = 1
    """Threads of each run; with as many, a run has the same bits."""
    gpus_per_worker: NotNegative = 0.0
    """Number of GPUs of each run, also a share such as 0.25; 0 computes on the CPU, unless the file
    names a device."""
    retries: Whole = 3
    """Number of times that a run whose process died is begun again."""

    def run(self) -> Outcome:
        """Do the runs that are not done."""
        check_unused(self, "sweep; name them in FILE", "seed", "device", "dtype", "unverified")
        file = SweepFile(self.file)
        check_runs(file, self.out / "runs")
        if self.dry_run:
            lines = [str(run) for run in file.runs]
            return Outcome({"runs": {run.name: list(run.words) for run in file.runs}}, lines)
        check_folder(self.out, self.resume)
        check_ray()
        with owned(self.out):
            return self._perform(file)

    def _perform(self, file: SweepFile) -> Outcome:
        store = RowStore(self.out / "runs.jsonl", {"command": file.name}, ["words"])
        left = [run for run in file.runs if not self._is_done(run, store)]
        failed: dict[str, str] = {}
        table = LiveTable(self.out, len(file.runs), len(file.runs) - len(left), quiet=self.quiet)
        crew = Crew(
            self.address, self.workers, self.threads, float(self.gpus_per_worker), self.retries
        )
        try:
            for run, ended in crew.perform(left, self.out, table.look) if left else ():
                if ended.code == 0:
                    seconds = round(ended.seconds, 1)
                    store.add({"run": run.name, "words": list(run.words), "seconds": seconds})
                else:
                    failed[run.name] = _reason(ended)
                table.ended(run, failed.get(run.name, f"done in {ended.seconds:.0f} s"))
        finally:
            table.close()
        return self._outcome(file.runs, failed)

    def _is_done(self, run: PlannedRun, store: RowStore) -> bool:
        known = store.get(words=list(run.words)) is not None
        return known and (self.out / "runs" / run.name).is_dir()

    def _outcome(self, runs: Sequence[PlannedRun], failed: dict[str, str]) -> Outcome:
        folders = [self.out / "runs" / run.name for run in runs]
        shown = [folder for folder in folders if folder.is_dir()]
        if not shown:
            raise Failed(_problem(len(runs), failed))
        with under_way():
            write_gallery(shown, self.out / "gallery")
        page = self.out / "gallery" / "index.html"
        done = [run.name for run in runs if run.name not in failed]
        metrics = {"out": str(self.out), "page": str(page), "done": done, "failed": failed}
        lines = [f"{len(done)} of {len(runs)} runs are done", f"wrote {page}"]
        return Outcome(metrics, lines, _problem(len(runs), failed) if failed else None)


def _reason(ended: Ended) -> str:
    said = ended.said.removeprefix("scorefield: ").removeprefix("error: ")
    return said if ended.code is None else f"{said} (exit code {ended.code})"


def _problem(count: int, failed: dict[str, str]) -> str:
    named = [f"{name}: {reason}" for name, reason in list(failed.items())[:_NAMED]]
    more = f"; and {len(failed) - _NAMED} more, see logs" if len(failed) > _NAMED else ""
    return f"{len(failed)} of {count} runs failed: {'; '.join(named)}{more}"
