"""The procedural world, with ground truth: rendered objects, and clips of moving shapes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
