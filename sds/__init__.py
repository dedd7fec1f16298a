"""Score distillation: generators optimised along the score of a frozen prior."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
