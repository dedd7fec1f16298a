"""Whether nerfstudio is there, and where its output goes; nothing of it is imported here."""

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

__all__ = ["aside", "check_nerfstudio"]


def check_nerfstudio() -> None:
    """Refuse now what needs nerfstudio where it is not installed.

    Raises:
        ValueError: it is missing.
    """
    if importlib.util.find_spec("nerfstudio") is None:
        raise ValueError("nerfstudio is not installed: pip install 'scorefield[nerfstudio]'")


@contextmanager
def aside(quiet: bool) -> Iterator[None]:
    """Inside, what nerfstudio prints goes to standard error, or nowhere."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        with redirect_stdout(nowhere if quiet else sys.stderr):
            yield
