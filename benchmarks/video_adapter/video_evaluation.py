"""Does a small model of a style, steered by a broad prior, make what neither makes alone?

The experiment of Video Adapter (Yang et al. 2023) on the moving world. The small model knows one
domain by 64 clips of two motions and two colours; the prior knows all motions and colours of three
other domains. Asked for are that domain's clips with a motion or a colour, or both, that the small
model never saw. Every arm has the same number of network evaluations per clip, and is tuned on
captions and noise apart from those it is judged on.
"""

import os
import sys
from dataclasses import asdict, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from video_arms import Experts, Metered
from video_captions import JUDGING, TUNING, in_turn
from video_experiment import Experiment, VideoAdapterSettings
from video_report import write_report

from scorefield.files import write_json
from scorefield.priors.experts import check_compatible
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.loading import load_prior
from scorefield.runs.folder import RunFolder
from scorefield.training.motion import train_motion
from scorefield.training.recipes import (
    BROAD_SETTINGS,
    NARROW_LOW_NOISE,
    NARROW_SETTINGS,
    NARROW_WIDTH,
)
from scorefield.world.clips import FRAMES, NARROW, NARROW_DOMAIN, SIZE, ClipSet

QUICK = VideoAdapterSettings(
    n=72,
    seeds=1,
    steps=2,
    tuning=24,
    reference=144,
    judge_steps=60,
    finetune_steps=1,
    upper_steps=1,
    resamples=100,
)
"""Everything runs, in about a minute; its figures mean nothing."""

FINETUNE_SEED, UPPER_SEED = 24, 25
"""Seeds of the two trainings; the second one also of the clips."""


def evaluate_video_adapter(
    small: str | os.PathLike[str],
    prior: str | os.PathLike[str],
    out: str | os.PathLike[str],
    settings: VideoAdapterSettings | None = None,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    resume: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Run the experiment and write results.json, table.md, strips/ and grids.png.

    Two more networks are trained for it: the prior, on the small model's clips; and one of the
    small model's size on all of its domain, an upper bound.

    Args:
        small: the narrow prior, by name or folder.
        prior: the broad one.
        out: a new or empty folder, or with `resume` that of the same experiment.
        settings: its size; None for the defaults.
        device: where the networks are.
        dtype: of the networks' weights; trainings stay in float32.
        resume: go on with what is in the folder, if there is something.
        progress: whether to show progress on standard error.

    Returns:
        The content of results.json.

    Raises:
        ValueError: priors that do not know the moving world or do not fit each other, or a folder
            that is not accepted; nothing was done.
    """
    settings = settings or VideoAdapterSettings()
    started = {name: load_prior(source) for name, source in (("small", small), ("prior", prior))}
    for expert in started.values():
        _check_knows_the_world(expert)
    check_compatible([expert.condition("") for expert in started.values()], same_text=True)
    config = {
        "small": os.fspath(small),
        "prior": os.fspath(prior),
        "dtype": str(dtype),
        **asdict(settings),
    }
    folder = RunFolder.create(out, config, resume, free=())
    extra = train_extra(folder_of(prior), folder.path / "trained", settings, progress)
    sources = {"small": small, "prior": prior, **extra}
    experts = Experts(
        **{
            name: Metered(load_prior(source, device=device, dtype=dtype))
            for name, source in sources.items()
        }
    )
    experiment = Experiment(experts, folder, settings, progress=progress)
    results = experiment.run()
    write_json(folder.path / "results.json", results)
    captions = [one.caption for one in in_turn(JUDGING, settings.n)]
    write_report(results, experiment.first_clips(), captions, folder.path)
    if progress:
        print(f"sampling took {experiment.seconds:.0f} s in all", file=sys.stderr)
    return results


def train_extra(
    prior: Path, out: Path, settings: VideoAdapterSettings, progress: bool = True
) -> dict[str, Path]:
    """The folders of the two arms that need training, which is not done twice.

    finetuned: the broad prior, trained on with the small model's clips at a third of its rate.
    upper: as the small model, but with endless clips of all shapes, colours and motions of its
        domain. Captions do not name domains, so a model of all domains would draw the asked one in
        a quarter of its clips only, and bound nothing.
    """
    tuned = replace(
        BROAD_SETTINGS,
        steps=settings.finetune_steps,
        learning_rate=BROAD_SETTINGS.learning_rate / 3,
        seed=FINETUNE_SEED,
    )
    whole = replace(NARROW_SETTINGS, steps=settings.upper_steps, seed=UPPER_SEED)
    everything = ClipSet(UPPER_SEED, (NARROW_DOMAIN,))
    options: dict[str, Any] = {
        "low_noise": NARROW_LOW_NOISE,  # as the small model's
        "resume": True,
        "progress": progress,
    }
    return {
        "finetuned": train_motion(
            out / "finetuned", NARROW, tuned, name="finetuned", initial=prior, **options
        ),
        "upper": train_motion(
            out / "upper", everything, whole, NARROW_WIDTH, name="upper", **options
        ),
    }


def folder_of(prior: str | os.PathLike[str]) -> Path:
    """The folder of a prior on this machine, embedded or given, to go on training.

    Raises:
        ValueError: it is neither.
    """
    folder = Path(prior)
    if not folder.is_dir():
        folder = Path(str(files("scorefield.priors") / "weights" / os.fspath(prior)))
    if not folder.is_dir():
        raise ValueError(
            f"{prior} is no folder to go on training; give motion-broad, or the folder of a prior "
            "that `scorefield train-prior motion-broad` made"
        )
    return folder


def _check_knows_the_world(prior: FrozenPrior) -> None:
    shape = (FRAMES, 3, SIZE, SIZE)
    if tuple(prior.latent_shape) != shape:
        raise ValueError(
            f"{prior.name} makes samples of shape {tuple(prior.latent_shape)}, and clips of the "
            f"moving world have {shape}; give motion-broad, motion-narrow or the folder of one "
            "that `scorefield train-prior` made"
        )
    prior.condition([one.caption for one in (*TUNING, *JUDGING)])
