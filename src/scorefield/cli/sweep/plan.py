"""The runs that a file asks for.

It names a command, options of all runs, and axes: each combination of their values is a run.

    command = "text-to-svg"

    [options]
    steps = 200

    [axes]
    prompt = ["a penguin", "a lighthouse"]
    seed = [0, 1, 2]
"""

import difflib
import hashlib
import itertools
import math
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

import tyro

from scorefield.cli.commands import COMMANDS

MOST = 100_000
"""Number of runs that one file may ask for."""

_OURS = ("out", "resume", "json", "quiet", "debug")
_PARTS = ("command", "options", "axes")
_LONGEST = 120  # letters of a run's folder


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep.

    name: of its folder, made of the values that tell it from the others.
    words: the command line after `scorefield`, without the folder.
    """

    name: str
    words: tuple[str, ...]

    def words_for(self, folder: Path, *, on_cpu: bool) -> list[str]:
        """The whole command line after `scorefield`; repeated, it goes on where it was.

        folder: of the run.
        on_cpu: whether it computes there, unless the file names a device.
        """
        device = ["--device", "cpu"] if on_cpu and "--device" not in self.words else []
        return [*self.words, *device, "--out", str(folder), "--resume", "--quiet"]

    def __str__(self) -> str:
        return shlex.join(("scorefield", *self.words))


class SweepFile:
    """What a file asks for.

    Attributes:
        path: of the file.
        name: of the command, such as "text-to-svg".
        command: the class whose fields are its options.
        runs: one for each combination of the axes' values, the last axis running fastest.
    """

    def __init__(self, path: Path) -> None:
        """Reads it.

        Raises:
            ValueError: it is no TOML, or asks for what cannot be; the key is named.
        """
        self.path = path
        asked = _read(path)
        self.name = self._command_name(asked)
        self.command = COMMANDS[self.name].load()
        self._fields = {_option(one.name): one for one in fields(self.command)}
        if self.name == "sweep" or not {"out", "resume"} <= self._fields.keys():
            raise ValueError(
                f"{path}: command: {self.name} makes no run that could be resumed; a sweep is of a "
                "command with --out and --resume, such as text-to-3d, text-to-svg or policy train"
            )
        hints = get_type_hints(self.command, include_extras=True)
        self._positional = [
            option
            for option, one in self._fields.items()
            if tyro.conf.Positional in getattr(hints[one.name], "__metadata__", ())
        ]
        options = self._table(asked, "options")
        axes = self._table(asked, "axes")
        for key in axes.keys() & options.keys():
            raise ValueError(f"{path}: {key} stands in [options] and in [axes]; give it once")
        self.runs = list(self._combined(options, axes))

    def _command_name(self, asked: Mapping[str, Any]) -> str:
        for part in asked:
            if part not in _PARTS:
                raise ValueError(
                    f"{self.path}: {part}: a sweep has {', '.join(_PARTS)}"
                    f"{_perhaps(part, _PARTS)}; options of the command go below [options]"
                )
        name = asked.get("command")
        if name not in COMMANDS:
            raise ValueError(
                f"{self.path}: command: {name!r} is none of scorefield's"
                f"{_perhaps(str(name), list(COMMANDS))}; scorefield --help lists them"
            )
        return str(name)

    def _table(self, asked: Mapping[str, Any], part: str) -> dict[str, Any]:
        """The entries of [options] or [axes], by the options' names."""
        table = asked.get(part, {})
        if not isinstance(table, dict):
            raise ValueError(f"{self.path}: {part}: give a table, [{part}], of options by name")
        try:
            entries = list(_flat(table))
        except RecursionError as error:
            raise ValueError(f"{self.path}: [{part}]: nested too deeply for options") from error
        found = {}
        for key, value in entries:
            option = _option(key)
            where = f"{self.path}: [{part}] {key}"
            if option in _OURS:
                raise ValueError(f"{where}: the sweep itself sees to --{option}; leave it out")
            if option.partition(".")[0] not in self._fields:
                raise ValueError(
                    f"{where}: {self.name} has no such option"
                    f"{_perhaps(option, list(self._fields))}; scorefield {self.name} --help lists "
                    "them"
                )
            if part == "axes" and (not isinstance(value, list) or not value):
                raise ValueError(f"{where}: an axis is a list of values, [1, 2]; got {value!r}")
            for one in value if part == "axes" else [value]:
                _check_value(one, where)
            if part == "axes" and len({str(one) for one in value}) < len(value):
                raise ValueError(f"{where}: a value comes twice; each would be the same run")
            found[option] = value
        return found

    def _combined(
        self, options: Mapping[str, Any], axes: Mapping[str, list[Any]]
    ) -> Iterator[PlannedRun]:
        count = math.prod(len(values) for values in axes.values())
        if count > MOST:
            raise ValueError(f"{self.path}: {count} runs are asked for; {MOST} may be")
        labels = [_labels(axis, values) for axis, values in axes.items()]
        chosen = itertools.product(*axes.values())
        for values, named in zip(chosen, itertools.product(*labels), strict=True):
            given = {**dict(zip(axes, values, strict=True)), **options}
            yield PlannedRun(_short("_".join(named)) or "run", tuple(self._words(given)))

    def _words(self, given: Mapping[str, Any]) -> Iterator[str]:
        """The command line; positional arguments first, for lists of options would take them."""
        yield from self.name.split()
        for option in self._positional:
            if option in given:
                value = given[option]
                yield from map(str, value if isinstance(value, list) else [value])
        for option, value in given.items():
            if option in self._positional:
                continue
            if isinstance(value, bool):
                if value != self._default(option):
                    yield f"--{option}" if value else f"--no-{option}"
            elif isinstance(value, list):
                yield from (f"--{option}", *map(str, value))
            else:
                yield from (f"--{option}", str(value))

    def _default(self, option: str) -> Any:
        one: Field[Any] | None = self._fields.get(option)
        return None if one is None else one.default


