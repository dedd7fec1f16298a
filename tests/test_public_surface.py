"""The public names of every package, listed: adding or removing one is done here too.

Everything else is reached by the path of its module.
"""

import importlib
import inspect
import json
import re
from pathlib import Path

import pytest

SURFACE: dict[str, list[str]] = json.loads(
    Path(__file__).with_name("public_surface.json").read_text(encoding="utf-8")
)
API = Path(__file__).parents[1] / "docs" / "api"


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


def test_the_surface_is_small() -> None:
    assert sum(map(len, SURFACE.values())) <= 180
    assert all(len(names) <= 30 for names in SURFACE.values())
    assert len(SURFACE["scorefield"]) <= 15


def shown_in(page: Path) -> set[str]:
    """The objects that an API page shows, by the path of their module."""
    return set(re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("package", [name for name in SURFACE if name != "scorefield"])
def test_every_public_name_is_on_the_page_of_its_package(package: str) -> None:
    page = API / f"{package.removeprefix('scorefield.').replace('.', '-')}.md"
    module = importlib.import_module(package)
    expected = {name: getattr(module, name) for name in SURFACE[package]}
    shown = {}
    for path in shown_in(page):
        where, _, name = path.rpartition(".")
        shown[name] = getattr(importlib.import_module(where), name)
    assert sorted(shown) == sorted(expected), "list the name in docs/api as `::: module.name`"
    assert all(shown[name] is expected[name] for name in expected)


def test_the_root_is_on_the_first_page() -> None:
    text = (API / "index.md").read_text(encoding="utf-8")
    linked = dict(re.findall(r"\[`(\w+)`\]\[([\w.]+)\]", text))
    assert sorted(linked) == SURFACE["scorefield"]
    shown = set().union(*map(shown_in, API.glob("*.md")))
    assert set(linked.values()) <= shown
