"""Vector graphics: SVG documents and a differentiable rasteriser for them, in plain torch.

It imports nothing else of this package. `reading` takes files apart into the `nodes` of a
`document`; `scene` makes painted polygons of it (geometry, stroke, dash, flatten, paint), whose
exact areas (coverage) `render` lays over each other, tile by tile; `svg_write` is the way back.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
