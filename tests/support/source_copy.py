"""A copy of what is installed, for builds: setuptools leaves its work beside pyproject.toml."""

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
SUBSYSTEMS = ("priors", "sds", "perception", "control")


def copy_sources(target: Path) -> None:
    """Copies the four folders, src and the files that the build reads."""
    for folder in (*SUBSYSTEMS, "src"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                copy = target / path.relative_to(ROOT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).exists():
            shutil.copyfile(ROOT / name, target / name)
