"""Names of a package, imported when first used; a misspelt one is answered by its neighbour."""

import difflib
import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import lazy_loader


def attach(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], Any]:
    """`__getattr__`, `__dir__` and `__all__` of a package whose names stand in its stub.

    Modules and packages inside are names too, as after an import of them.

    Args:
        package: `__name__` of the package.
        file: its `__file__`, beside which the stub lies.
    """
    public_name, names, listed = lazy_loader.attach_stub(package, file)

    def attribute(name: str) -> Any:
        if name in listed:
            return public_name(name)
        inside = not name.startswith("_")
        if inside and importlib.util.find_spec(f"{package}.{name}"):
            return importlib.import_module(f"{package}.{name}")
        near = difflib.get_close_matches(name, listed, 1) if inside else []
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise AttributeError(f"module {package!r} has no attribute {name!r}{hint}")

    return attribute, names, listed
