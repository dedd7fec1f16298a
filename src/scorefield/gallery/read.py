"""What a page can show of a run folder, found by the names and kinds of its files."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scorefield.files import RUN_VERSION, parse_json

__all__ = ["Run", "find_runs", "read_run"]

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".svg")
VIDEOS = (".mp4", ".webm")
CONFIG = "config.json"


@dataclass(frozen=True)
class Run:
    """One run folder as it was when it was read.

    Attributes:
        path: the folder.
        problem: why nothing can be shown of it; None for a run.
        config: its settings, flat: names joined by dots.
        metrics: for each metric, its steps and values.
        previews: images over time, the earliest first, by their step.
        models: .glb files.
        images: images beside them, .svg and .gif included.
        videos: .mp4 and .webm files.
        table: rows of an evaluation's table, the first being its heads.
    """

    path: Path
    problem: str | None = None
    config: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    previews: dict[int, Path] = field(default_factory=dict)
    models: list[Path] = field(default_factory=list)
    images: list[Path] = field(default_factory=list)
    videos: list[Path] = field(default_factory=list)
    table: list[list[str]] = field(default_factory=list)

    @property
    def title(self) -> str:
        """The prompt of the run or, if it has none, the folder's name."""
        return self.config.get("prompt") or self.path.name

    @property
    def files(self) -> list[Path]:
        """All files that the page shows."""
        return [*self.previews.values(), *self.models, *self.images, *self.videos]


def find_runs(folders: Iterable[Path]) -> list[Path]:
    """The run folders among the given ones and one or two folders inside, each once, in order.

    A run may hold others: the refined texture of a scene, the prompts of an evaluation. A given
    folder that is no run and holds none is kept: the page says what is wrong with it. So is one
    whose config.json is damaged; inside, one that something else has written is left out.

    Raises:
        ValueError: a path is no folder.
    """
    found: dict[Path, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"{folder} is not a folder; give folders of runs")
        configs = [*folder.glob(f"*/{CONFIG}"), *folder.glob(f"*/*/{CONFIG}")]
        inside = sorted(path.parent for path in configs if not _is_foreign(path))
        own = [folder] if (folder / CONFIG).exists() or not inside else []
        for path in [*own, *inside]:
            found.setdefault(path.resolve(), path)
    return list(found.values())


def read_run(path: Path) -> Run:
    """Reads what is there; a run that is being written is shown as far as it is whole."""
    try:
        config = _config(path / CONFIG)
    except FileNotFoundError:
        return Run(path, problem=f"no run: it has no {CONFIG}")
    except (OSError, ValueError) as error:
        return Run(path, problem=f"{CONFIG} cannot be read: {error}")
    if RUN_VERSION not in config:
        return Run(path, problem=f"no run: its {CONFIG} is of something else")
    files = sorted(file for file in path.iterdir() if file.is_file() and file.name[0] != ".")
    videos = [*files, *sorted(path.glob("videos/*"))]
    return Run(
        path,
        config=dict(_flat(config)),
        metrics=_metrics(path / "metrics.jsonl"),
        previews=_previews(path / "previews"),
        models=[file for file in files if file.suffix.lower() == ".glb"],
        images=_images(files),
        videos=[file for file in videos if file.suffix.lower() in VIDEOS],
        table=_table(path / "table.md"),
    )


def _config(path: Path) -> dict[str, Any]:
    config = parse_json(path.read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise ValueError("it holds no settings")
    return config


def _is_foreign(path: Path) -> bool:
    """Whether a config.json is whole, but of no run: models of diffusers have such ones."""
    try:
        return RUN_VERSION not in _config(path)
    except (OSError, ValueError):
        return False


def _flat(config: dict[str, Any], group: str = "") -> Iterable[tuple[str, str]]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{group}{key}.")
        else:
            yield f"{group}{key}", value if isinstance(value, str) else json.dumps(value)


def _metrics(path: Path) -> dict[str, tuple[list[float], list[float]]]:
    metrics: dict[str, tuple[list[float], list[float]]] = {}
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return metrics
    for line in lines:
        try:
            row = parse_json(line)
            step = float(row["step"])
        except (ValueError, KeyError, TypeError):  # a row that is being written, or foreign
            continue
        for name, value in row.items():
            if name == "step" or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if math.isfinite(value):
                steps, values = metrics.setdefault(name, ([], []))
                steps.append(step)
                values.append(float(value))
    return metrics


def _previews(folder: Path) -> dict[int, Path]:
    named = {file: file.stem for file in folder.glob("*.png") if file.stem.isdecimal()}
    return dict(sorted((int(stem), file) for file, stem in named.items()))


def _images(files: Sequence[Path]) -> list[Path]:
    """Images but for the textures of meshes."""
    textures = {file.with_suffix(".png") for file in files if file.suffix.lower() == ".mtl"}
    return [file for file in files if file.suffix.lower() in IMAGES and file not in textures]


def _table(path: Path) -> list[list[str]]:
    """The cells of a Markdown table."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in lines
        if line.startswith("|")
    ]
    return [row for row in rows if set("".join(row)) - set("-: ")]
