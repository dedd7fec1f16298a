"""No module reaches itself by imports; those in functions and under TYPE_CHECKING are counted too.

import-linter keeps the rooms in layers and does not look inside them.
"""

import ast
import os
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src"


def sources(root: Path) -> dict[str, str]:
    """The text of every module under a folder, links to folders followed, by its full name."""
    found = {}
    for folder, _, files in os.walk(root / "scorefield", followlinks=True):
        for file in files:
            if file.endswith((".py", ".pyi")):
                path = Path(folder, file)
                parts = path.relative_to(root).with_suffix("").parts
                name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
                # a package says in its stub which module each of its names is from
                found[name + ".pyi" if file.endswith(".pyi") else name] = path.read_text("utf-8")
    return found


def names_of(stub: str, package: str) -> dict[str, str]:
    """The modules that a package's names are from, by their full names."""
    froms = (node for node in ast.walk(ast.parse(stub)) if isinstance(node, ast.ImportFrom))
    return {f"{package}.{a.name}": f"{package}.{node.module}" for node in froms for a in node.names}


def imported(text: str, modules: Mapping[str, str], names: Mapping[str, str]) -> Iterator[str]:
    """What a module imports of `modules`, wherever in its text."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            full = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            full = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in full:
            target = names.get(name, name)
            yield from (m for m in (target, target.rpartition(".")[0]) if m in modules)


def circle_in(texts: Mapping[str, str]) -> list[str] | None:
    """Modules of a circle of imports, the first one once more at the end; None if there is none."""
    modules = {name: text for name, text in texts.items() if not name.endswith(".pyi")}
    names: dict[str, str] = {}
    for name, text in texts.items():
        if name.endswith(".pyi"):
            names |= names_of(text, name.removesuffix(".pyi"))
    graph = {
        name: {other for other in imported(text, modules, names) if other != name}
        for name, text in modules.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        return circle
    return None


def test_no_module_imports_itself_in_the_end() -> None:
    texts = sources(ROOT)
    assert len(texts) > 200 and "scorefield.priors.denoiser" in texts
    assert circle_in(texts) is None


@pytest.mark.parametrize(
    "back",
    [
        "from scorefield.a import A",
        "import scorefield.a",
        "def f():\n    from scorefield.a import A",
        "if TYPE_CHECKING:\n    from scorefield import a",
        "if TYPE_CHECKING:\n    from scorefield import A",
    ],
)
def test_a_circle_is_found_wherever_its_imports_stand(back: str) -> None:
    texts = {
        "scorefield": "",
        "scorefield.pyi": "from .a import A as A",
        "scorefield.a": "from scorefield.b import B",
        "scorefield.b": "import torch",
    }
    assert circle_in(texts) is None
    circle = circle_in(texts | {"scorefield.b": back})
    assert circle is not None and set(circle) == {"scorefield.a", "scorefield.b"}
