"""Every option of the command line says what it is, in a phrase of its own."""

import argparse
import ast
import inspect
import re
import subprocess
import sys
import textwrap
from dataclasses import fields
from itertools import pairwise

import pytest
import tyro

from scorefield.cli.commands import COMMANDS


def field_texts(command: type) -> dict[str, str]:
    """The docstrings under the fields of a command's classes."""
    texts: dict[str, str] = {}
    for cls in reversed(command.__mro__[:-1]):
        if not cls.__module__.startswith("scorefield"):
            continue
        try:
            body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body
        except (OSError, TypeError):  # a class made by make_dataclass has no source
            continue
        for node, after in pairwise(body):
            if isinstance(node, ast.AnnAssign) and isinstance(after, ast.Expr):
                texts[node.target.id] = str(after.value.value)
    return texts


@pytest.mark.parametrize("name", COMMANDS)
def test_help_texts_are_full_phrases(name: str) -> None:
    command = COMMANDS[name].load()
    texts = {
        k: v for k, v in field_texts(command).items() if k in {f.name for f in fields(command)}
    }
    assert texts
    headless = {option: text for option, text in texts.items() if text.startswith(("Of ", "By "))}
    assert not headless
    assert len(set(texts.values())) == len(texts), "two options with one help text"


_NAMES = ("ddim ", "edit-friendly: ", "icon: ", "sdedit: ")
"""Help that begins with the name of a choice, which is as it is typed."""


def shown(name: str) -> dict[str, str]:
    """What --help says of each option, those of nested settings too, without its default."""
    parser = tyro.extras.get_parser(COMMANDS[name].load())
    helps = {}
    for action in parser._actions:
        if not isinstance(action, argparse._HelpAction):
            text = re.sub(
                r"\((default|required|optional|repeatable).*$", "", str(action.help or "")
            )
            helps["/".join(action.option_strings) or action.dest] = " ".join(text.split())
    return helps


@pytest.mark.filterwarnings("ignore:get_parser:DeprecationWarning")
@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_help_text_of_its_own(name: str) -> None:
    helps = shown(name)
    assert {option for option, text in helps.items() if len(text) < 12} == set()
    headless = ("Of ", "What ", "Their ", "By ", "To ", "Whose ")
    assert [text for text in helps.values() if text.startswith(headless)] == []
    small = [text for text in helps.values() if text[0].islower() and "show this help" not in text]
    assert [text for text in small if not text.startswith(_NAMES)] == []
    repeated = [text for text in helps.values() if list(helps.values()).count(text) > 1]
    assert not repeated
    assert not [option for option in helps if option.endswith("--guidance")], "it is --scale"


def test_no_help_loads_torch() -> None:
    """Help answers at once: what a command shows is set in modules without torch."""
    script = textwrap.dedent("""
        import contextlib, io, sys
        from scorefield.cli.commands import COMMANDS
        from scorefield.cli.main import main

        for words in [[], *(name.split() for name in COMMANDS)]:
            with contextlib.redirect_stdout(io.StringIO()) as told:
                assert main([*words, "--help"]) == 0
            assert "usage: scorefield" in told.getvalue()
            heavy = {"torch", "numpy", "jaxtyping", "diffusers"} & set(sys.modules)
            assert not heavy, f"{words} loads {heavy}"
    """)
    subprocess.run([sys.executable, "-c", script], check=True)
