"""Vector graphics: SVG documents and a differentiable rasteriser for them, in plain torch.

It imports nothing else of this package. `reading` takes files apart into the `nodes` of a
`document`; `scene` makes painted polygons of it (geometry, stroke, dash, flatten, paint), whose
exact areas (coverage) `render` lays over each other, tile by tile; `svg_write` is the way back.
"""

from scorefield.lazy_names import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
