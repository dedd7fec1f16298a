"""A frozen diffusion prior is a score field; this library makes such fields and follows them.

The packages have the names; a few of them are here, imported when first used. Beside them: files
and images, intervals, rows, locks, checksums, hubs, domains of numbers, names of views; and the
rooms runs, training, world, gallery and cli.
"""

from typing import Any

import lazy_loader

__version__ = "0.1.0"

_public_name, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    """A public name, or a package of the library, imported when first used."""
    import importlib.util

    if name in __all__:
        return _public_name(name)
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if importlib.util.find_spec(f"{__name__}.{name}"):
        return importlib.import_module(f"{__name__}.{name}")
    import difflib

    near = difflib.get_close_matches(name, __all__, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")
