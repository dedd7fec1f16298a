"""Replay buffers of real-stanford/diffusion_policy: zarr, a folder or a .zip.

data/state, data/action, data/img, ...   all steps, one after another
meta/episode_ends                        where each episode ends, exclusive
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scorefield.control.data.episodes import Episode
from scorefield.control.data.formats.arrays import as_bytes, chosen, joined, library


def read_replay_buffer(
    path: str | os.PathLike[str],
    *,
    state: Sequence[str] = ("state",),
    cameras: Sequence[str] | None = None,
    action: str = "action",
    rate: float | None = None,
) -> Iterator[Episode]:
    """Yields the episodes; only one is in memory at a time.

    Args:
        path: the .zarr folder or the .zarr.zip.
        state: the keys under `data` that make the state, side by side.
        cameras: those of pictures; None takes all arrays of four axes, none is ().
        action: the key of the actions.
        rate: steps per second, which the format does not say.

    Raises:
        ValueError: a key is missing, ends and arrays do not agree, or an episode is not sound.
    """
    path = Path(path)
    zarr = library("zarr", "a replay buffer")
    try:
        store = zarr.storage.ZipStore(path, mode="r") if path.suffix == ".zip" else str(path)
        # A summary of the metadata (.zmetadata) may be older than they are.
        root = zarr.open_group(store, mode="r", use_consolidated=False)
        data, ends = root["data"], np.asarray(root["meta/episode_ends"][:])
        arrays: dict[str, Any] = dict(data.arrays())
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read as a replay buffer ({type(error).__name__}: {error}); it needs "
            "the groups data and meta/episode_ends"
        ) from error
    if cameras is None:
        cameras = [name for name, array in arrays.items() if array.ndim == 4]
    where = f"{path}, data"
    chosen(where, "state", state, list(arrays))
    chosen(where, "action", [action], list(arrays))
    if cameras:
        chosen(where, "cameras", cameras, list(arrays))
    _check_ends(path, ends, {name: arrays[name].shape[0] for name in (*state, action, *cameras)})
    return (
        _episode(path, arrays, number, slice(begin, end), state, cameras, action, rate)
        for number, (begin, end) in enumerate(zip([0, *ends.tolist()], ends.tolist(), strict=False))
    )


def _episode(
    path: Path,
    arrays: dict[str, Any],
    number: int,
    span: slice,
    state: Sequence[str],
    cameras: Sequence[str],
    action: str,
    rate: float | None,
) -> Episode:
    where = f"{path}, episode {number}"
    return Episode(
        joined(where, {f"data/{name}": np.asarray(arrays[name][span]) for name in state}),
        np.asarray(arrays[action][span]),
        {name: as_bytes(where, f"data/{name}", np.asarray(arrays[name][span])) for name in cameras},
        rate,
        where,
    ).checked()


def _check_ends(path: Path, ends: Any, lengths: dict[str, int]) -> None:
    where = f"{path}, meta/episode_ends"
    if ends.ndim != 1 or ends.dtype.kind not in "iu" or len(ends) == 0:
        raise ValueError(f"{where}: is {ends.dtype} of shape {ends.shape}; it lists whole numbers")
    steps = np.diff(ends.astype(np.int64), prepend=0)
    if (steps < 1).any():
        number = int((steps < 1).argmax())
        raise ValueError(
            f"{where}: episode {number} ends at {ends[number]} and has {steps[number]} steps; ends "
            "increase from 1"
        )
    wrong = {name: length for name, length in lengths.items() if length != ends[-1]}
    if wrong:
        raise ValueError(
            f"{where}: the last of {len(ends)} episodes ends at {ends[-1]}, but there are {wrong} "
            "steps"
        )
