"""Replay buffers of real-stanford/diffusion_policy: zarr, a folder or a .zip.

data/state, data/action, data/img, ...   all steps, one after another
meta/episode_ends                        where each episode ends, exclusive
"""

import math
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scorefield.control.data.episode import Episode
from scorefield.control.data.formats.demonstrations import Demonstrations
from scorefield.control.data.formats.features import Feature, kind_of, role_of
from scorefield.control.data.formats.reading import DataError, damaged, library
from scorefield.files import parse_json

_METADATA = (".zarray", "zarr.json")
"""What describes an array, in formats 2 and 3."""


def read_replay_buffer(
    path: str | os.PathLike[str],
    *,
    state: Sequence[str] | None = None,
    cameras: Sequence[str] | None = None,
    action: str | Sequence[str] | None = None,
    rate: float | None = None,
) -> Iterator[Episode]:
    """Yields the episodes; only one is in memory at a time.

    Args:
        path: the folder or the .zip.
        state: the keys under `data` that make the state, side by side; None: `state` if it is
            there, or else all vectors.
        cameras: those of images; None takes all, none is ().
        action: those of the actions; None: `action`, or `actions`.
        rate: steps per second, which the format does not say.

    Raises:
        ValueError: a key is missing, ends and arrays do not agree, or an episode is not sound.
    """
    data = ReplayBuffer(Path(path))
    data.with_rate(rate)
    actions = [action] if isinstance(action, str) else action
    return data.read(data.choose(state=state, action=actions, cameras=cameras))


