"""The procedural world, with ground truth: rendered objects, and clips of moving shapes.

`scenes` draws and renders objects (objects, builders) by exact ray casting (geometry); `clips` are
videos, with a reader that needs no network. `judge` is a classifier of the images, trained on
renders alone, whose weights lie beside it.
"""

from scorefield.lazy_names import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
