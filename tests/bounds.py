"""Prints pip constraints that hold every direct dependency at its lowest allowed version.

    python tests/bounds.py > lowest.txt

torch is left out: whichever the machine has a wheel of is installed first and by itself.
"""

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"

EXTRAS = ("control", "lora", "svg", "test", "video")


def lowest(requirements: Iterable[str]) -> dict[str, str]:
    """The lowest version of each requirement that has one, by name; the highest of several."""
    found: dict[str, str] = {}
    for requirement in requirements:
        name = re.split(r"[<>=!~ \[;]", requirement, maxsplit=1)[0]
        if match := re.search(r">=\s*([\w.]+)", requirement):
            found[name] = max(found.get(name, ""), match[1], key=_numbers)
    return found


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


def direct() -> list[str]:
    """The requirements of the package and of all extras that a test needs."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    return [*project["dependencies"], *(one for extra in EXTRAS for one in extras[extra])]


if __name__ == "__main__":
    for name, version in sorted(lowest(direct()).items()):
        if name != "torch":
            print(f"{name}=={version}")
