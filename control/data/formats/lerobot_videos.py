"""The videos of a LeRobot camera."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scorefield.control.data.formats.reading import DataError, damaged, library


class Videos:
    """The videos of one camera, decoded from front to back as the episodes are."""

    def __init__(self, folder: Path, name: str, info: Mapping[str, Any]) -> None:
        self._folder, self._name, self._info = folder, name, info
        self._file: Path | None = None
        self._frames: Iterator[Any] = iter(())
        self._next = 0
        self._begin = 0.0  # time of the first frame

    def frames(self, row: Mapping[str, Any]) -> NDArray[np.uint8]:
        """(T, H, W, 3) of an episode.

        Args:
            row: what meta/episodes says of it.

        Raises:
            DataError: a video is missing, damaged, too short, of another frame rate than the data,
                or changes its size.
        """
        file, first = self._place(row)
        where, wanted = f"{file}, episode {row['episode_index']}", int(row["length"])
        taken: list[NDArray[np.uint8]] = []
        with damaged(where):
            if file != self._file or first < self._next:
                self._open(file)
            for frame in self._frames:
                self._begin = self._time(frame) if self._next == 0 else self._begin
                self._next += 1
                if self._next > first:
                    self._check_time(where, frame)
                    taken.append(frame.to_ndarray(format="rgb24"))
                    self._check_size(where, taken)
                if len(taken) == wanted:
                    return np.stack(taken)
        raise DataError(f"{where}: ends after {len(taken)} of its {wanted} frames")

    def _place(self, row: Mapping[str, Any]) -> tuple[Path, int]:
        key, number = f"videos/{self._name}", row["episode_index"]
        places = [f"{key}/chunk_index", f"{key}/file_index", f"{key}/from_timestamp"]
        if missing := [place for place in places if row.get(place) is None]:
            raise DataError(
                f"{self._folder / 'meta' / 'episodes'}, episode {number}: does not say where its "
                f"video is: lacks {missing}"
            )
        with damaged(f"{self._folder}, episode {number}: where its video is"):
            chunk, file, begin = (row[place] for place in places)
            if not 0 <= begin < float("inf"):
                raise DataError(
                    f"{self._folder / 'meta' / 'episodes'}, episode {number}: the video of "
                    f"{self._name} begins at {begin} s"
                )
            path = self._info["video_path"].format(
                video_key=self._name, chunk_index=chunk, file_index=file
            )
            return self._folder / path, round(begin * float(self._info["fps"]))

    def _open(self, file: Path) -> None:
        self._file, self._next = None, 0
        self._frames = library("av", "a video").open(str(file)).decode(video=0)
        self._file = file

    def _time(self, frame: Any) -> float:
        return float("nan") if frame.time is None else float(frame.time)

    def _check_time(self, where: str, frame: Any) -> None:
        """Frames are counted; so they must come as often as steps do."""
        expected = (self._next - 1) / float(self._info["fps"])
        off = abs(self._time(frame) - self._begin - expected) * float(self._info["fps"])
        if off > 0.6:  # nan, of a stream without times, passes
            raise DataError(
                f"{where}: {self._name} shows frame {self._next - 1} at "
                f"{self._time(frame) - self._begin:.4g} s, which at fps {self._info['fps']} would "
                f"be {expected:.4g} s; the video has another frame rate than the data"
            )

    def _check_size(self, where: str, taken: list[NDArray[np.uint8]]) -> None:
        if taken[-1].shape != taken[0].shape:
            raise DataError(
                f"{where}: {self._name} changes its size from {taken[0].shape} to {taken[-1].shape}"
            )
