"""Perception by a frozen prior: correspondence, segmentation, zero-shot classification.

Each job has a room: `classification`, `correspondence`, `segmentation`; `benchmarks` runs them on
published data sets. All take images of any size (resize) and a frozen prior as it is.
"""

from scorefield.lazy_names import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
