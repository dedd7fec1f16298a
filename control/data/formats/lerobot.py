"""LeRobot data sets, v3.0: parquet files, and videos that hold many episodes each.

meta/info.json                              fps, features, and the paths of the files
meta/episodes/chunk-000/file-000.parquet    where each episode is
meta/tasks.parquet                          the texts of the tasks
data/chunk-000/file-000.parquet             a row per step
videos/KEY/chunk-000/file-000.mp4
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scorefield.control.data.episode import Episode
from scorefield.control.data.formats.demonstrations import Demonstrations
from scorefield.control.data.formats.features import Feature, kind_of, role_of
from scorefield.control.data.formats.lerobot_videos import Videos
from scorefield.control.data.formats.reading import DataError, damaged, decoded, library
from scorefield.files import parse_json

_HALF = 0.5
"""Of a step: how far a time stamp may be from its place."""


def read_lerobot(
    folder: str | os.PathLike[str],
    *,
    state: Sequence[str] | None = None,
    action: Sequence[str] | None = None,
    cameras: Sequence[str] | None = None,
    tolerance: float | None = None,
) -> Iterator[Episode]:
    """Yields the episodes in the order of their numbers.

    Args:
        folder: the one that holds `meta`, `data` and `videos`.
        state: the features that make the state, side by side; None: all vectors under
            `observation.`, in their order, or where no feature is called so, all vectors.
        action: those that make the action; None: `action`, or `actions`.
        cameras: the features of images; None: all that are no depth, none is (). A camera is
            called by its feature without `observation.images.`, or without `observation.`.
        tolerance: seconds that a time stamp may be off; None: half a step.

    Raises:
        ValueError: a file or feature is missing or damaged, lengths or frame rates disagree, or an
            episode is not sound.
    """
    data = LeRobot(Path(folder), tolerance)
    return data.read(data.choose(state=state, action=action, cameras=cameras))


class LeRobot(Demonstrations):
    """A LeRobot folder; `Demonstrations`."""

    def __init__(self, folder: Path, tolerance: float | None = None) -> None:
        """Reads what is in `meta`.

        Args:
            folder: the one that holds `meta`, `data` and `videos`.
            tolerance: seconds that a time stamp may be off; None: half a step.

        Raises:
            ValueError: a file is missing or damaged, or what they say differs.
        """
        self.path = folder
        self._parquet = library("pyarrow.parquet", "a LeRobot data set")
        info = folder / "meta" / "info.json"
        with damaged(str(info)):
            self._info = parse_json(info.read_text(encoding="utf-8"))
            version = str(self._info["codebase_version"])
            if not version.startswith("v3"):
                raise DataError(
                    f"{info}: is of version {version}; convert it to v3.0 with lerobot's tool, "
                    "convert_dataset_v21_to_v30 for v2.1"
                )
            self.format = f"LeRobot {version}"
            fps = self._info["fps"]
            if fps is None or not 0 < float(fps) < math.inf:
                raise DataError(f"{info}: fps is {fps}; frames per second are positive")
            self.rate = float(fps)
            described = dict(self._info["features"])
            dotted = any(name.startswith("observation.") for name in described)
            self.features = {
                name: _feature(f"{info}, feature {name}", name, about, dotted)
                for name, about in described.items()
            }
        if tolerance is not None and not 0 <= tolerance < math.inf:
            raise DataError(f"the tolerance is {tolerance}; it is seconds, 0 or more")
        self._tolerance = _HALF / self.rate if tolerance is None else tolerance
        self.notes: list[str] = []
        with damaged(str(folder / "meta" / "episodes")):
            self._rows = self._episode_rows()
            self.lengths = [int(row["length"]) for row in self._rows]
        self._check_totals(info)
        self.parts = self._tasks()
        self._opened: tuple[Path, tuple[str, ...], Any] | None = None
        self._videos: dict[str, Videos] = {}
        if len(self.parts) > 1:
            self.notes.append(
                f"{len(self.parts)} tasks, told apart by texts: tell them with --task-text, or "
                f"choose the episodes of some, as by --episodes {sorted(self.parts)[0]!r}"
            )

    def where(self, number: int) -> str:
        """The file of data and the episode."""
        return f"{self._file(number)}, episode {self._rows[number]['episode_index']}"

    def arrays(self, number: int, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Features of an episode."""
        where, row = self.where(number), self._rows[number]
        kinds = {name: self.features[name].dtype for name in names}
        table = self._table(number, [n for n in names if kinds[n] != "video"])
        with damaged(f"{where}: episode_index"):
            mine = np.flatnonzero(table.column("episode_index").to_numpy() == row["episode_index"])
        if len(mine) != row["length"]:
            raise DataError(
                f"{where}: has {len(mine)} steps, but meta/episodes says {row['length']}"
            )
        part = table.take(mine)
        self._check_times(where, part)
        found = {}
        for name, kind in kinds.items():
            with damaged(f"{where}: {name}"):
                if kind == "video":
                    videos = self._videos.setdefault(name, Videos(self.path, name, self._info))
                    found[name] = videos.frames(row)
                elif kind == "image":
                    cells = part.column(name).to_pylist()
                    here = f"{where}: {name}"
                    files = [_file_of(f"{here}, step {i}", c) for i, c in enumerate(cells)]
                    found[name] = decoded(here, files)
                else:
                    rows = _numbers(f"{where}: {name}", part.column(name))
                    found[name] = _shaped(f"{where}: {name}", rows, self.features[name].shape)
        return found

    def _file(self, number: int) -> Path:
        row = self._rows[number]
        with damaged(f"{self.path / 'meta' / 'info.json'}: data_path"):
            return self.path / self._info["data_path"].format(
                chunk_index=row["data/chunk_index"], file_index=row["data/file_index"]
            )

    def _table(self, number: int, names: Sequence[str]) -> Any:
        """The columns of an episode's file; one holds many episodes, one after another."""
        file, wanted = self._file(number), tuple(names)
        if self._opened is None or self._opened[:2] != (file, wanted):
            with damaged(str(file)):
                there = self._parquet.read_schema(file).names
            if missing := [name for name in (*names, "episode_index") if name not in there]:
                raise DataError(f"{self.where(number)}: lacks the columns {missing}")
            columns = {"episode_index", "frame_index", "timestamp", *names} & set(there)
            with damaged(str(file)):
                self._opened = file, wanted, self._parquet.read_table(file, columns=list(columns))
        return self._opened[2]

    def _episode_rows(self) -> list[dict[str, Any]]:
        folder = self.path / "meta" / "episodes"
        files = sorted(folder.glob("*/*.parquet"))
        if not files:
            raise DataError(f"{folder}: holds no parquet file")
        rows = []
        for file in files:
            with damaged(str(file)):
                schema = self._parquet.read_schema(file).names
                columns = [name for name in schema if not name.startswith("stats/")]
                rows += self._parquet.read_table(file, columns=columns).to_pylist()
        needed = ("episode_index", "length", "data/chunk_index", "data/file_index")
        for row in rows:
            wrong = [name for name in needed if not isinstance(row.get(name), int)]
            if wrong or row["length"] < 1:
                raise DataError(f"{folder}: an episode lacks {wrong or 'steps'}: {_short(row)}")
        numbers = [row["episode_index"] for row in rows]
        if len(set(numbers)) < len(numbers):
            twice = next(number for number in numbers if numbers.count(number) > 1)
            raise DataError(f"{folder}: lists episode {twice} twice")
        return sorted(rows, key=lambda row: row["episode_index"])

    def _check_totals(self, info: Path) -> None:
        """A file of meta/episodes that was not fetched would be missed by nothing else."""
        found = {"total_episodes": len(self.lengths), "total_frames": sum(self.lengths)}
        for name, number in found.items():
            if self._info.get(name, number) != number:
                raise DataError(
                    f"{info}: {name} is {self._info[name]}, but meta/episodes lists {number}; "
                    "fetch it again"
                )

    def _tasks(self) -> dict[str, list[int]]:
        """The episodes of each task, by its text."""
        found: dict[str, list[int]] = {}
        for number, row in enumerate(self._rows):
            tasks = row.get("tasks")
            for text in tasks if isinstance(tasks, list) else ():
                found.setdefault(str(text), []).append(number)
        return found

    def _check_times(self, where: str, table: Any) -> None:
        """Steps are numbered without gaps, and their times say the same rate as the data set."""
        assert self.rate is not None
        for name in ("frame_index", "timestamp"):
            if name not in table.column_names:
                continue
            with damaged(f"{where}: {name}"):
                found = _numbers(f"{where}: {name}", table.column(name)).reshape(-1)
                found = found.astype(np.float64)
                steps = np.arange(len(found))
            if name == "frame_index":
                if (found != steps).any():
                    wrong = int((found != steps).argmax())
                    raise DataError(f"{where}: frame_index is {found[wrong]:g} in step {wrong}")
                continue
            off = np.abs(found - found[0] - steps / self.rate)
            if not (off <= self._tolerance + 1e-6 / self.rate).all():
                wrong = int((~(off <= self._tolerance + 1e-6 / self.rate)).argmax())
                raise DataError(
                    f"{where}: timestamp is {found[wrong]:g} s in step {wrong}; at fps "
                    f"{self.rate:g} it should be {found[0] + wrong / self.rate:g}, and may be off "
                    f"by {self._tolerance:g} s (the tolerance)"
                )


