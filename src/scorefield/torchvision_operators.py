"""torchvision beside a torch without CUDA: what its import misses is declared before.

PyPI's torchvision is built for CUDA. Beside a CPU's torch its compiled part does not load, and the
import ends in "operator torchvision::nms does not exist"; so does then that of transformers, and of
diffusers, which import it wherever they find it. None of them, nor nerfstudio, calls its operators.
"""

import importlib.util
import sys
from pathlib import Path
from typing import Any

__all__ = ["declare_missing_operators"]

_OPERATORS = ("nms", "qnms")

_declared: list[Any] = []
"""Keeps the declarations alive, which end with the object that made them."""


def declare_missing_operators() -> None:
    """To be called before torchvision, transformers or diffusers is imported; mostly does nothing.

    Declared operators have no code: transforms and image grids work, `torchvision.ops.nms` fails.
    """
    if _declared or "torchvision" in sys.modules:
        return
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None:
        return
    import torch

    if torch.version.cuda is not None:
        return
    try:
        for library in Path(found.origin).parent.glob("_C*"):
            torch.ops.load_library(library)
    except OSError:
        declared = torch.library.Library("torchvision", "FRAGMENT")
        for name in _OPERATORS:
            declared.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _declared.append(declared)
