"""Frozen diffusion priors as score fields.

Levels and predictions; denoisers and what takes and gives them: guidance, composition, adapters;
samplers, correctors, energies and likelihoods; loading of pretrained models and the embedded ones.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
