"""Which format a path holds."""

import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from scorefield.control.data.episode import Episode
from scorefield.control.data.episodes import INDEX
from scorefield.control.data.formats.demonstrations import Demonstrations
from scorefield.control.data.formats.folder import Folder
from scorefield.control.data.formats.hdf5 import SUFFIXES, Hdf5
from scorefield.control.data.formats.lerobot import LeRobot
from scorefield.control.data.formats.npz import SUFFIX as NPZ
from scorefield.control.data.formats.npz import Npz
from scorefield.control.data.formats.reading import DataError, files_below
from scorefield.control.data.formats.replay_buffer import ReplayBuffer

_PACKED = (".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")
_ZARR = (".zgroup", ".zattrs", ".zmetadata", "zarr.json", "data/.zgroup", "data/zarr.json")


def open_demonstrations(
    path: str | os.PathLike[str], *, tolerance: float | None = None, rate: float | None = None
) -> Demonstrations:
    """Looks at demonstrations, and reads none of their episodes yet.

    Args:
        path: a folder of ours, a LeRobot v3 folder, a zarr replay buffer (a folder or a .zip), an
            HDF5 file of robomimic's or of a like layout, a .npz, or a folder of such files.
        tolerance: seconds that a time stamp of LeRobot's may be off; None: half a step.
        rate: steps per second, where the data say none.

    Raises:
        ValueError: there is nothing, it is of no such format, or it is damaged.
    """
    path = Path(path)
    data = _opened(path, tolerance)
    if tolerance is not None and not isinstance(data, LeRobot):
        raise DataError(f"{path} is {data.format}, without time stamps; leave the tolerance out")
    data.with_rate(rate)
    return data


def read_episodes(
    path: str | os.PathLike[str],
    *,
    state: Sequence[str] | None = None,
    action: Sequence[str] | None = None,
    cameras: Sequence[str] | None = None,
    episodes: Sequence[int] | None = None,
    tolerance: float | None = None,
    rate: float | None = None,
) -> Iterator[Episode]:
    """The episodes of demonstrations in any format.

    Args:
        path: as of `open_demonstrations`.
        state: the features that make the state, side by side, by name or by the end of their name;
            None: all vectors that are observations.
        action: those that make the action, likewise; None: what is called action or actions.
        cameras: the features of images; None: all that are observations, none is ().
        episodes: their numbers, from 0 on; None: all.
        tolerance: seconds that a time stamp of LeRobot's may be off; None: half a step.
        rate: steps per second, where the data say none.

    Raises:
        ValueError: there is nothing, it is of no such format, it is damaged, or a feature or
            episode is not there.
    """
    data = open_demonstrations(path, tolerance=tolerance, rate=rate)
    return data.read(data.choose(state=state, action=action, cameras=cameras), episodes)


def _opened(path: Path, tolerance: float | None) -> Demonstrations:
    if not path.exists():
        raise DataError(f"{path} does not exist; name a folder or file of demonstrations")
    if (path / INDEX).is_file():
        return Folder(path)
    if (path / "meta" / "info.json").is_file():
        return LeRobot(path, tolerance)
    if path.is_dir():
        if path.name.endswith((".zarr", ".zarr.zip")) or any((path / f).is_file() for f in _ZARR):
            return ReplayBuffer(path)
        if (path / "meta" / "episode_ends").is_dir():
            return ReplayBuffer(path)
        if suffixes := {one.suffix.lower() for one in files_below(path, [*SUFFIXES, NPZ])}:
            return Hdf5(path) if suffixes & set(SUFFIXES) else Npz(path)
    elif path.suffix.lower() in SUFFIXES:
        return Hdf5(path)
    elif path.suffix.lower() == NPZ:
        return Npz(path)
    elif path.suffix.lower() == ".zip" or zipfile.is_zipfile(path):
        return ReplayBuffer(path)
    if path.suffix.lower() in _PACKED:
        raise DataError(f"{path} is packed; unpack it and name the folder")
    raise DataError(
        f"{path} is of no known format: {INDEX} (this library's), meta/info.json (LeRobot v3), "
        "data and meta/episode_ends in zarr, a folder or .zip (a replay buffer of "
        "diffusion_policy), .hdf5 (robomimic), .npz (an episode each)"
    )
