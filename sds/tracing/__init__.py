"""Images redrawn as clean vector drawings: flat palette, opaque layers, few cubics.

`trace` is the way in: a `palette`, connected `regions`, their outlines as `curves`, moved by
`polish` until they are near to the image. `clean_file` writes what a designer opens, with
`colour_names`.
"""

from scorefield.lazy_names import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
