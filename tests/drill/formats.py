"""What the drill knows of a format."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Format:
    """make: writes one into an empty folder and returns it. read: as a command would.

    weight: how often it comes up, for some take long.
    """

    make: Callable[[Path], Path]
    read: Callable[[Path], object]
    weight: int = 10
