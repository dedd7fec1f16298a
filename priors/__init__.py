"""Frozen diffusion priors as score fields.

Levels and predictions; denoisers and what takes and gives them: guidance, composition, adapters;
samplers, correctors, energies and likelihoods; loading of pretrained models and the embedded ones.
"""

from scorefield.lazy_names import attach
from scorefield.torchvision_operators import declare_missing_operators

declare_missing_operators()  # the modules here import diffusers and transformers
__getattr__, __dir__, __all__ = attach(__name__, __file__)
