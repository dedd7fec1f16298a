"""What was tried and how it ended: one JSON line each, kept while the drill runs, and a table."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Tried:
    """One try: its part of the drill, its number there, and what was wrong ("" for nothing).

    cpu_s: seconds of processors, of all its processes. wall_s: seconds until it was over.
    """

    part: str
    number: int
    fault: str
    cpu_s: float = 0.0
    wall_s: float = 0.0


class Ledger:
    """A file of tries; a drill that was stopped goes on after those that are there."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, tried: Tried) -> None:
        """Appends in one write, for several processes share the file."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(tried)) + "\n")

    def read(self) -> list[Tried]:
        if not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        return [Tried(**json.loads(line)) for line in lines if line.endswith("\n")]


def table(tries: Iterable[Tried], does: dict[str, str]) -> str:
    """A Markdown table by part, and what was wrong under it.

    does: what each part tries, in the order of the rows.
    """
    tries = list(tries)
    tried = Counter(one.part for one in tries)
    lines = [
        "| part | what is tried | tried | clean | faulty | CPU s | s |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for part in (one for one in does if tried[one]):
        lines.append(_row(part, does[part], [one for one in tries if one.part == part]))
    lines.append(_row("all", "", tries))
    lines += ["", *(f"- {one.part} {one.number}: {one.fault}" for one in tries if one.fault)]
    return "\n".join(lines).rstrip() + "\n"


def _row(part: str, does: str, tries: list[Tried]) -> str:
    """CPU seconds and seconds are sums over the tries, whatever ran side by side."""
    faulty = sum(one.fault != "" for one in tries)
    cpu_s, wall_s = sum(one.cpu_s for one in tries), sum(one.wall_s for one in tries)
    counts = f"{len(tries)} | {len(tries) - faulty} | {faulty}"
    return f"| {part} | {does} | {counts} | {cpu_s:.0f} | {wall_s:.0f} |"
