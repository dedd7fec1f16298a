"""This library's own folders, as the readers of other formats show theirs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scorefield.control.data.episodes import Episodes
from scorefield.control.data.formats.demonstrations import Demonstrations
from scorefield.control.data.formats.features import Feature
from scorefield.control.data.formats.reading import damaged


class Folder(Demonstrations):
    """A folder that `EpisodeWriter` wrote; `Demonstrations`."""

    format = "a folder of episodes"

    def __init__(self, path: Path) -> None:
        """Maps it.

        Raises:
            ValueError: `Episodes.open` refuses it.
        """
        self.path, self.parts, self.notes = path, {}, []
        self.episodes = Episodes.open(path)
        self.rate = self.episodes.rate
        self.lengths = np.diff(self.episodes.ends, prepend=0).tolist()
        numbers = {"state": self.episodes.state, "action": self.episodes.action}
        if self.episodes.state.shape[1] == 0:
            del numbers["state"]
        self._all = {**numbers, **{f"cameras/{n}": a for n, a in self.episodes.cameras.items()}}
        self.features = {
            name: Feature(
                name,
                tuple(array.shape[1:]),
                str(array.dtype),
                "vector" if name in numbers else "images",
                "action" if name == "action" else "observation",
            )
            for name, array in self._all.items()
        }

    def where(self, number: int) -> str:
        """The folder and the episode."""
        return f"{self.path}, episode {number}"

    def arrays(self, number: int, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Features of an episode."""
        end = int(self.episodes.ends[number])
        span = slice(end - self.lengths[number], end)
        with damaged(self.where(number)):
            return {name: np.asarray(self._all[name][span]) for name in names}
