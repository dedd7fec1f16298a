"""The distillation objectives besides SDS: see docs/objectives.md for which does what.

`differences` of predictions, `inversion` along the field, `variational` with its `particle_score`,
and those for `editing` an image.
"""

from scorefield.lazy_names import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
