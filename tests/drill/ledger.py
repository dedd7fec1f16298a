"""What was tried and how it ended: one JSON line each, kept while the drill runs, and a table."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Tried:
    """One try: its part of the drill, its number there, and what was wrong ("" for nothing)."""

    part: str
    number: int
    fault: str


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
    tried, faulty = (
        Counter(one.part for one in tries if not faulty_only or one.fault)
        for faulty_only in (False, True)
    )
    lines = ["| part | what is tried | tried | clean | faulty |", "|---|---|---:|---:|---:|"]
    for part in (one for one in does if tried[one]):
        clean = tried[part] - faulty[part]
        lines.append(f"| {part} | {does[part]} | {tried[part]} | {clean} | {faulty[part]} |")
    total, bad = tried.total(), faulty.total()
    lines.append(f"| all | | {total} | {total - bad} | {bad} |")
    lines += ["", *(f"- {one.part} {one.number}: {one.fault}" for one in tries if one.fault)]
    return "\n".join(lines).rstrip() + "\n"
