"""Demonstrations: one container for all of them, in memory or mapped from a folder.

An episode is what was observed and done at every step, the action of a step beside the observation
it was chosen for. The readers of other formats (`scorefield.control.data.formats`) yield
`Episode`s; they are collected in memory or written, one at a time, to a folder that is mapped, not
read:

    episodes.json     keys, shapes, rate, and the ends of the episodes
    state.npy         (steps, D) float32
    action.npy        (steps, A) float32
    camera.NAME.npy   (steps, H, W, 3) uint8
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scorefield.control.data.episode import (
    Episode,
    check_alike,
    checked_numbers,
    numbered,
    observed_as,
)
from scorefield.control.data.episode_files import INDEX as INDEX
from scorefield.control.data.episode_files import append, cut, mapped, read_index
from scorefield.files import part_path, write_text
from scorefield.locks import lock_folder


class Episodes:
    """Many episodes, their steps one after another.

    Attributes:
        state: (N, D) float32, all steps.
        action: (N, A) float32.
        cameras: (N, H, W, 3) uint8 by name.
        ends: (E,) int64: where each episode ends, exclusive.
        rate: steps per second; None if unknown.
        keys: the seeds of the environment that the episodes were collected from; None elsewhere.
    """

    def __init__(
        self,
        arrays: Mapping[str, NDArray[Any]],
        ends: Sequence[int],
        rate: float | None = None,
        keys: Sequence[int | None] | None = None,
    ) -> None:
        self.state = arrays["state"]
        self.action = arrays["action"]
        self.cameras = {
            observed_as(name.removeprefix("camera.")): array
            for name, array in arrays.items()
            if name.startswith("camera.")
        }
        self.ends = np.asarray(ends, dtype=np.int64)
        self.rate = rate
        self.keys = [None] * len(self.ends) if keys is None else list(keys)

    @classmethod
    def of(cls, episodes: Iterable[Episode]) -> "Episodes":
        """Collects episodes in memory.

        Raises:
            ValueError: one is not sound (`Episode.checked`), differs from the first in keys,
                shapes or rate, or there is none.
        """
        taken: list[Episode] = []
        for number, episode in enumerate(episodes):
            taken.append(numbered(episode, number))
            check_alike(taken[0], taken[-1])
        if not taken:
            raise ValueError("there are no episodes; a data set needs at least one")
        parts = [episode.arrays() for episode in taken]
        return cls(
            {name: np.concatenate([part[name] for part in parts]) for name in parts[0]},
            np.cumsum([len(episode) for episode in taken]).tolist(),
            taken[0].rate,
            [episode.key for episode in taken],
        )

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> "Episodes":
        """Maps a folder that `EpisodeWriter` wrote; images are read when they are used.

        States and actions are looked through once, in pieces, for values that are not finite.

        Raises:
            ValueError: the folder is not one, a file is damaged, an end is out of order, or a
                value is NaN; the file and the episode are named.
        """
        folder = Path(folder)
        index = read_index(folder)
        ends = index["ends"]
        if not ends:
            raise ValueError(f"{folder / INDEX} lists no episodes; collect some first")
        arrays = {
            name: mapped(folder, name, tuple(shape), ends[-1])
            for name, shape in index["shapes"].items()
        }
        for name in ("state", "action"):
            if name not in arrays:
                raise ValueError(f"{folder / INDEX}: lists no {name!r}, which all episodes have")
            for number, (begin, end) in enumerate(zip([0, *ends], ends, strict=False)):
                where = f"{folder / name}.npy, episode {number}"
                checked_numbers(where, name, arrays[name][begin:end])
        rate = None if index["rate"] is None else float(index["rate"])
        return cls(arrays, ends, rate, index["keys"])

    def __len__(self) -> int:
        """The number of episodes."""
        return len(self.ends)

    def __getitem__(self, number: int) -> Episode:
        """One episode, without copying."""
        if not 0 <= number < len(self):
            raise IndexError(f"episode {number} of {len(self)}")
        span = slice(self.ends[number - 1] if number else 0, self.ends[number])
        return Episode(
            self.state[span],
            self.action[span],
            {name: array[span] for name, array in self.cameras.items()},
            self.rate,
            f"episode {number}",
            self.keys[number],
        )

    @property
    def begins(self) -> NDArray[np.int64]:
        """(E,): where each episode begins."""
        return np.concatenate([np.zeros(1, dtype=np.int64), self.ends[:-1]])

    def digest(self) -> str:
        """16 hexadecimal digits that other states, actions or ends would change.

        Images are not read for it: they may be more than memory holds.
        """
        found = hashlib.sha256()
        for array in (self.ends, self.state, self.action):
            found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()[:16]

    def select(self, numbers: Sequence[int]) -> "Episodes":
        """Some of the episodes, copied into memory."""
        return Episodes.of(self[number] for number in numbers)


class EpisodeWriter:
    """Writes episodes to a folder, one at a time; killed at any moment, all that were added stay.

    The arrays grow at their ends; what the index does not list yet is cut off when the folder is
    opened again.
    """

    def __init__(self, folder: str | os.PathLike[str], about: Mapping[str, Any]) -> None:
        """Makes the folder, or opens it to go on.

        Args:
            folder: new, or one that was begun with the same `about`.
            about: JSON values that say what is collected; saved in the index.

        Raises:
            ValueError: the folder holds something else, or another process writes to it.
        """
        self.folder = Path(folder)
        self.about = json.loads(json.dumps(dict(about)))
        self._first: Episode | None = None
        self._index: dict[str, Any] = {"ends": [], "keys": [], "rate": None, "shapes": {}}
        if self.folder.exists():
            self._lock = lock_folder(self.folder)  # before its index is read
        if (self.folder / INDEX).exists():
            self._index = read_index(self.folder)
            if self._index["about"] != self.about:
                raise ValueError(
                    f"{self.folder} was collected with {self._index['about']}, now {self.about}; "
                    "choose another folder"
                )
        elif self.folder.exists() and _entries(self.folder) - {part_path(INDEX).name}:
            raise ValueError(f"{self.folder} is not empty and holds no {INDEX}; choose another")
        self._lock = lock_folder(self.folder)
        if len(self) == 0:
            for file in self.folder.glob("*.npy"):  # of a writer killed in its first episode
                file.unlink()
            self._save_index()
        else:
            for name in self._index["shapes"]:
                cut(self.folder / f"{name}.npy", self._index["ends"][-1])
            self._first = Episodes.open(self.folder)[0]

    def __len__(self) -> int:
        """The number of episodes in the folder."""
        return len(self._index["ends"])

    @property
    def keys(self) -> list[int | None]:
        """The seeds of the episodes in the folder."""
        return list(self._index["keys"])

    def add(self, episode: Episode) -> None:
        """Appends an episode.

        Raises:
            ValueError: it is not sound, or unlike the first one.
        """
        episode = numbered(episode, len(self))
        self._first = self._first or episode
        check_alike(self._first, episode)
        for name, array in episode.arrays().items():
            append(self.folder / f"{name}.npy", array)
        index = self._index
        index["shapes"] = {name: list(a.shape[1:]) for name, a in episode.arrays().items()}
        index["rate"] = episode.rate
        index["ends"].append((index["ends"][-1] if index["ends"] else 0) + len(episode))
        index["keys"].append(episode.key)
        self._save_index()

    def _save_index(self) -> None:
        text = json.dumps({"about": self.about, **self._index})
        write_text(self.folder / INDEX, text + "\n")


def write_episodes(folder: str | os.PathLike[str], episodes: Iterable[Episode]) -> Path:
    """Writes episodes of any source to a new folder, one at a time, and returns it.

    Raises:
        ValueError: the folder is not empty, an episode is not sound, or there is none.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty; choose a new folder")
    writer = EpisodeWriter(folder, {})
    for episode in episodes:
        writer.add(episode)
    if len(writer) == 0:
        raise ValueError("there are no episodes to write; a data set needs at least one")
    return folder


def _entries(folder: Path) -> set[str]:
    return {one.name for one in folder.iterdir()}
