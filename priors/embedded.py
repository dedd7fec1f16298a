"""The priors that ship with the package."""

import json
from collections.abc import Collection
from functools import cache
from importlib.resources import files
from pathlib import Path

__all__ = ["EMBEDDED", "embedded_folder", "embedded_priors_that_know"]

EMBEDDED = ("shapes", "icons", "objects", "digits", "motion-broad", "motion-narrow")
"""Their names, each a folder of `weights`."""


def embedded_folder(name: str) -> Path:
    """The folder of an embedded prior, which may be missing."""
    return Path(str(files("scorefield.priors") / "weights" / name))


def embedded_priors_that_know(words: Collection[str]) -> list[str]:
    """The embedded priors whose prompts may hold all of these words, in lower case."""
    return [name for name in EMBEDDED if (known := _words(name)) and known.issuperset(words)]


@cache
def _words(name: str) -> frozenset[str]:
    """What a prompt of it may hold; nothing where the prior has no vocabulary, or is not here."""
    card = embedded_folder(name) / "scorefield.json"
    if not card.exists():
        return frozenset()
    content = json.loads(card.read_text("utf-8"))
    return frozenset([*(content.get("vocabulary") or ()), *(content.get("synonyms") or ())])
