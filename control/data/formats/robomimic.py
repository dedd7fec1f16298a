"""HDF5 files of robomimic.

data                          attribute env_args: JSON with env_kwargs.control_freq
data/demo_0/actions           (T, A)
data/demo_0/obs/KEY           (T, d) or pictures (T, H, W, 3)
mask/NAME                     names of the demos of a part of the data
"""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scorefield.control.data.episodes import Episode
from scorefield.control.data.formats.arrays import as_bytes, chosen, joined, library


def read_robomimic(
    path: str | os.PathLike[str],
    *,
    state: Sequence[str] | None = None,
    cameras: Sequence[str] | None = None,
    part: str | None = None,
) -> Iterator[Episode]:
    """Yields the episodes, in the order of their numbers; only one is in memory at a time.

    Args:
        path: the file.
        state: the keys under `obs` that make the state, side by side; None: all vectors, those of
            robots first.
        cameras: those of pictures; None takes all arrays of four axes, none is ().
        part: of the data, a name under `mask` such as "train"; None: all.

    Raises:
        ValueError: a key is missing, lengths disagree, or an episode is not sound.
    """
    path = Path(path)
    h5py = library("h5py", "a robomimic file")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path} cannot be read as HDF5 ({error})") from error
    return _episodes(path, file, state, cameras, part)


def _episodes(
    path: Path,
    file: Any,
    state: Sequence[str] | None,
    cameras: Sequence[str] | None,
    part: str | None,
) -> Iterator[Episode]:
    with file:
        if "data" not in file or not len(file["data"]):
            raise ValueError(f"{path}: holds no group 'data' with demos; it is not robomimic's")
        data = file["data"]
        rate = _rate(path, data.attrs.get("env_args"))
        for demo in _names(path, file, part):
            where = f"{path}, {demo}"
            if demo not in data or "obs" not in data[demo] or "actions" not in data[demo]:
                raise ValueError(f"{where}: lacks 'obs' or 'actions'")
            group = data[demo]
            there = group["obs"]
            wanted = _vectors(there) if state is None else list(state)
            chosen(f"{where}, obs", "state", wanted, list(there))
            seen = _pictures(there) if cameras is None else list(cameras)
            if seen:
                chosen(f"{where}, obs", "cameras", seen, list(there))
            actions = np.asarray(group["actions"])
            told = group.attrs.get("num_samples")
            if told is not None and int(told) != len(actions):
                raise ValueError(
                    f"{where}: num_samples is {told}, but there are {len(actions)} actions"
                )
            yield Episode(
                joined(where, {f"obs/{key}": np.asarray(there[key]) for key in wanted}),
                actions,
                {key: as_bytes(where, f"obs/{key}", np.asarray(there[key])) for key in seen},
                rate,
                where,
            ).checked()


def _vectors(there: Any) -> list[str]:
    """The keys of vectors, in the order of robomimic's configurations: robots, then objects."""
    vectors = [key for key, array in there.items() if getattr(array, "ndim", 9) <= 2]
    return sorted(vectors, key=lambda key: (not key.startswith("robot"), key))


def _pictures(there: Any) -> list[str]:
    """The keys of pictures of three channels; one is depth."""
    return [
        k for k, a in there.items() if getattr(a, "ndim", 0) == 4 and 3 in (a.shape[1], a.shape[3])
    ]


def _names(path: Path, file: Any, part: str | None) -> list[str]:
    """The demos, demo_2 before demo_10."""
    if part is None:
        names = list(file["data"])
    else:
        there = list(file["mask"]) if "mask" in file else []
        chosen(f"{path}, mask", "part", [part], there)
        names = [name.decode() for name in file["mask"][part][:]]
    return sorted(names, key=lambda name: (len(name), name))


def _rate(path: Path, text: Any) -> float | None:
    if text is None:
        return None
    try:
        frequency = json.loads(text).get("env_kwargs", {}).get("control_freq")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path}: the attribute env_args is not JSON ({error})") from error
    return None if frequency is None else float(frequency)
