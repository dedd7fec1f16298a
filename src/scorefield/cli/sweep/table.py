"""What is seen of a sweep while it runs: a line for each run that is going on."""

import json
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from scorefield.cli.sweep.plan import PlannedRun

_TAIL = 4096  # bytes of metrics.jsonl that hold its last row
_SHOWN = 2  # metrics of a run


class LiveTable:
    """Bars on standard error: all runs, and below it each that is going on.

    Where standard error is no terminal, a line for each run that has ended is all.

    Args:
        out: the folder of the sweep.
        count: of runs.
        done: of them that were done before.
        quiet: nothing is shown.
    """

    def __init__(self, out: Path, count: int, done: int, *, quiet: bool) -> None:
        self._out, self._quiet = out, quiet
        self._live = not quiet and sys.stderr.isatty()
        self._all = tqdm(
            total=count, initial=done, unit="run", dynamic_ncols=True, disable=not self._live
        )
        self._lines: list[tqdm[None]] = []
        self._since: dict[str, float] = {}

    def look(self, going: Sequence[PlannedRun]) -> None:
        """Shows the runs that are going on."""
        if not self._live:
            return
        while len(self._lines) < len(going):
            self._lines.append(tqdm(bar_format="{desc}", dynamic_ncols=True, leave=False))
        for number, line in enumerate(self._lines):
            run = going[number] if number < len(going) else None
            line.set_description_str("" if run is None else self._line(run))
        self._all.refresh()

    def ended(self, run: PlannedRun, said: str) -> None:
        """Says how a run ended."""
        self._since.pop(run.name, None)
        self._all.update()
        if not self._quiet:
            tqdm.write(f"{run.name}: {said}", file=sys.stderr)

    def close(self) -> None:
        """Leaves the bar of all runs as it is."""
        for line in self._lines:
            line.close()
        self._all.close()

    def _line(self, run: PlannedRun) -> str:
        seconds = time.monotonic() - self._since.setdefault(run.name, time.monotonic())
        minutes, rest = divmod(int(seconds), 60)
        row = last_row(self._out / "runs" / run.name / "metrics.jsonl")
        step = row.pop("step", None)
        doing = "begins" if step is None else f"step {step + 1:.0f}"
        shown = [f"{name} {value:.4g}" for name, value in list(row.items())[:_SHOWN]]
        return "  ".join([run.name, f"{minutes}:{rest:02d}", doing, *shown])


def last_row(path: Path) -> dict[str, float]:
    """The last whole row of a run's metrics; empty if there is none."""
    with suppress(OSError, ValueError, TypeError, AttributeError):  # files of somebody else
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            lines = file.read().split(b"\n")[:-1]
        row = json.loads(lines[-1]) if lines else {}
        return {name: float(value) for name, value in row.items()}
    return {}