def check_runs(file: SweepFile, out: Path) -> None:
    """Refuse a run that could not begin, before any does.

    out: where the folders of the runs are.

    Raises:
        ValueError: the first that is refused, with the file and the command line.
    """
    from scorefield.cli.main import checked

    for run in file.runs:
        words = run.words_for(out / run.name, on_cpu=True)[len(file.name.split()) :]
        try:
            checked(file.command, words, f"scorefield {file.name}")
        except ValueError as error:
            raise ValueError(f"{file.path}: {run}: {error}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: no TOML ({error}); see docs/sweep.md for an example") from error


def _flat(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Entries by their whole names: levels.low = 1 is the option --levels.low."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _check_value(value: Any, where: str) -> None:
    for one in value if isinstance(value, list) else [value]:
        if not isinstance(one, bool | int | float | str):
            raise ValueError(f"{where}: give a text, a number, true or false, or a list of them")


def _option(name: str) -> str:
    return name.replace("_", "-")


def _perhaps(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, 1)
    return f", perhaps you meant {near[0]}" if near else ""


def _labels(axis: str, values: Sequence[Any]) -> list[str]:
    """What folders call the values of an axis: the words of a text, the name of a number."""
    found = []
    for value in values:
        slug = "-".join(re.findall(r"[^\W_]+", str(value).lower()))
        if isinstance(value, bool):
            slug = axis if value else f"no-{axis}"
        elif not isinstance(value, str):
            slug = f"{axis}-{'-'.join(map(str, value)) if isinstance(value, list) else value}"
        found.append(slug)
    return [
        slug if slug and found.count(slug) == 1 else f"{slug or axis}-{_digest(str(value))}"
        for slug, value in zip(found, values, strict=True)
    ]


def _short(name: str) -> str:
    """A name that any file system takes."""
    if len(name.encode()) <= _LONGEST:
        return name
    return f"{name.encode()[: _LONGEST - 9].decode(errors='ignore')}-{_digest(name)}"


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
