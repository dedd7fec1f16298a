"""LeRobot data sets, v3.0: parquet files, and videos that hold many episodes each.

meta/info.json                              fps, features, and the paths of the files
meta/episodes/chunk-000/file-000.parquet    where each episode is
data/chunk-000/file-000.parquet             a row per step
videos/KEY/chunk-000/file-000.mp4
"""

import io
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scorefield.control.data.episodes import Episode
from scorefield.control.data.formats.arrays import chosen, joined, library
from scorefield.images import FORMATS

_TOLERANCE = 0.1  # of a step: how far a time stamp may be from its place


def read_lerobot(
    folder: str | os.PathLike[str],
    *,
    state: Sequence[str] | None = None,
    cameras: Sequence[str] | None = None,
) -> Iterator[Episode]:
    """Yields the episodes in the order of their numbers.

    Args:
        folder: the one that holds `meta`, `data` and `videos`.
        state: the features that make the state, side by side; None: all vectors under
            `observation.`, in their order.
        cameras: the features of pictures; None: all that are no depth, none is (). A camera is
            called by its feature without `observation.images.`, or without `observation.`.

    Raises:
        ValueError: a file or feature is missing or damaged, lengths or frame rates disagree, or an
            episode is not sound.
    """
    folder = Path(folder)
    file = folder / "meta" / "info.json"
    try:
        info = json.loads(file.read_text(encoding="utf-8"))
        version, rate = str(info["codebase_version"]), float(info["fps"])
        features = dict(info["features"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} cannot be read ({type(error).__name__}: {error})") from error
    if not version.startswith("v3"):
        raise ValueError(f"{file}: is of version {version}; convert it to v3.0 with lerobot's tool")
    observed = [name for name in features if name.startswith("observation.")]
    pictured = [name for name in observed if features[name]["dtype"] in ("video", "image")]
    depth = [name for name in pictured if _is_depth(features[name])]
    colour = [name for name in pictured if name not in depth]
    vectors = [n for n in observed if str(features[n]["dtype"]).startswith(("float", "int"))]
    where = f"{file}, features"
    vectors = chosen(where, "state", vectors if state is None else state, vectors)
    chosen(where, "action", ["action"], list(features))
    if cameras is not None:
        if far := [name for name in cameras if name in depth]:
            raise ValueError(
                f"{where}: {far} hold depth, and a camera shows colours; there are {colour}"
            )
        colour = chosen(where, "cameras", cameras, colour) if cameras else []
    return _episodes(folder, info, rate, vectors, colour)


def _is_depth(feature: Any) -> bool:
    """Whether pictures are distances; LeRobot has had the mark in several places."""
    about = {**feature, **(feature.get("video_info") or {}), **(feature.get("info") or {})}
    return bool(about.get("is_depth_map") or about.get("video.is_depth_map"))


def _camera_names(features: list[str]) -> dict[str, str]:
    """What the cameras of features are called: short, but no two of them alike."""
    short = {name: name.removeprefix("observation.").removeprefix("images.") for name in features}
    return {
        name: word if list(short.values()).count(word) == 1 else name
        for name, word in short.items()
    }


def _episodes(
    folder: Path, info: dict[str, Any], rate: float, vectors: list[str], cameras: list[str]
) -> Iterator[Episode]:
    parquet = library("pyarrow.parquet", "a LeRobot data set")
    videos = {
        name: _Videos(folder, name, info)
        for name in cameras
        if info["features"][name]["dtype"] == "video"
    }
    short = _camera_names(cameras)
    opened: tuple[Path, Any] | None = None
    for row in _rows(folder, parquet):
        number = row["episode_index"]
        file = folder / info["data_path"].format(
            chunk_index=row["data/chunk_index"], file_index=row["data/file_index"]
        )
        where = f"{file}, episode {number}"
        if opened is None or opened[0] != file:  # one holds many episodes, one after another
            opened = file, _table(parquet, file)
        table = opened[1]
        missing = [name for name in (*vectors, "action") if name not in table.column_names]
        if missing:
            raise ValueError(f"{where}: lacks the columns {missing}")
        mine = np.flatnonzero(table.column("episode_index").to_numpy() == number)
        if len(mine) != row["length"]:
            raise ValueError(
                f"{where}: has {len(mine)} steps, but meta/episodes says {row['length']}"
            )
        part = table.take(mine)
        _check_times(where, part, rate)
        pictures = {}
        for name in cameras:
            pictures[short[name]] = (
                videos[name].frames(row)
                if name in videos
                else _decoded(where, name, part.column(name).to_pylist())
            )
        yield Episode(
            joined(where, {name: _array(where, name, part) for name in vectors}),
            _array(where, "action", part),
            pictures,
            rate,
            where,
        ).checked()


def _rows(folder: Path, parquet: Any) -> list[dict[str, Any]]:
    files = sorted((folder / "meta" / "episodes").glob("*/*.parquet"))
    if not files:
        raise ValueError(f"{folder / 'meta' / 'episodes'}: holds no parquet file")
    rows = [row for file in files for row in _table(parquet, file).to_pylist()]
    needed = ("episode_index", "length", "data/chunk_index", "data/file_index")
    for row in rows:
        if missing := [name for name in needed if row.get(name) is None]:
            raise ValueError(f"{files[0].parent.parent}: an episode lacks {missing}")
    return sorted(rows, key=lambda row: row["episode_index"])


def _table(parquet: Any, file: Path) -> Any:
    try:
        return parquet.read_table(file)
    except Exception as error:
        raise ValueError(
            f"{file} cannot be read ({type(error).__name__}: {error}); fetch it again"
        ) from error


def _array(where: str, name: str, table: Any) -> NDArray[Any]:
    """(T, d) of a column of numbers or of lists."""
    try:
        array = np.array(table.column(name).to_pylist(), dtype=np.float32)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: {name} does not hold vectors of one size ({error})") from error
    return array.reshape(len(array), -1)


def _check_times(where: str, table: Any, rate: float) -> None:
    """Steps are numbered without gaps, and their times say the same rate as the data set."""
    if "frame_index" in table.column_names:
        numbers = table.column("frame_index").to_numpy()
        if (numbers != np.arange(len(numbers))).any():
            wrong = int((numbers != np.arange(len(numbers))).argmax())
            raise ValueError(f"{where}: frame_index is {numbers[wrong]} in step {wrong}")
    if "timestamp" in table.column_names:
        times = np.asarray(table.column("timestamp").to_numpy(), dtype=np.float64)
        off = np.abs((times - times[0]) * rate - np.arange(len(times)))
        if not (off < _TOLERANCE).all():
            wrong = int((~(off < _TOLERANCE)).argmax())
            raise ValueError(
                f"{where}: timestamp is {times[wrong]} s in step {wrong}; at fps {rate:g} it "
                f"should be {times[0] + wrong / rate:g}"
            )


def _decoded(where: str, name: str, cells: list[Any]) -> NDArray[np.uint8]:
    """Pictures that are stored as files inside the table."""
    try:
        return np.stack([_colours(cell["bytes"]) for cell in cells])
    except (OSError, TypeError, KeyError, ValueError) as error:
        raise ValueError(f"{where}: {name} does not hold pictures of one size ({error})") from error


def _colours(data: bytes) -> NDArray[np.uint8]:
    """(H, W, 3) of a picture's file."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
        if picture.mode.startswith(("I", "F")):  # Pillow would cut off all beyond 255
            raise ValueError(f"a picture is of mode {picture.mode}: depth, and no colours")
        return np.asarray(picture.convert("RGB"))


class _Videos:
    """The videos of one camera, decoded from front to back as the episodes are."""

    def __init__(self, folder: Path, name: str, info: dict[str, Any]) -> None:
        self._folder, self._name, self._info = folder, name, info
        self._file: Path | None = None
        self._frames: Iterator[Any] = iter(())
        self._next = 0

    def frames(self, row: dict[str, Any]) -> NDArray[np.uint8]:
        """(T, H, W, 3) of an episode."""
        key, number = f"videos/{self._name}", row["episode_index"]
        try:
            file = self._folder / self._info["video_path"].format(
                video_key=self._name,
                chunk_index=row[f"{key}/chunk_index"],
                file_index=row[f"{key}/file_index"],
            )
            first = round(row[f"{key}/from_timestamp"] * self._info["fps"])
        except KeyError as error:
            raise ValueError(
                f"{self._folder}, episode {number}: does not say where its video is ({error})"
            ) from error
        taken: list[NDArray[np.uint8]] = []
        try:
            if file != self._file or first < self._next:
                self._file, self._next = file, 0
                self._frames = library("av", "a video").open(str(file)).decode(video=0)
            for frame in self._frames:
                self._next += 1
                if self._next > first:
                    taken.append(frame.to_ndarray(format="rgb24"))
                if len(taken) == row["length"]:
                    return np.stack(taken)
        except OSError as error:
            raise ValueError(f"{file}, episode {number}: cannot be decoded ({error})") from error
        raise ValueError(
            f"{file}, episode {number}: ends after {len(taken)} of its {row['length']} frames"
        )
