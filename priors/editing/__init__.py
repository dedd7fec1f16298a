"""Editing with a frozen prior: SDEdit, inversions, inpainting, prompt-to-prompt."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
