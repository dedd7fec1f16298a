"""Random command lines: words as people mistype them, numbers that mean nothing, files of any kind.

Options and their types are read from the commands themselves, so that a new one is drilled too.
"""

import dataclasses
import random
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from material import places_of

from scorefield.cli.commands import COMMANDS
from scorefield.cli.main import main

NUMBERS = ("nan", "inf", "-inf", "-1", "0", "1", "2", "0.5", "1e-30", "1e30", "-0.0", "1e400")
HUGE = ("99999999999999999999", "2147483648", "1000000")
TEXT = (
    "",
    " ",
    "a red cup",
    "--",
    "-",
    "é😀",
    "None",
    "true",
    "a" * 300,
    "{}",
    "a,b",
    "../x",
    "%s",
)

FETCHES = ("train-prior icons", "nerfstudio train", "nerfstudio export")
"""Commands that need npm and a network, or nerfstudio, and are parsed alone."""

TINY: dict[str, str] = {
    "sample": "red -n 1 --steps 1",
    "compose": "red blue -n 1 --steps 2",
    "edit": "IMAGE red --steps 2",
    "invert": "IMAGE --steps 2",
    "text-to-video": "red --prior motion-narrow -n 1 --steps 1",
    "text-to-svg": "red --steps 1 --trace-steps 1 --samples 1 --views 1 --size 32 --paths 2"
    " --render-size 32",
    "trace": "IMAGE",
    "classify": "IMAGE --labels red,blue --budget 4",
    "rank": "IMAGE --text red --draws 2",
    "segment": "IMAGE",
    "match": "IMAGE IMAGE2",
    "features": "IMAGE --ensemble 1",
    "energy": "IMAGE",
    "policy collect": "two-routes --episodes 1 --batch 1",
    "policy inspect": "DEMOS",
    "policy train": "DEMOS --steps 1 --batch-size 4 --width 8 --layers 1",
    "policy evaluate": "POLICY --env two-routes --episodes 1",
    "policy distill": "POLICY DEMOS --updates 2 --regression-updates 1 --fake-updates 1"
    " --batch-size 4",
    "policy export": "POLICY",
    "gallery": "RUNS",
    "sweep": "SWEEP --dry-run",
    "info": "PRIOR",
    "doctor": "",
    "text-to-3d": "red --steps 1 --views 1 --samples 8 --size 16 --render-size 16 --frames 1"
    " --mesh-resolution 8 --texture 32",
    "nerfstudio dataset": "SCENE --frames 1 --elevations 0 --size 8 --samples 8",
    "texture": "MESH red --steps 1 --views 1 --render-size 16 --frames 1 --texture 32",
    "seal": "COPY",
    "distill": "PRIOR --prompts PROMPTS --steps 1 --updates 1 --fake-updates 1 --batch-size 2",
    "evaluate prior": "-n 2 --steps 1 --renders 2 --judge JUDGE",
    "evaluate classifier": "--data imagefolder LABELLED --split val --budget 2 --template {}",
    "evaluate segmentation": "--data folder MASKED -k 2",
    "evaluate correspondence": "--data spair PAIRED",
    "evaluate text-to-3d": "--prompts PROMPTS --judge JUDGE --steps 1 --views 1 --samples 8"
    " --size 16 --render-size 16 --frames 1 --mesh-resolution 8 --texture 32 --azimuths 1",
    "evaluate text-to-svg": "--prompts PROMPTS --judge JUDGE --steps 1 --trace-steps 1 --samples 1"
    " --views 1 --size 32 --paths 2 --render-size 32",
    "train-prior judge": "--images 2 --steps 1",
    "train-prior digits": "--steps 1",
    "train-prior shapes": "--images 2 --steps 1 --codec-steps 1",
    "train-prior motion-broad": "--steps 1 --width 8",
    "train-prior pictures": "IMAGES --views 1 --steps 1 --codec-steps 1 --prior none",
    "train-prior motion-narrow": "--steps 1 --width 8",
}
"""Words that make each command that is run as small as can be; then some options are spoilt."""

TAKES_PRIOR = (
    "sample", "compose", "edit", "invert", "text-to-3d", "texture", "text-to-svg", "classify",
    "rank", "segment", "match", "features", "energy", "evaluate prior", "evaluate classifier",
    "evaluate segmentation", "evaluate correspondence",
)  # fmt: skip
"""Commands to which --prior of the material is added."""

OUT = {
    "sample": "out.png", "compose": "out.png", "edit": "out.png", "text-to-video": "out.gif",
    "trace": "out.svg", "segment": "out.png", "match": "out.png", "policy inspect": "out.png",
    "classify": "out.jsonl", "rank": "out.jsonl",
}  # fmt: skip
"""What --out names where it is no folder; `info` and `seal` have none."""


