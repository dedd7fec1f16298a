"""Control by denoising: policies that sample action chunks given observations.

Readers of other formats are in `scorefield.control.data.formats`, simulators,
which are installed apart, in `scorefield.control.environments.simulators`.
"""

from scorefield.lazy_names import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
