"""What commands load: device, prior, judge. Imported when they run, for torch is slow."""

from functools import cache
from pathlib import Path
from typing import Any

import torch

from scorefield.cli.command import Command, PriorCommand, note
from scorefield.devices import emulates, multiplies_bfloat16
from scorefield.images import load_image
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.loading import load_prior
from scorefield.priors.text import name_with_nearest
from scorefield.world.judge import Judge

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""By the names of --dtype but "auto"."""


def device_of(command: Command) -> torch.device:
    """The device a command names, tried out.

    Raises:
        ValueError: it does not work here.
    """
    if command.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=command.device)
        return torch.device(command.device)  # "cuda" of several processes is a GPU for each
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"--device {command.device} cannot be used ({reason}); give cpu, cuda, mps or auto"
        ) from error


def dtype_of(command: PriorCommand, device: torch.device) -> torch.dtype | None:
    """What --dtype names; None leaves it to the prior's family."""
    if command.dtype == "auto" and command.bfloat16_on_cpu and multiplies_bfloat16(device):
        return torch.bfloat16
    return None if command.dtype == "auto" else named_dtype(command, device)


def named_dtype(command: Command, device: torch.device) -> torch.dtype:
    """What --dtype names; tells where the device computes it slower than float32."""
    dtype = DTYPES[command.dtype]
    if emulates(dtype, device):
        _tell_of_emulation(command.dtype)
    return dtype


@cache  # a training asks for each of its networks, and is told once
def _tell_of_emulation(name: str) -> None:
    note(
        f"this CPU has no instructions for {name}, and takes several times as long with it; "
        "--dtype float32 is faster here"
    )


def prior_of(command: PriorCommand) -> FrozenPrior:
    """The prior of images a command names, on its device.

    Raises:
        ValueError: it cannot be loaded, or is one of videos.
    """
    prior = load(command, command.prior)
    if prior.is_video:
        raise ValueError(
            f"--prior {command.prior} makes videos and this command images; give a prior of "
            "images, or use scorefield text-to-video"
        )
    return prior


def load(command: PriorCommand, source: str, frames: int | None = None) -> FrozenPrior:
    """The prior of that name, with what a command says of priors.

    Raises:
        ValueError: it cannot be loaded, or options contradict.
    """
    command.check_scale()
    if (command.controlnet is None) != (command.control_image is None):
        raise ValueError("--controlnet and --control-image go together; give both or neither")
    weights = command.lora_weights or (1.0,) * len(command.lora)
    if len(weights) != len(command.lora):
        raise ValueError(
            f"--lora-weights must be one for each --lora; got {len(weights)} for "
            f"{len(command.lora)}"
        )
    made = None if command.scheduler is None else _scheduler_class(command.scheduler)
    device = device_of(command)
    prior = load_prior(
        source,
        device=device,
        dtype=dtype_of(command, device),
        image_size=command.image_size,
        frames=frames,
        lora=list(zip(command.lora, weights, strict=True)),
        controlnet=command.controlnet,
        variant=command.variant,
        configs=command.configs,
        low_memory=command.low_memory,
        compile=command.compile,
    )
    if made is not None:
        prior.scheduler = prior.schedule.scheduler(made)
    if command.control_image is None:
        return prior
    image = load_image(command.control_image, prior.image_size)
    return prior.with_control(image[None].to(prior.device), command.control_scale)


def _scheduler_class(name: str) -> Any:
    import diffusers

    made = getattr(diffusers, name, None) if name.endswith("Scheduler") else None
    if made is None:
        known = [one for one in dir(diffusers) if one.endswith("Scheduler")]
        raise ValueError(
            f"--scheduler must be a class of diffusers; it has no {name_with_nearest(name, known)}"
        )
    return made


def load_judge(path: Path | None) -> Judge:
    """The judge in a file, or (None) the one that ships.

    Raises:
        ValueError: it is missing or damaged.
    """
    try:
        return Judge.load(path)
    except ValueError:
        raise
    except Exception as error:  # a damaged file may raise anything
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{path or 'the embedded judge'}: cannot be loaded ({reason}); give --judge the "
            "judge.safetensors that scorefield train-prior judge writes"
        ) from error