class ReplayBuffer(Demonstrations):
    """A replay buffer; `Demonstrations`. Of its arrays those are opened that are read."""

    format = "zarr replay buffer"

    def __init__(self, path: Path) -> None:
        """Reads the descriptions of the arrays, and the ends of the episodes.

        Raises:
            ValueError: a description is damaged, or ends and arrays do not agree.
        """
        self.path = path
        self._zarr = library("zarr", "a replay buffer")
        self.rate, self.parts, self.notes = None, {}, []
        self._files = _Files(path)
        root = self._files.root()
        self._prefix = root
        arrays = {
            name.removeprefix(f"{root}data/"): about
            for name, about in self._files.arrays(f"{root}data").items()
        }
        whole = "state" in arrays
        self.features = {name: _feature(name, about, whole) for name, about in arrays.items()}
        self._arrays: dict[str, Any] = {}
        ends_about = self._files.arrays(f"{root}meta").get(f"{root}meta/episode_ends")
        where = f"{path}, meta/episode_ends"
        if ends_about is None or not arrays:
            raise DataError(
                f"{path} cannot be read as a replay buffer: it needs arrays under data, and "
                f"meta/episode_ends; there are {sorted(arrays)}, and of the latter "
                f"{'none' if ends_about is None else 'one'}"
            )
        self._rows = {
            name: about["shape"][0] if about["shape"] else 0 for name, about in arrays.items()
        }
        if len(ends_about["shape"]) != 1 or math.prod(ends_about["shape"]) > 10**8:
            raise DataError(f"{where}: is of shape {ends_about['shape']}; it lists whole numbers")
        with damaged(where):
            ends = np.asarray(self._open("meta/episode_ends")[:])
        self._ends = _checked_ends(where, ends)
        self.lengths = np.diff(self._ends, prepend=0).tolist()

    def where(self, number: int) -> str:
        """The file and the episode."""
        return f"{self.path}, episode {number}"

    def arrays(self, number: int, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Features of an episode."""
        wrong = {n: self._rows[n] for n in names if self._rows[n] != self._ends[-1]}
        if wrong:
            raise DataError(
                f"{self.path}, meta/episode_ends: the last of {len(self._ends)} episodes ends at "
                f"{self._ends[-1]}, but there are {wrong} steps"
            )
        end = int(self._ends[number])
        span = slice(end - self.lengths[number], end)
        found = {}
        for name in names:
            with damaged(f"{self.where(number)}: data/{name}"):
                if name not in self._arrays:
                    self._arrays[name] = self._open(f"data/{name}")
                found[name] = np.asarray(self._arrays[name][span])
        return found

    def _open(self, name: str) -> Any:
        """One array by itself: a summary of the metadata may be older than they are."""
        store = self._files.store(self._zarr)
        array = self._zarr.open_array(store, path=f"{self._prefix}{name}", mode="r")
        if array.dtype.kind not in "fiub":
            raise DataError(f"{self.path}: {name} is {array.dtype}; it must be numbers")
        if array.nchunks_initialized < array.nchunks:
            self.notes.append(
                f"{name}: {array.nchunks - array.nchunks_initialized} of {array.nchunks} chunks "
                f"are absent, and read as {array.fill_value}; zarr leaves out chunks that are all "
                "of this value, but a copy that broke off lacks others"
            )
        return array


class _Files:
    """The files of a buffer, in a folder or in a zip."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._names: list[str] | None = None
        if path.is_file():
            with damaged(str(path)), zipfile.ZipFile(path) as archive:
                self._names = archive.namelist()

    def store(self, zarr: Any) -> Any:
        return str(self.path) if self._names is None else zarr.storage.ZipStore(self.path, mode="r")

    def root(self) -> str:
        """Where `data` and `meta` are: at the top, or in a folder there, with a / at its end."""
        tops = sorted({name.split("/")[0] for name in self._listed("")})
        if "data" in tops:
            return ""
        inside = [top for top in tops if any(self._listed(f"{top}/meta/episode_ends"))]
        return f"{inside[0]}/" if len(inside) == 1 else ""

    def arrays(self, group: str) -> dict[str, dict[str, Any]]:
        """The descriptions of all arrays in a group, by name; the groups in it are looked into."""
        found: dict[str, dict[str, Any]] = {}
        for child in sorted({n.split("/")[0] for n in self._listed(group) if n.split("/")[0]}):
            name = f"{group}/{child}"
            about = self._described(name)
            if about is not None:
                found[name] = about
            elif name.count("/") < 8:
                found |= self.arrays(name)
        return found

    def _listed(self, group: str) -> list[str]:
        """Names below a group; of a folder only its children's."""
        if self._names is None:
            folder = self.path / group
            return [one.name for one in folder.iterdir()] if folder.is_dir() else []
        start = f"{group}/" if group else ""
        return [n.removeprefix(start) for n in self._names if n.startswith(start) and n != start]

    def _described(self, name: str) -> dict[str, Any] | None:
        """Shape, dtype and codecs of an array; None for what is none."""
        for file in _METADATA:
            text = self._text(f"{name}/{file}")
            if text is None:
                continue
            where = f"{self.path}, {name}/{file}"
            with damaged(where):
                content = parse_json(text)
                if content.get("node_type", "array") != "array":
                    return None
                shape = content["shape"]
                sides = isinstance(shape, list) and all(type(s) is int and s >= 0 for s in shape)
                if not sides:
                    raise DataError(f"{where}: shape is {shape}; it must be whole numbers")
                return {"shape": shape, **_numbers_of(content)}
        return None

    def _text(self, name: str) -> str | None:
        with damaged(f"{self.path}, {name}"):
            if self._names is None:
                file = self.path / name
                return file.read_text(encoding="utf-8") if file.is_file() else None
            if name not in self._names:
                return None
            with zipfile.ZipFile(self.path) as archive:
                return archive.read(name).decode("utf-8")


def _numbers_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """The dtype and the codecs, of a description in format 2 or 3."""
    if "zarr_format" in content and content["zarr_format"] == 3:
        codecs = [str(codec["name"]) for codec in content["codecs"]]
        return {"dtype": str(content["data_type"]), "codecs": codecs}
    both = (content["compressor"], *(content["filters"] or ()))
    codecs = [str(codec["id"]) for codec in both if codec]
    return {"dtype": str(content["dtype"]), "codecs": codecs}


def _feature(name: str, about: Mapping[str, Any], whole: bool) -> Feature:
    """An array under data; `whole` if one of them is called state."""
    shape, dtype = tuple(about["shape"][1:]), about["dtype"]
    kind = kind_of(name, shape, dtype)
    role, aside = role_of(name, kind)
    if whole and kind == "vector" and role == "observation" and name != "state":
        aside = "beside `state`"
    return Feature(name, shape, dtype, kind, role, aside, _lacking(about["codecs"]))


def _lacking(codecs: Sequence[str]) -> str:
    """Which codec is not installed, and the cure."""
    for codec in codecs:
        if not _known(codec):
            return (
                f"its codec {codec!r} is not registered: pip install imagecodecs, and call "
                "imagecodecs.numcodecs.register_codecs() before; or do without the array"
            )
    return ""


def _known(codec: str) -> bool:
    try:
        library("numcodecs", "a replay buffer").get_codec({"id": codec})
    except ValueError:  # zarr has some of its own
        try:
            library("zarr.registry", "a replay buffer").get_codec_class(codec)
        except (KeyError, ValueError):
            return False
    except Exception:  # it is there, and lacks its settings
        return True
    return True


def _checked_ends(where: str, ends: NDArray[Any]) -> NDArray[np.int64]:
    if ends.ndim != 1 or ends.dtype.kind not in "iu" or len(ends) == 0:
        raise DataError(f"{where}: is {ends.dtype} of shape {ends.shape}; it lists whole numbers")
    steps = np.diff(ends.astype(np.int64), prepend=0)
    if (steps < 0).any() or ends[-1] < 1:
        number = int(steps.argmin())
        raise DataError(
            f"{where}: episode {number} ends at {ends[number]} and has {steps[number]} steps; ends "
            "increase"
        )
    return ends.astype(np.int64)
