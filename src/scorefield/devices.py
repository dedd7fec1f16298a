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
    return torch.device(device).type == "cpu" and _has_any("amx_bf16")


def emulates(dtype: torch.dtype, device: torch.device | str) -> bool:
    """Whether a device is a CPU that has no instructions for a type of 16 bits.

    What torch computes there instead takes several times as long as float32. Told of x86
    processors only.
    """
    if torch.device(device).type != "cpu" or _capabilities().get("architecture") != "x86_64":
        return False
    if dtype == torch.bfloat16:
        return not _has_any("amx_bf16", "avx512_bf16", "avx_ne_convert")
    return dtype == torch.float16 and not _has_any("amx_fp16", "avx512_fp16", "avx_ne_convert")


def _has_any(*names: str) -> bool:
    """Whether the CPU has one of these sets of instructions."""
    return any(_capabilities().get(name, False) for name in names)


def _capabilities() -> Mapping[str, Any]:
    """What torch tells of the CPU; torch 2.6 tells nothing."""
    told: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return told


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