def _feature(where: str, name: str, about: Any, dotted: bool) -> Feature:
    """A feature as info.json describes it; `dotted` if it calls observations so."""
    dtype, shape = str(about["dtype"]), about.get("shape") or ()
    if not all(isinstance(side, int) and side >= 0 for side in shape):
        raise DataError(f"{where}: its shape is {shape}; it must be whole numbers")
    shape = tuple(shape)
    shows = dtype in ("video", "image")
    role, aside = role_of(name, "images" if shows else "vector")
    if dotted and role == "observation":
        role, aside = ("observation", "") if name.startswith("observation.") else ("", "")
    if shows:
        is_depth = _is_depth(about) or (1 in shape and "depth" in name.lower())
        return Feature(name, shape, dtype, "depth" if is_depth else "images", role, aside)
    shape = () if shape == (1,) else shape
    return Feature(name, shape, dtype, kind_of(name, shape, dtype), role, aside)


def _is_depth(about: Mapping[str, Any]) -> bool:
    """Whether images are distances; LeRobot has had the mark in several places."""
    marks = {**about, **(about.get("video_info") or {}), **(about.get("info") or {})}
    return bool(marks.get("is_depth_map") or marks.get("video.is_depth_map"))


def _file_of(where: str, cell: Any) -> bytes:
    """The contents of an image file in a table."""
    data = cell.get("bytes") if isinstance(cell, dict) else None
    if not isinstance(data, bytes):
        raise DataError(
            f"{where}: holds no image but {_short(cell) if isinstance(cell, dict) else cell}; "
            "LeRobot's tables hold the bytes of image files"
        )
    return data


def _numbers(where: str, column: Any) -> NDArray[Any]:
    """(T,) or (T, d, ...) of a column of numbers or of lists."""
    if column.null_count:
        step = column.is_null().to_numpy().argmax()
        raise DataError(f"{where}: is null in step {step}")
    cells = column.to_pylist()
    if not isinstance(cells[0], list):
        return np.asarray(column.to_numpy())
    sizes = [len(cell) for cell in cells]
    if len(set(sizes)) > 1:
        step = next(i for i, size in enumerate(sizes) if size != sizes[0])
        raise DataError(
            f"{where}: does not hold vectors of one size: {sizes[0]} numbers in step 0, "
            f"{sizes[step]} in step {step}"
        )
    for step, cell in enumerate(cells):
        if None in cell:
            raise DataError(f"{where}: holds a null in step {step}")
    return np.array(cells)


def _shaped(where: str, rows: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Rows as info.json says they are."""
    size = math.prod(rows.shape[1:])
    if size != math.prod(shape):
        raise DataError(f"{where}: has {size} numbers in a step; info.json says shape {shape}")
    return rows.reshape(len(rows), *shape)


def _short(row: Mapping[str, Any]) -> str:
    return str({name: row[name] for name in list(row)[:6]})
