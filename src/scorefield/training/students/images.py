"""Students of priors of images: a folder in diffusers' format that samples in a few steps."""

import copy
import hashlib
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scorefield.files import whole_folder, write_json
from scorefield.images import contact_sheet
from scorefield.integrity import SEAL, digest, write_seal
from scorefield.priors.families.weights import PriorError, read_json
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.loading import folder_of, load_prior
from scorefield.priors.noise import noise_generator
from scorefield.priors.sampling import levels_of, sample
from scorefield.priors.schedule import FlowSchedule
from scorefield.runs.folder import RunFolder
from scorefield.runs.job import run
from scorefield.training.students.settings import StudentSettings
from scorefield.training.students.training import Lesson, StudentTask

DEFAULTS = StudentSettings()
"""What a student is trained with."""

_NETWORKS = ("unet", "transformer")
_FEW = 8  # steps of a prior that was distilled itself
_REFERENCE = 16
_REFERENCE_STEPS = 8


def distill_prior(
    source: str | Path,
    out: Path,
    prompts: Sequence[str],
    settings: StudentSettings = DEFAULTS,
    *,
    scale: float | None = None,
    device: torch.device | str = "cpu",
    preview_every: int = 50,
    checkpoint_every: int = 50,
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Distils a prior of images into one that samples in a few steps, without guidance.

    From the teacher's own weights, whose guidance becomes part of the student: along the
    teacher's paths (Salimans and Ho 2022), or by distribution matching (Yin et al. 2024, DMD2), as
    the settings say.

    Args:
        source: an embedded prior or a folder in diffusers' format.
        out: a run folder; the finished student is its folder `student`, which `load_prior` takes.
        prompts: what the student is to make; each update draws some of them.
        settings: of the training.
        scale: the teacher's classifier-free guidance; None is its own.
        device: where to train.
        preview_every: updates between images; 0 for none.
        checkpoint_every: updates between checkpoints.
        resume: go on with the run in `out`, or begin.
        progress: show a progress bar.

    Returns:
        The student's folder.

    Raises:
        ValueError: the source is no folder, or of videos; there are no prompts; the run in `out` is
            of another teacher or of other settings.
        StudentCollapsed: the samples became much the same; the last checkpoint stays.
    """
    if not prompts:
        raise ValueError("no prompts are given; a student is trained on those it is to make")
    folder = folder_of(source)
    teacher = load_prior(source, device=device)
    if teacher.steps <= _FEW:  # at other levels it was not trained
        settings = replace(settings, teacher_steps=min(settings.teacher_steps, teacher.steps))
    network = _network_of(folder, teacher)
    config = {
        "teacher": _checksum(folder / network),
        "scale": teacher.guidance_scale if scale is None else scale,
        "prompts": list(prompts),
        "student": asdict(settings),
    }
    begun = RunFolder.create(out, config, resume, free=())  # refused before the teacher samples
    student, fake = trainable_copy(teacher), trainable_copy(teacher)
    lesson = _lesson(teacher, student, fake, prompts, settings, scale)
    return run(
        _ImageStudent(lesson, settings, student, folder / network, config),
        begun,
        progress=progress,
        preview_every=preview_every,
        checkpoint_every=checkpoint_every,
    )["student"]


class _ImageStudent(StudentTask):
    """A `Job` that ends as a folder in diffusers' format.

    prior: whose network is the student.
    teacher: the folder of the teacher's network.
    asked: what the result depends on.
    """

    def __init__(
        self,
        lesson: Lesson,
        settings: StudentSettings,
        prior: FrozenPrior,
        teacher: Path,
        asked: dict[str, Any],
    ) -> None:
        super().__init__(lesson, settings)
        self.prior, self.teacher, self.asked = prior, teacher, asked

    def config(self) -> dict[str, Any]:
        """Teacher, guidance, prompts and settings."""
        return self.asked

    def finish(self, folder: Path, *, progress: bool = True) -> dict[str, Path]:
        """Write the folder `student`, which `load_prior` takes."""
        super().finish(folder, progress=progress)
        teacher, network = self.teacher.parent, self.teacher.name
        return {"student": _save(self.prior, teacher, network, folder / "student", self.asked)}


def trainable_copy(prior: FrozenPrior) -> FrozenPrior:
    """The same prior with a network of its own in float32, whose weights can be trained."""
    other = prior.with_network_gradient()
    other.network = copy.deepcopy(prior.network).float().requires_grad_(True)
    return other


def _lesson(
    teacher: FrozenPrior,
    student: FrozenPrior,
    fake: FrozenPrior,
    prompts: Sequence[str],
    settings: StudentSettings,
    scale: float | None,
) -> Lesson:
    def draw(n: int, generator: torch.Generator) -> list[str]:
        return [prompts[i] for i in torch.randint(len(prompts), (n,), generator=generator).tolist()]

    def show(latents: Tensor) -> Tensor:
        return contact_sheet(teacher.decode(latents[:_REFERENCE]))

    reference = sample(
        teacher.guided(draw(_REFERENCE, noise_generator(settings.seed, 0, 3)), scale),
        teacher.latent_shape,
        _REFERENCE,
        steps=_REFERENCE_STEPS,
        seed=settings.seed,
        device=teacher.device,
    )
    scheduler = teacher.schedule.scheduler(_scheduler_class(teacher, settings.sampler))
    return Lesson(
        draw=draw,
        teacher=lambda chosen: teacher.guided(chosen, scale),
        student=student.condition,
        fake=fake.condition,
        networks=(student.network, fake.network),
        shape=teacher.latent_shape,
        schedule=teacher.schedule,
        levels=levels_of(scheduler, settings.steps, teacher.schedule),
        spread=float(reference.std(0).mean()),
        show=show,
    )


def _scheduler_class(prior: FrozenPrior, sampler: str) -> Any:
    """The class that goes from one step to the next as a student is trained to be sampled."""
    from diffusers import (
        DDIMScheduler,
        FlowMatchEulerDiscreteScheduler,
        FlowMatchLCMScheduler,
        LCMScheduler,
    )

    is_flow = isinstance(prior.schedule, FlowSchedule)
    if sampler == "ddim":
        return FlowMatchEulerDiscreteScheduler if is_flow else DDIMScheduler
    return FlowMatchLCMScheduler if is_flow else LCMScheduler


def _network_of(folder: Path, prior: FrozenPrior) -> str:
    """The part of the folder that is the network."""
    if prior.cameras is not None:
        raise ValueError(
            f"{folder}: is told cameras, and a student is trained on prompts alone; give a prior "
            "that is told none"
        )
    for name in _NETWORKS:
        if (folder / name).is_dir() and not prior.is_video:
            return name
    raise ValueError(
        f"{folder}: holds no network of images ({' or '.join(_NETWORKS)}); students are made of "
        "such priors"
    )


def _checksum(network: Path) -> str:
    """SHA-256 of the weights; of those in several files, of the files' own by name.

    Raises:
        PriorError: there are none in safetensors.
    """
    files = sorted(network.glob("*.safetensors"))
    if not files:
        raise PriorError(
            f"{network} has no weights in .safetensors; save the prior once more with "
            "save_pretrained(FOLDER, safe_serialization=True), and give that folder"
        )
    if len(files) == 1:
        return digest(files[0])
    listed = "".join(f"{digest(file)}  {file.name}\n" for file in files)
    return hashlib.sha256(listed.encode()).hexdigest()


def _save(
    student: FrozenPrior, teacher: Path, network: str, out: Path, config: dict[str, Any]
) -> Path:
    """The teacher's folder with the student's network, scheduler and card."""
    card = read_json(teacher / "scorefield.json") if (teacher / "scorefield.json").exists() else {}
    steps = config["student"]["steps"]
    base = re.sub(r"-\d+-step$", "", card.get("name", teacher.name))  # where a student teaches
    name = f"{base}-{steps}-step"
    student_of = {"teacher": config["teacher"], "scale": config["scale"], **config["student"]}
    sampler = config["student"]["sampler"]
    scheduler = student.schedule.scheduler(_scheduler_class(student, sampler))
    if "prediction_type" in scheduler.config:
        # of the network, which predicts what its teacher does
        scheduler.register_to_config(prediction_type=_prediction_type(teacher))
    with whole_folder(out) as part:
        ignored = shutil.ignore_patterns(SEAL, "*.md", "metrics.json", network, "scheduler")
        shutil.copytree(teacher, part, ignore=ignored, dirs_exist_ok=True)
        student.model.half().save_pretrained(part / network, safe_serialization=True)
        scheduler.save_pretrained(part / "scheduler")
        index = read_json(teacher / "model_index.json")
        index["scheduler"] = ["diffusers", type(scheduler).__name__]
        write_json(part / "model_index.json", index)
        card |= {"name": name, "guidance_scale": 1.0, "steps": steps, "student": student_of}
        write_json(part / "scorefield.json", card)
        write_seal(part)
    return out


def _prediction_type(teacher: Path) -> str:
    config = read_json(teacher / "scheduler" / "scheduler_config.json")
    return str(config.get("prediction_type", "epsilon"))
