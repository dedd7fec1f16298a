"""Perception by a frozen prior: correspondence, segmentation, zero-shot classification.

Each job has a room: `classification`, `correspondence`, `segmentation`; `benchmarks` runs them on
published data sets. All take images of any size (resize) and a frozen prior as it is.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
