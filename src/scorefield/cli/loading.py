"""What commands load: device, prior, judge. Imported when they run, for torch is slow."""

from pathlib import Path

import torch

from scorefield.cli.command import Command, PriorCommand
from scorefield.priors.judge import Judge
from scorefield.priors.loading import load_prior
from scorefield.priors.prior import FrozenPrior

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""By the names of --dtype."""


def device_of(command: Command) -> torch.device:
    """The device a command names, tried out.

    Raises:
        ValueError: it does not work here.
    """
    if command.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.zeros(1, device=command.device).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"--device {command.device} cannot be used ({reason}); give cpu, cuda, mps or auto"
        ) from error


def prior_of(command: PriorCommand) -> FrozenPrior:
    """The prior of pictures a command names, on its device.

    Raises:
        ValueError: it cannot be loaded, or is one of videos.
    """
    prior = load_prior(command.prior, device=device_of(command), dtype=DTYPES[command.dtype])
    if prior.is_video:
        raise ValueError(
            f"--prior {command.prior} makes videos and this command images; give a prior of "
            "images, or use scorefield text-to-video"
        )
    return prior


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
