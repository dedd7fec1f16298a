"""What all commands share: their options, their outcome, and the checks before anything starts."""

import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_type_hints

import tyro

from scorefield.domains import Count, Whole

IMAGES = (".png", ".jpg", ".jpeg", ".webp")
"""Suffixes of the images that are written."""

VIDEOS = (".gif", ".mp4")
"""Suffixes of the videos that are written."""


class Failed(Exception):
    """The work had started when it failed."""


@contextmanager
def under_way() -> Iterator[None]:
    """Inside, a ValueError no longer means that something was refused before starting.

    That the folder of a run was refused still does.
    """
    try:
        yield
    except ValueError as error:
        from scorefield.runs.folder import RunFolderError

        if isinstance(error, RunFolderError):
            raise
        raise Failed(" ".join(str(error).split())) from error


@contextmanager
def notes() -> Iterator[None]:
    """Inside, what the user is warned of is kept, and then told in a line each, once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for message in dict.fromkeys(str(warning.message) for warning in caught):
        note(message)


def note(message: str) -> None:
    """Tell the user of something that stops nothing, now."""
    print(f"scorefield: note: {message}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Outcome:
    """What a command has done.

    metrics: JSON values, for --json.
    lines: the same for people.
    problem: what is missing, if it was done in part.
    """

    metrics: dict[str, Any]
    lines: list[str]
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command: its options are its fields."""

    typed: ClassVar[frozenset[str]] = frozenset()
    """Names of the options that were given on the command line, with their defaults or others."""

    seed: Whole = 0
    """Seed of all random numbers."""
    device: str = "auto"
    """Device to compute on: cpu, cuda, cuda:1, mps (it has no float64, which some commands need);
    auto is cuda if there is one, else cpu."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision inside the networks."""
    json: bool = False
    """Print one JSON object of results, and nothing else, on standard output."""
    quiet: bool = False
    """Show no progress."""
    unverified: bool = False
    """Load weights even if they differ from the checksums in their folder."""
    debug: bool = False
    """Show the traceback of an error."""

    def check(self) -> None:
        """Refuse words that contradict each other, before any file is looked for.

        Raises:
            ValueError: they do.
        """

    def run(self) -> Outcome:
        """Do it.

        Raises:
            ValueError: it is refused, nothing was started.
            Failed: it went wrong on the way.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class PriorCommand(Command):
    """A command that needs a prior."""

    bfloat16_on_cpu: ClassVar[bool] = False
    """Whether a dtype of "auto" is bfloat16 on CPUs that multiply it."""

    prior: str = "shapes"
    """An embedded prior, a folder in diffusers' format, a file (with --configs), or a hub id."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"  # type: ignore[assignment]
    """Precision inside the networks; auto is the family's 16 bits on cuda, and on a CPU float32,
    but bfloat16 for what is distilled if it has matrix units (AMX)."""
    variant: str | None = None
    """Variant of the weights, such as fp16; None takes the plain ones, or those there are."""
    configs: Path | None = None
    """For a --prior in one .safetensors file: folder with the configs and tokenizers of the model
    it was trained from."""
    image_size: Count | None = None
    """Side of the prior's images, pixels; None takes what the prior was trained on."""
    scheduler: str | None = None
    """Class of diffusers to sample along, such as UniPCMultistepScheduler; None takes the
    prior's own."""
    lora: tuple[Path, ...] = ()
    """LoRA files, or folders with one each, whose updates are added to the prior."""
    lora_weights: tuple[float, ...] = ()
    """Strength of each LoRA; none is 1 for all."""
    controlnet: Path | None = None
    """Folder with a ControlNet for the prior; it needs --control-image."""
    control_image: Path | None = None
    """Image the ControlNet is shown: edges, depth or a pose, as it was trained on."""
    control_scale: float = 1.0
    """Strength of the ControlNet; 0 is the prior without it."""
    low_memory: bool = False
    """Keep text encoders on the CPU and work in slices and tiles; slower, for small cards."""
    compile: bool = False
    """Compile the network with torch.compile: minutes before the first step, faster ones after."""

    def check_scale(self) -> None:
        """Refuse a guidance scale of 0, which means two things.

        Raises:
            ValueError: the scale is 0.
        """
        if getattr(self, "scale", None) == 0:
            raise ValueError(
                "--scale 0 would leave the prompt out; no guidance, which turbo models want "
                "and other tools call 0, is --scale 1; without --scale a prior takes its own"
            )


