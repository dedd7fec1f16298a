"""Which format a path holds."""

import os
from collections.abc import Iterator
from pathlib import Path

from scorefield.control.data.episodes import INDEX, Episode, Episodes
from scorefield.control.data.formats.lerobot import read_lerobot
from scorefield.control.data.formats.replay_buffer import read_replay_buffer
from scorefield.control.data.formats.robomimic import read_robomimic


def read_episodes(path: str | os.PathLike[str]) -> Iterator[Episode]:
    """The episodes in a folder of ours, a LeRobot v3 folder, a zarr replay buffer or an HDF5 file.

    Keys are the format's usual ones; its own reader takes others.

    Raises:
        ValueError: there is nothing, it is of no such format, or it is damaged.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path} does not exist; name a folder or file of demonstrations")
    if (path / INDEX).is_file():
        episodes = Episodes.open(path)
        return (episodes[number] for number in range(len(episodes)))
    if (path / "meta" / "info.json").is_file():
        return read_lerobot(path)
    if path.suffix == ".zarr" or path.name.endswith(".zarr.zip") or (path / ".zgroup").is_file():
        return read_replay_buffer(path)
    if path.suffix in (".hdf5", ".h5"):
        return read_robomimic(path)
    raise ValueError(
        f"{path} is of no known format: {INDEX} (this library's), meta/info.json (LeRobot v3), "
        ".zarr or .zarr.zip (a replay buffer of diffusion_policy), .hdf5 (robomimic)"
    )
