"""Vector graphics: SVG documents and a differentiable rasteriser for them, in plain torch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
