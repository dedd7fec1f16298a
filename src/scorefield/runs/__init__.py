"""Run folders that resume to the same bits, the one optimisation loop, and the one way to run.

`folder` keeps a run, `loop` optimises a `Task` in it, and `job` does all from the first step to the
final files.
"""

from scorefield.lazy_names import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