def check_at_least(least: int, **numbers: int) -> None:
    """Refuse numbers that are too small."""
    for name, number in numbers.items():
        if number < least:
            option = name.replace("_", "-")
            raise ValueError(f"--{option} must be at least {least}; got {number}")


def check_unused(command: Command, reader: str, *names: str) -> None:
    """Refuse options that are given, with other values than their defaults, and would be ignored.

    reader: what does not read them, such as "--method kmeans".
    """
    for one in fields(command):
        if one.name in names and getattr(command, one.name) != one.default:
            option = one.name.replace("_", "-")
            raise ValueError(f"--{option} is not used by {reader}; leave it out")


def check_prompt(prompt: str) -> None:
    """Refuse an empty prompt."""
    if not prompt.strip():
        raise ValueError("the prompt is empty; say what to make, such as 'a red mushroom'")


def check_template(template: str, of: str = "label") -> None:
    """Refuse a template of prompts without a place for a name."""
    if "{}" not in template:
        raise ValueError(f"--template must hold {{}}, the {of}'s place; got {template!r}")


def check_image_path(path: Path, suffixes: Sequence[str] = IMAGES) -> None:
    """Refuse to write an image, or a video, to a path where that is bound to fail."""
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"--out must end in one of {', '.join(suffixes)}; got {path}")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; --out must name a file")
    _check_writable(path.parent)


def check_folder(path: Path, resume: bool | None = None) -> None:
    """Refuse a folder that cannot be written or, unless resuming, that holds something.

    resume: None for a command that has no --resume.
    """
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is a file; --out must name a folder")
    if path.is_dir() and any(path.iterdir()) and not resume:
        goes_on = "" if resume is None else ", or --resume what was begun there"
        raise ValueError(f"{path} is not empty; choose another folder{goes_on}")
    _check_writable(path)


def _check_writable(folder: Path) -> None:
    """Refuse a folder that could not be made or written; makes nothing."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise ValueError(f"cannot write in {folder}: {there} is a file; choose another folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"cannot write in {folder}: no permission; choose another folder")


def check_files(command: Command) -> None:
    """Refuse files and folders to read that are not there: every path but --out is read."""
    for one in fields(command):
        given = getattr(command, one.name)
        for path in given if isinstance(given, tuple | list) else (given,):
            if isinstance(path, Path) and one.name != "out" and not path.exists():
                called = _called(one.name, command)
                raise ValueError(f"{path}: there is no such file; {called} must name one to read")


def _called(name: str, command: Command) -> str:
    """How --help calls a field: an option by its name, a positional argument by its metavar."""
    hints = get_type_hints(type(command), include_extras=True)
    said = getattr(hints[name], "__metadata__", ())
    if tyro.conf.Positional not in said:
        return f"--{name.replace('_', '-')}"
    metavars = (getattr(one, "metavar", None) for one in said)
    return next((one for one in metavars if one is not None), name.upper())


def options_of(
    settings: type[Any], *leave_out: str, defaults: Any = None
) -> list[tuple[str, Any, Any]]:
    """The fields of a settings class for `make_dataclass`, with help from its docstring.

    The docstring, or a base's, describes them as "name: what it is", a description that goes on
    being indented. Defaults are the class's, or those of an instance.
    """
    helps: dict[str, str] = {}
    described = r"^ {0,4}(\w+): (.+(?:\n {5,}.+)*)"
    for cls in reversed(settings.__mro__):
        for name, words in re.findall(described, cls.__doc__ or "", re.MULTILINE):
            helps[name] = " ".join(words.split())
    options = []
    for one in fields(settings):
        if one.name in leave_out:
            continue
        # A new field: making a dataclass of the old one would change it.
        default: Any = (
            field(default=one.default, default_factory=one.default_factory)
            if defaults is None
            else field(default=getattr(defaults, one.name))
        )
        text = helps.get(one.name, "")
        help_of = tyro.conf.arg(help=text[:1].upper() + text[1:])
        options.append((one.name, Annotated[one.type, help_of], default))
    return options
