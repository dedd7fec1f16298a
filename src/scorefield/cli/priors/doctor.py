"""`scorefield doctor`: what is installed, and what there is to compute with."""

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

from scorefield.cli.command import Command, Outcome

_LIBRARIES = ("scorefield", "torch", "diffusers", "transformers", "safetensors")

# What needs a package that may be missing: the module, and how to get it.
_OPTIONAL = {
    "LoRA (--lora)": ("peft", "pip install 'scorefield[lora]'"),
    "mp4 videos": ("imageio_ffmpeg", "pip install 'scorefield[video]'"),
    "Ray (sweep, --engine ray)": ("ray", "pip install 'scorefield[ray]'"),
    "nerfstudio": ("nerfstudio", "pip install 'scorefield[nerfstudio]'"),
    "diffvg (--rasteriser diffvg)": ("pydiffvg", "build it from github.com/BachiLi/diffvg"),
}


@dataclass(frozen=True, kw_only=True)
class Doctor(Command):
    """Say which versions, devices and optional parts there are; nothing is loaded or changed."""

    def run(self) -> Outcome:
        """Look and say."""
        import torch

        versions = {name: _version(name) for name in _LIBRARIES}
        devices = _devices(torch)
        parts = {what: find_spec(module) is not None for what, (module, _) in _OPTIONAL.items()}
        metrics: dict[str, Any] = {
            "python": platform.python_version(),
            "versions": versions,
            "threads": torch.get_num_threads(),
            "devices": devices,
            "optional": parts,
        }
        lines = [f"python {metrics['python']} on {platform.system()} {platform.machine()}"]
        lines += [f"{name} {found or 'is missing'}" for name, found in versions.items()]
        lines += ["", *(_device_line(one) for one in devices), ""]
        lines += [
            f"{what}: {'yes' if there else 'no; ' + _OPTIONAL[what][1]}"
            for what, there in parts.items()
        ]
        missing = [name for name, found in versions.items() if found is None]
        problem = f"{', '.join(missing)} cannot be found; install scorefield again"
        return Outcome(metrics, lines, problem if missing else None)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _devices(torch: Any) -> list[dict[str, Any]]:
    """Each device with its memory in GiB, free and in all; None where it cannot be said."""
    from scorefield.devices import machine_memory

    free, total = (None if size is None else round(size / 2**30, 1) for size in machine_memory())
    found: list[dict[str, Any]] = [
        {"device": "cpu", "name": platform.processor() or "cpu", "free": free, "total": total}
    ]
    for index in range(torch.cuda.device_count()):
        memory = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
        free, total = (round(size / 2**30, 1) for size in memory)
        found.append({"device": f"cuda:{index}", "name": name, "free": free, "total": total})
    if torch.backends.mps.is_available():
        found.append({"device": "mps", "name": "Apple GPU", "free": None, "total": None})
    return found


def _device_line(device: dict[str, Any]) -> str:
    memory = "memory not told"
    if device["total"] is not None:
        memory = f"{device['free']:g} of {device['total']:g} GiB free"
    return f"{device['device']}: {device['name']}, {memory}"
