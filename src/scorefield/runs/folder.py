"""A run is a folder that can be killed at any moment and resumed.

    config.json          what the run was asked for, and the version that ran it
    metrics.jsonl        one line of metrics per step, without times
    previews/000050.png  images after that many steps
    checkpoint/          state.safetensors (the tensors) and state.json (their structure)

Final assets are written beside these by whoever started the run.
"""

import json
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import scorefield
from scorefield.files import RUN_VERSION, parse_json, part_path, whole_file
from scorefield.locks import Lock, lock_folder
from scorefield.rows import first_difference

FREE_KEYS = frozenset(
    {"steps", "preview_every", "checkpoint_every", "progress", "resume", "out", "json", "quiet"}
    | {"debug", "unverified"}
)
"""Settings that may change when a run is resumed, because no result depends on them."""

_CONFIG_PART = part_path("config.json").name  # what a run killed at once leaves


class RunFolderError(ValueError):
    """A folder that a run cannot use; nothing was begun in it."""


class RunFolder:
    """The folder of one run, made by :meth:`create`.

    Attributes:
        path: The folder.
        config: The settings of the run, as JSON values.
    """

    def __init__(self, path: Path, config: Mapping[str, Any]) -> None:
        self.path = path
        self.config = dict(config)
        self._lock: Lock | None = None

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        config: Mapping[str, Any],
        resume: bool = False,
        free: Collection[str] = FREE_KEYS,
    ) -> "RunFolder":
        """Makes the folder, or opens it again.

        Args:
            path: The folder. New or empty, unless resuming.
            config: The settings as JSON values, saved in ``config.json``.
            resume: Continue a run that is there with the same settings. A folder that is missing
                or empty is started from the beginning, so that one command can be repeated until
                the run is done.
            free: Settings that may differ on resuming; those inside a group are named ``a.b``.

        Raises:
            RunFolderError: The folder holds something else, cannot be written, or was made with
                other settings (the first that differs is named, with both values).
            ValueError: Another process uses it.
        """
        path = Path(path)
        settings = _as_json(config)
        if path.exists() and not path.is_dir():
            raise RunFolderError(f"{path} is a file; a run needs a folder: choose another one")
        # A kill before the first config.json was whole leaves only its beginning.
        occupied = path.is_dir() and any(entry.name != _CONFIG_PART for entry in path.iterdir())
        if occupied and not resume:
            raise RunFolderError(
                f"{path} is not empty; choose another folder, or resume its run "
                "(--resume; resume=True in Python)"
            )
        if occupied:
            saved = _read_config(path)
            if (difference := first_difference(saved, settings, free)) is not None:
                key, before, now = difference
                raise RunFolderError(
                    f"{path} was made with {key} = {before}, now {key} = {now}; "
                    "resume with the same settings or choose another folder"
                )
        folder = cls(path, settings)
        try:
            folder._lock = lock_folder(path)
            folder._write_config()
        except OSError as error:
            raise RunFolderError(
                f"cannot write in {path} ({error.strerror}); choose another folder"
            ) from error
        return folder

    def write_row(self, step: int, metrics: Mapping[str, float]) -> None:
        """Appends the metrics of one step to ``metrics.jsonl`` and flushes them.

        Args:
            step: The step, from 0.
            metrics: Finite numbers by name; ``step`` is not a name.

        Raises:
            ValueError: A metric is not finite, or is called ``step``.
        """
        if "step" in metrics:
            raise ValueError("a metric cannot be called 'step'; give it another name")
        row = {"step": step, **{name: float(metric) for name, metric in metrics.items()}}
        line = json.dumps(row, sort_keys=True, allow_nan=False)
        with self._metrics.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def truncate_metrics(self, step: int) -> None:
        """Drops the rows from ``step`` on, and a last row that was cut short by a kill."""
        if not self._metrics.exists():
            return
        kept = 0
        with self._metrics.open("r+b") as file:
            for line in file:
                row_step = _row_step(line)
                if row_step is None or row_step >= step:
                    break
                kept += len(line)
            file.truncate(kept)

    def preview_path(self, step: int) -> Path:
        """Where the image after ``step`` steps goes; its folder exists after the call."""
        previews = self.path / "previews"
        previews.mkdir(exist_ok=True)
        return previews / f"{step:06d}.png"

    def save_checkpoint(self, step: int, state: Mapping[Any, Any]) -> None:
        """Replaces the checkpoint; killed at any point, the old or the new one is there whole.

        The new checkpoint is written beside the old one and synchronised to the disk, then the two
        are renamed. The rows of ``metrics.jsonl`` are synchronised first, so that a checkpoint
        never knows more steps than the metrics.

        Args:
            step: How many steps are done.
            state: Nested dicts (string or integer keys), lists and tuples of tensors of any dtype
                and JSON values. Tensors that share memory are saved apart.

        Raises:
            ValueError: The state holds something else; the entry is named.
        """
        tensors: dict[str, Tensor] = {}
        structure = {"step": step, "state": _encode(state, "state", tensors)}
        self._recover()
        shutil.rmtree(self._new, ignore_errors=True)
        self._new.mkdir()
        save_file(tensors, self._new / "state.safetensors")
        (self._new / "state.json").write_text(json.dumps(structure), encoding="utf-8")
        for path in (self._new / "state.safetensors", self._new / "state.json", self._new):
            _sync(path)
        if self._metrics.exists():
            _sync(self._metrics)
        if self._checkpoint.exists():
            os.rename(self._checkpoint, self._old)
        os.rename(self._new, self._checkpoint)
        _sync(self.path)
        shutil.rmtree(self._old, ignore_errors=True)

    def load_checkpoint(self) -> tuple[int, dict[Any, Any]] | None:
        """Reads the last checkpoint, tensors on the CPU.

        Returns:
            The number of steps done and the state as it was saved; None when there is none.

        Raises:
            ValueError: The checkpoint's files are damaged.
        """
        self._recover()
        if not self._checkpoint.exists():
            return None
        try:
            text = (self._checkpoint / "state.json").read_text(encoding="utf-8")
            structure = parse_json(text)
            tensors = load_file(self._checkpoint / "state.safetensors")
            return structure["step"], _decode(structure["state"], tensors)
        except Exception as error:
            raise ValueError(
                f"{self._checkpoint} cannot be read ({error}); "
                "delete that folder to start the run again from its first step"
            ) from error

    def _recover(self) -> None:
        """Ends a replacement that was interrupted between its renames."""
        if not self._checkpoint.exists() and self._old.exists():
            # The old one is moved away only once the new one is whole.
            os.rename(self._new if self._new.exists() else self._old, self._checkpoint)
        if self._checkpoint.exists():
            shutil.rmtree(self._old, ignore_errors=True)

    def _write_config(self) -> None:
        content = {**self.config, RUN_VERSION: scorefield.__version__}
        with whole_file(self.path / "config.json") as part:
            part.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
            _sync(part)

    @property
    def _metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def _checkpoint(self) -> Path:
        return self.path / "checkpoint"

    @property
    def _new(self) -> Path:
        return self.path / "checkpoint-new"

    @property
    def _old(self) -> Path:
        return self.path / "checkpoint-old"


