"""The public names of every package, listed: adding or removing one is done here too."""

import importlib
import inspect
import json
from pathlib import Path

import pytest

SURFACE: dict[str, list[str]] = json.loads(
    Path(__file__).with_name("public_surface.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("package", SURFACE)
def test_all_names_are_the_listed_ones(package: str) -> None:
    module = importlib.import_module(package)
    names = getattr(module, "__all__", [])
    assert sorted(names) == SURFACE[package]
    for name in names:
        assert hasattr(module, name), f"{package}.__all__ names {name}, which is not there"


@pytest.mark.parametrize("package", SURFACE)
def test_public_names_have_docstrings(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__doc__
    for name in SURFACE[package]:
        thing = getattr(module, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert thing.__doc__, f"{package}.{name} has no docstring"
