"""Every option of the command line says what it is, in a phrase of its own."""

import ast
import inspect
import textwrap
from dataclasses import fields
from itertools import pairwise

import pytest

from scorefield.cli.main import VERBS


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


@pytest.mark.parametrize("name", VERBS)
def test_help_texts_are_full_phrases(name: str) -> None:
    command = VERBS[name][0]()
    texts = {
        k: v for k, v in field_texts(command).items() if k in {f.name for f in fields(command)}
    }
    assert texts
    headless = {option: text for option, text in texts.items() if text.startswith(("Of ", "By "))}
    assert not headless
    assert len(set(texts.values())) == len(texts), "two options with one help text"
