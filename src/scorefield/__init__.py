"""A frozen diffusion prior is a score field; this library makes such fields and follows them.

The packages have the names; a few of them are here, imported when first used. Beside them: files
and images, intervals, rows, locks, checksums, hubs, domains of numbers, names of views; and the
rooms runs, training, world, gallery and cli.
"""

from scorefield.lazy_names import attach

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = attach(__name__, __file__)
