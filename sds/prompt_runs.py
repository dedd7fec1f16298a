"""What evaluations over a list of prompts share: a folder and a row each, and the table of all."""

import json
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scorefield.files import write_json, write_text
from scorefield.rows import Row, RowStore

__all__ = [
    "Row",
    "answers",
    "judge_each",
    "lines_for",
    "markdown_table",
    "normalised",
    "write_table",
]

FAILED = "failed"


def normalised(prompts: Sequence[str]) -> list[str]:
    """The prompts with single spaces.

    Raises:
        ValueError: there is none, or one comes twice.
    """
    found = [" ".join(prompt.split()) for prompt in prompts]
    if not found or len(set(found)) < len(found):
        raise ValueError(f"prompts must be at least one and all different; got {found}")
    return found


def judge_each(
    prompts: Sequence[str],
    folder: Path,
    make: Callable[[str, Path], Row],
    missed: Callable[[str, Path], Row],
    *,
    progress: bool,
) -> list[Row]:
    """Make and judge every prompt in a folder of its own, and keep its row in ``rows.jsonl``.

    A row has "prompt", "folder", "status", "reason", "seconds" and the scores.

    A prompt whose row is there is not made again. One that fails counts with the row of `missed`,
    which is not kept, so the next time tries it again.

    Args:
        prompts: what to make.
        folder: of the evaluation.
        make: the scores of a prompt, made in the given folder; they may say the "status" if it is
            not "done", and the "reason".
        missed: the scores of a prompt of which nothing came.
        progress: whether to name each prompt on standard error.
    """
    store = RowStore(folder / "rows.jsonl", {}, ["prompt"])
    rows = []
    for number, prompt in enumerate(prompts):
        path = folder / _folder_name(number, prompt)
        if (kept := store.get(prompt=prompt)) is not None:
            rows.append(kept)
            continue
        if progress:
            print(f"prompt {number + 1} of {len(prompts)}: {prompt}", file=sys.stderr)
        row: Row = {"prompt": prompt, "folder": path.name, "status": "done", "reason": None}
        start = time.perf_counter()
        try:
            row |= make(prompt, path)
        except (ArithmeticError, RuntimeError, ValueError) as error:
            # One prompt's misfortune must not cost the others theirs.
            row |= {**missed(prompt, path), "status": FAILED, "reason": str(error)}
        row["seconds"] = round(time.perf_counter() - start, 1)
        if row["status"] != FAILED:
            store.add(row)
        rows.append(row)
    return rows


def _folder_name(number: int, prompt: str) -> str:
    words = "-".join(re.findall(r"[a-z0-9]+", prompt.lower()))[:60]
    return f"{number:03d}-{words}"


def write_table(
    folder: Path,
    config: Mapping[str, Any],
    rows: Sequence[Row],
    totals: Mapping[str, Any],
    markdown: Callable[[Mapping[str, Any]], str],
) -> dict[str, Any]:
    """Write `table.json` and `table.md`; returns the content of the first.

    Args:
        folder: of the evaluation.
        config: what was asked; it leads the table.
        rows: of `judge_each`.
        totals: over all rows. How many prompts there are, are done and have failed is added.
        markdown: the table for people.
    """
    counts = {status: sum(row["status"] == status for row in rows) for status in ("done", FAILED)}
    totals = {"prompts": len(rows), **counts, **totals}
    table: dict[str, Any] = json.loads(json.dumps({**config, "rows": rows, "totals": totals}))
    write_json(folder / "table.json", table)
    write_text(folder / "table.md", markdown(table).rstrip() + "\n")
    return table


def markdown_table(
    table: Mapping[str, Any],
    questions: Mapping[str, str],
    more: Mapping[str, tuple[Sequence[str], str]],
    notes: str,
) -> str:
    """The table for people: answers yes of those asked, seconds, and why prompts failed.

    Args:
        table: of `write_table`.
        questions: the heads of the columns of answers, by the keys of the rows.
        more: further columns by their heads: a cell for each row, and one for all of them.
        notes: a paragraph below.
    """
    rows, totals = table["rows"], table["totals"]
    seconds = [row["seconds"] for row in rows]
    more = {**more, "seconds": ([f"{one:.0f}" for one in seconds], f"{sum(seconds):.0f}")}
    lines = [["prompt", "status", *questions.values(), *more]]
    lines.append(["---"] * len(lines[0]))
    for i, row in enumerate(rows):
        given = [row[question] for question in questions]
        cells = [f"{sum(answer)}/{len(answer)}" if answer else "-" for answer in given]
        lines.append(
            [row["prompt"], row["status"], *cells, *(each[i] for each, _ in more.values())]
        )
    asked = [totals[question] for question in questions]
    cells = [
        f"{one['yes']}/{one['of']} ({one['share']:.0%})" if one["of"] else "-" for one in asked
    ]
    done = f"{totals['done']} done"
    lines.append([f"all {len(rows)}", done, *cells, *(whole for _, whole in more.values())])
    failures = [
        f"- {row['prompt']}: {row['status']}: {row['reason']}"
        for row in rows
        if row["status"] != "done"
    ]
    text = [f"| {' | '.join(cells)} |" for cells in lines]
    return "\n".join([*text, "", notes, *([""] if failures else []), *failures])


def answers(rows: Sequence[Mapping[str, Any]], question: str) -> dict[str, Any]:
    """How many of the rows' answers to a question are yes: "yes", "of" and their "share"."""
    given = [answer for row in rows for answer in row[question] or []]
    return {
        "yes": sum(given),
        "of": len(given),
        "share": sum(given) / len(given) if given else None,
    }


def lines_for(prompt: str, width: int) -> list[str]:
    """The prompt's words in lines of at most `width` letters, where words allow it."""
    lines = [""]
    for word in prompt.split():
        line = f"{lines[-1]} {word}".strip()
        lines[-1:] = [line] if len(line) <= width or not lines[-1] else [lines[-1], word]
    return lines
