"""Score distillation: generators optimised along the score of a frozen prior.

`objective` and `objectives` make a gradient of a prior; `distillation` puts one behind any images.
`nerf` (objects in space), `svg` (drawings) and `image_distillation` are generators, and
`ModuleDistillation` takes yours; `scorefield.runs.run` runs them all. `presets` holds published
settings, `vector` and `tracing` are a rasteriser and a tracer of drawings, `edit` changes images.
"""

from scorefield.lazy_names import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