def _random_value(hint: Any, chance: random.Random, files: list[str], huge: bool) -> str:
    """For an option of a type: mostly of its kind, sometimes nonsense."""
    if chance.random() < 0.1:
        return chance.choice(TEXT)
    if get_origin(hint) is Literal and chance.random() < 0.8:
        return str(chance.choice(get_args(hint)))
    parts = {hint, *_parts(hint)}
    if parts & {int, float}:
        return chance.choice(NUMBERS + (HUGE if huge else ()))
    if Path in parts or chance.random() < 0.3:
        return chance.choice(files)
    return chance.choice(TEXT)


def _parts(hint: Any) -> set[Any]:
    return {part for one in get_args(hint) for part in ({one} | _parts(one))}


def _options(name: str) -> list[tuple[str, Any]]:
    command = COMMANDS[name].load()
    hints = get_type_hints(command, include_extras=True)
    # with --debug a traceback is what was asked for, with --watch no end
    names = [one.name for one in dataclasses.fields(command)]
    return [(name, hints[name]) for name in names if name not in ("debug", "watch")]


def _spoilt(name: str, chance: random.Random, files: list[str], huge: bool) -> list[str]:
    """One option with a value, right or wrong."""
    option, hint = chance.choice(_options(name))
    word = f"--{option.replace('_', '-')}"
    if hint is bool:
        return [chance.choice((word, word, f"--no{word[1:]}"))]
    values = [_random_value(hint, chance, files, huge) for _ in range(chance.choice((1, 1, 1, 2)))]
    return [f"{word}={values[0]}"] if chance.random() < 0.2 else [word, *values]


def parsed(number: int, chance: random.Random) -> str:
    """Parses a random command line in this process; the fault, if it ends other than in 0 or 2."""
    import io
    from contextlib import redirect_stderr, redirect_stdout

    name = chance.choice(list(COMMANDS))
    _idle(name)
    files = [str(path) for path in (Path.cwd(), Path(__file__), Path("nowhere/at/all"))]
    words = name.split()
    for _ in range(chance.choice((0, 1, 1, 2))):
        words.append(chance.choice([*TEXT, *files]))
    for _ in range(chance.randrange(5)):
        words += _spoilt(name, chance, files, huge=True)
    for _ in range(chance.choice((0, 0, 0, 1, 2))):
        words = _mistyped(words, chance)
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(words)
    lines = err.getvalue().splitlines()
    if code == 0 or (code == 2 and len(lines) == 1 and lines[0].startswith("scorefield: error: ")):
        return ""
    if code == 2 and err.getvalue().startswith("usage: "):
        return ""
    return f"{words}: ended with {code}: {err.getvalue()[-300:]}"


def _idle(name: str) -> None:
    """Makes a command of this process do nothing once it is parsed."""
    from scorefield.cli.command import Outcome

    COMMANDS[name].load().run = lambda self: Outcome({}, [])  # type: ignore[method-assign]


def _mistyped(words: list[str], chance: random.Random) -> list[str]:
    """A word lost, doubled, exchanged with its neighbour or with a letter too few or many."""
    if not words:
        return words
    at = chance.randrange(len(words))
    kind, word = chance.randrange(4), words[at]
    if kind == 0:
        return words[:at] + words[at + 1 :]
    if kind == 1:
        return [*words[:at], word, *words[at:]]
    if kind == 2:
        return [*words[:at], *reversed(words[at : at + 2]), *words[at + 2 :]]
    place = chance.randrange(len(word) + 1)
    changed = word[:place] + chance.choice(("", "x", "-", "=", " ")) + word[place + 1 :]
    return [*words[:at], changed, *words[at + 1 :]]


def words_to_run(
    number: int, chance: random.Random, material: Path, out: Path, spoilt: int = 2
) -> tuple[str, list[str]]:
    """A command that is run: its smallest words, with up to so many options spoilt."""
    name = list(TINY)[number % len(TINY)]
    places = places_of(material)
    files = [*places.values(), str(out / "nowhere")]
    words = [places.get(word, word) for word in TINY[name].split()]
    options = {option for option, _ in _options(name)}
    if name in TAKES_PRIOR or ("--prompts" in words and "distill" not in name):
        words += ["--prior", places["PRIOR"]]
    if "out" in options:
        words += ["--out", str(out / OUT.get(name, "out"))]
    for _ in range(chance.randrange(spoilt + 1)):
        words += _spoilt(name, chance, files, huge=False)
    if "quiet" in options and "--quiet" not in words:
        words.append("--quiet")
    return name, [*name.split(), *words]
