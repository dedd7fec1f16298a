"""Copies to a device that nobody waits for."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """The tensor on a device, for whose copy the host does not wait.

    What is drawn or computed on the host goes through here: a plain copy would wait until the
    device has done all that it was asked before. From pinned memory, where CUDA is to read it.
    """
    device = torch.device(device)
    if tensor.device.type != "cpu" or device.type in ("cpu", "mps"):
        return tensor.to(device)
    if device.type == "cuda" and not tensor.requires_grad:
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
