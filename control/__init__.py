"""Control by denoising: policies that sample action chunks given observations.

Readers of other formats are in `scorefield.control.data.formats`, simulators,
which are installed apart, in `scorefield.control.environments.simulators`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
