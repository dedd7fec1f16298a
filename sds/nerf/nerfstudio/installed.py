"""Whether nerfstudio is there, and torchvision in the form that it needs; torch loads late."""

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

__all__ = ["aside", "check_nerfstudio", "ensure_torchvision"]

_OPERATORS = ("nms", "qnms")

_declared: list[Any] = []
"""Keeps the declarations alive, which end with the object that made them."""


def check_nerfstudio() -> None:
    """Refuse now what needs nerfstudio where it is not installed.

    Raises:
        ValueError: it is missing.
    """
    if importlib.util.find_spec("nerfstudio") is None:
        raise ValueError("nerfstudio is not installed: pip install 'scorefield[nerfstudio]'")


def ensure_torchvision() -> None:
    """Let torchvision be imported beside a torch without CUDA; to be called before it first is.

    PyPI's torchvision is built for CUDA. Beside a CPU's torch its compiled part does not load, and
    the import ends in "operator torchvision::nms does not exist". nerfstudio, and CLIP of
    transformers, need none of its operators, so that declaring the two it asks for is enough:
    transforms and image grids work, `torchvision.ops.nms` and `torchvision.io` still do not.

    Raises:
        RuntimeError: torchvision does not load for another reason.
    """
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        import torchvision

        return
    except RuntimeError as error:
        if "operator torchvision::" not in str(error) or _declared:
            raise
    import torch

    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]  # half imported
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in _OPERATORS:
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)
    import torchvision  # noqa: F401


@contextmanager
def aside(quiet: bool) -> Iterator[None]:
    """Inside, what nerfstudio prints goes to standard error, or nowhere."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        with redirect_stdout(nowhere if quiet else sys.stderr):
            yield
