"""Text to SVG: drawings distilled from a frozen prior.

`distillation` has the job. A `drawing` of one of the `styles` is traced from a sample (`trace`),
then looked at in views (`augmentation`) under `penalties`; `optimize` and `export` make the files,
and `evaluation` scores a list of prompts by an independent renderer.
"""

from scorefield.lazy_names import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