def _as_json(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as they would be read back, so that they compare equal to saved ones."""
    if RUN_VERSION in config:
        raise ValueError(f"a setting cannot be called {RUN_VERSION!r}; give it another name")
    try:
        settings: dict[str, Any] = json.loads(json.dumps(dict(config), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(f"the settings of a run must be JSON values: {error}") from error
    return settings


def _read_config(path: Path) -> dict[str, Any]:
    file = path / "config.json"
    try:
        settings = parse_json(file.read_text(encoding="utf-8"))
        if not isinstance(settings, dict):
            raise ValueError("it holds no settings")
    except FileNotFoundError as error:
        raise ValueError(
            f"{path} has no config.json, so it is not a run that can be resumed; "
            "choose another folder"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is damaged ({error}); choose another folder") from error
    settings.pop(RUN_VERSION, None)
    return settings


def _row_step(line: bytes) -> int | None:
    """The step of a whole row; None for one that was cut short."""
    if not line.endswith(b"\n"):
        return None
    try:
        return int(parse_json(line)["step"])
    except (ValueError, KeyError, TypeError):
        return None


# JSON has no integer keys and no tuples, and optimiser states have both: every container is
# written with its kind, and every tensor as its name in the safetensors file.


def _encode(value: Any, where: str, tensors: dict[str, Tensor]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        plain = value.detach()
        kind = "tensor"
        if plain.is_complex():  # safetensors has no complex128
            plain, kind = torch.view_as_real(plain.resolve_conj()), "complex"
        name = f"{len(tensors)}:{where}"  # {1: ..., "1": ...} would share the path alone
        tensors[name] = plain.cpu().contiguous().clone()
        return {kind: name}
    if isinstance(value, Mapping):
        for key in value:
            if isinstance(key, bool) or not isinstance(key, str | int):
                raise ValueError(f"{where} has the key {key!r}; keys are strings or integers")
        pairs = [[key, _encode(item, f"{where}.{key}", tensors)] for key, item in value.items()]
        return {"dict": pairs}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        items = [_encode(item, f"{where}.{index}", tensors) for index, item in enumerate(value)]
        return {kind: items}
    raise ValueError(
        f"{where} is a {type(value).__name__}; a state holds tensors, numbers, strings, None, "
        "dicts, lists and tuples"
    )


def _decode(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content].clone()  # apart from the file, which may be replaced
    if kind == "complex":
        return torch.view_as_complex(tensors[content].clone())
    if kind == "dict":
        return {key: _decode(item, tensors) for key, item in content}
    items = [_decode(item, tensors) for item in content]
    return items if kind == "list" else tuple(items)


def _sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
