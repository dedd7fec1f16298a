"""Every command that a page names can be typed: it exists, and takes the options it is given."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from scorefield.cli.commands import COMMANDS
from scorefield.cli.main import _parse

ROOT = Path(__file__).parents[1]
PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "benchmarks").rglob("*.md"),
    *(ROOT / "priors" / "weights").rglob("*.md"),
    *(ROOT / "benchmarks").rglob("*.py"),  # a script begins with its command
    *(ROOT / "examples").glob("*.py"),
]

_BLOCK = re.compile(r"^```(?:sh|bash|console)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`]+)`")
_COMMAND = re.compile(r"(?:[A-Z_]+=\S+ )*(?=scorefield [a-z]|python benchmarks/)")


def commands(lines: list[str]) -> Iterator[tuple[str, ...]]:
    """The words of the lines that are commands, without comments."""
    for line in lines:
        found = _COMMAND.match(line)
        if found is not None and "import" not in line and "|" not in line:
            yield tuple(shlex.split(line[found.end() :].translate({91: None, 93: None}), True))


def shown(text: str) -> set[tuple[str, ...]]:
    """Commands in blocks and indented lines, which are whole."""
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    lines += [line for block in _BLOCK.findall(text) for line in block.splitlines()]
    return set(commands(lines))


def mentioned(text: str) -> set[tuple[str, ...]]:
    """Commands with options inside of sentences, which may leave out what they need."""
    found = (" ".join(one.split()) for one in _INLINE.findall(_BLOCK.sub("", text)))
    return set(commands([one for one in found if "--" in one]))


TEXTS = {page: page.read_text(encoding="utf-8").replace("\\\n", " ") for page in PAGES}
SHOWN = set().union(*map(shown, TEXTS.values()))
MENTIONED = set().union(*map(mentioned, TEXTS.values()))


def problem_of(words: tuple[str, ...]) -> str | None:
    """What the command line has against a command, its files aside."""
    rest = words[1:]
    names = [" ".join(rest[:count]) for count in (1, 2)]
    name = next((name for name in names if name in COMMANDS), None)
    if name is None:
        return f"there is no command {names[0]}"
    try:
        _parse(COMMANDS[name].load(), rest[len(name.split()) :], f"scorefield {name}")
    except ValueError as error:
        return str(error)
    return None


def test_commands_of_the_pages_parse() -> None:
    ours = sorted(words for words in SHOWN if words[0] == "scorefield")
    assert len(ours) > 60
    assert {" ".join(words): said for words in ours if (said := problem_of(words))} == {}


def test_options_in_sentences_are_those_of_the_command() -> None:
    ours = sorted(words for words in MENTIONED if words[0] == "scorefield")
    assert len(ours) > 10
    said = {" ".join(words): problem_of(words) or "Missing" for words in ours}
    incomplete = ("Missing", "Error parsing")  # LOW HIGH stand for numbers
    assert {name: why for name, why in said.items() if not why.startswith(incomplete)} == {}


def test_a_lost_command_or_option_is_found() -> None:
    assert problem_of(("scorefield", "sample", "a cup", "--out", "x.png", "--hue", "3")) is not None
    assert problem_of(("scorefield", "paint", "a cup")) == "there is no command paint"


def test_scripts_of_the_pages_are_there_with_their_options() -> None:
    scripts = sorted(words[1:] for words in SHOWN | MENTIONED if words[0] == "python")
    assert len(scripts) > 20
    shared = (ROOT / "src/scorefield/cli/command.py").read_text(encoding="utf-8")
    for script, *words in scripts:
        path = ROOT / script
        assert path.is_file(), f"there is no {script}"
        beside = "".join(one.read_text(encoding="utf-8") for one in path.parent.glob("*.py"))
        text = path.read_text(encoding="utf-8")
        text = text if "ArgumentParser" in text else text + beside + shared
        for option in (word[2:] for word in words if word.startswith("--")):
            field = rf"^ +{option.replace('-', '_')}:"
            assert f'"--{option}"' in text or re.search(field, text, re.MULTILINE), (
                f"{script} has no option --{option}"
            )
