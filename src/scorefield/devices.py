"""Copies to a device that nobody waits for, what it multiplies, and the machine's memory."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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


def multiplies_bfloat16(device: torch.device | str) -> bool:
    """Whether a device is a CPU with units for matrices of bfloat16 (AMX), which halve the time."""
    if torch.device(device).type != "cpu":
        return False
    # torch 2.6 does not tell
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_bf16", False))


def machine_memory() -> tuple[int | None, int | None]:
    """Bytes of the machine's memory that programs can have, and of all; None where nobody tells."""
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        free, total = os.sysconf("SC_AVPHYS_PAGES") * page, os.sysconf("SC_PHYS_PAGES") * page
    except (AttributeError, ValueError, OSError):  # not on every system
        return None, None
    try:  # Linux keeps files in what is free, and tells what it would give up
        lines = Path("/proc/meminfo").read_text().splitlines()
        told = next(line for line in lines if line.startswith("MemAvailable:"))
        return 1024 * int(told.split()[1]), total
    except (OSError, StopIteration):
        return free, total
