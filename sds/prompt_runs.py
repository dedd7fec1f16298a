"""What evaluations over a list of prompts share: the list, a folder each, and whole files."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["answers", "lines_for", "normalised", "run_name", "write_whole"]


def normalised(prompts: Sequence[str]) -> list[str]:
    """The prompts with single spaces.

    Raises:
        ValueError: there is none, or one comes twice.
    """
    found = [" ".join(prompt.split()) for prompt in prompts]
    if not found or len(set(found)) < len(found):
        raise ValueError(f"prompts must be at least one and all different; got {found}")
    return found


def run_name(number: int, prompt: str) -> str:
    """The folder of one prompt's run: its number and its words."""
    words = "-".join(re.findall(r"[a-z0-9]+", prompt.lower()))[:60]
    return f"{number:03d}-{words}"


def write_whole(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    aside = path.with_name(path.name + ".new")
    aside.write_text(text.rstrip() + "\n", encoding="utf-8")
    os.replace(aside, path)


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
