"""Policies of one or two network evaluations, distilled from one that takes more.

Distribution matching (Yin et al. 2024, DMD2) as for images (`scorefield.training.students`): the
student learns what chunks its teacher would plan for the observations of demonstrations, whose
actions are not looked at (Wang et al. 2024, "One-step diffusion policy", arXiv 2410.21257).
"""

import copy
import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from scorefield.control.data.windows import Windows
from scorefield.control.networks.settings import Sampler
from scorefield.control.policies.denoising import ChunkDenoiser
from scorefield.control.policies.diffusion_policy import DiffusionPolicy
from scorefield.control.policies.solver import renoised_path
from scorefield.control.training.train import check_fits
from scorefield.priors.editing.ddim_inversion import ddim_generate
from scorefield.priors.noise import noise_generator
from scorefield.priors.steps import level_path
from scorefield.runs.job import run
from scorefield.training.students.settings import POLICY_STUDENT, StudentSettings
from scorefield.training.students.training import Lesson, StudentTask

_REFERENCE = 256
"""Windows on which the spread of the teacher's chunks is measured."""

_SURVEYED, _SURVEY_STEPS, _AT_ONCE = 8192, 4, 512
"""Windows for which two plans are compared, at most; steps of DDIM for it; rows of a batch."""

_UNDECIDED = 0.8
"""Share of a batch that is drawn where the teacher's plans differ."""

_PATHS = {"renoised": renoised_path, "ddim": level_path}
_SAMPLERS: dict[str, Sampler] = {"renoised": "renoised", "ddim": "consistent"}


class PolicyStudent(StudentTask):
    """A `Job` that ends as a policy's folder.

    Attributes:
        policy: the student; its network and encoder are trained.
    """

    def __init__(
        self, teacher: DiffusionPolicy, windows: Windows, settings: StudentSettings
    ) -> None:
        """Prepares it.

        Args:
            teacher: what is imitated, with its own sampler; it stays as it is.
            windows: whose observations are planned for.
            settings: of the training.

        Raises:
            ValueError: the windows are of other sizes or horizons than the teacher.
        """
        check_fits(teacher, windows, actions=False)
        self.windows, self._device = windows, teacher.actions.scale.device
        self.teacher, self.policy, fake = (copy.deepcopy(teacher).eval() for _ in range(3))
        self.teacher.requires_grad_(False)
        super().__init__(self._lesson(fake, settings), settings)

    def _lesson(self, fake: DiffusionPolicy, settings: StudentSettings) -> Lesson:
        teacher, device = self.teacher, self._device
        generator = noise_generator(settings.seed, 0, 3)
        shape = (teacher.horizons.horizon, teacher.spaces.action)
        surveyed, apart = self._survey(shape, settings.teacher_steps, generator)

        def draw(n: int, generator: torch.Generator) -> dict[str, Tensor]:
            undecided = torch.multinomial(apart, round(_UNDECIDED * n), True, generator=generator)
            others = torch.randint(len(self.windows), (n - len(undecided),), generator=generator)
            return self._seen(torch.cat([surveyed[undecided], others]))

        seen = draw(_REFERENCE, generator)
        noise = torch.randn(_REFERENCE, *shape, generator=generator).to(device)
        with torch.no_grad():
            planned = ddim_generate(teacher.denoiser(seen), noise, steps=settings.teacher_steps)
        return Lesson(
            draw=draw,
            teacher=teacher.denoiser,
            student=lambda seen: _unbounded(self.policy, seen),
            fake=lambda seen: _unbounded(fake, seen),
            networks=(_trained(self.policy), _trained(fake)),
            shape=shape,
            schedule=teacher.schedule,
            levels=_PATHS[settings.sampler](teacher.schedule, settings.steps)[:-1],
            spread=float(planned.std(0).mean()),
        )

    @torch.no_grad()
    def _survey(
        self, shape: tuple[int, int], steps: int, generator: torch.Generator
    ) -> tuple[Int[Tensor, "n"], Float[Tensor, "n"]]:
        """Windows, and how far apart two plans of the teacher are for each.

        Most windows of most tasks leave nothing to choose, and a student soon knows them. What it
        gets wrong is where noise decides between ways, at few of them: it is shown those more
        often. Above zero everywhere, so that a teacher without choices can be imitated as well.
        """
        surveyed = torch.randperm(len(self.windows), generator=generator)[:_SURVEYED]
        apart = []
        for some in surveyed.split(_AT_ONCE):
            denoiser = self.teacher.denoiser(self._seen(some))
            plans = [
                ddim_generate(
                    denoiser,
                    torch.randn(len(some), *shape, generator=generator).to(self._device),
                    steps=min(_SURVEY_STEPS, steps),
                )
                for _ in range(2)
            ]
            apart.append((plans[0] - plans[1]).square().mean((1, 2)).sqrt().cpu())
        return surveyed, torch.cat(apart).clamp_min(1e-6)

    def _seen(self, indices: Int[Tensor, "n"]) -> dict[str, Tensor]:
        """What these windows observe."""
        batch = self.windows.batch(indices)
        return {name: one.to(self._device) for name, one in batch.items() if name != "action"}

    def config(self) -> dict[str, Any]:
        """The teacher's checksum, the demonstrations and the settings."""
        return {
            "teacher": _checksum(self.teacher),
            "demonstrations": self.windows.episodes.digest(),
            "windows": len(self.windows),
            **super().config(),
        }

    def finish(self, folder: Path, *, progress: bool = True) -> dict[str, Path]:
        """Write the student into FOLDER/policy."""
        super().finish(folder, progress=progress)
        return {"policy": self.student_policy().save(folder / "policy")}

    def student_policy(self) -> DiffusionPolicy:
        """The student as it is now, which samples in its few steps."""
        student = copy.deepcopy(self.policy).requires_grad_(False)
        student.diffusion = replace(
            student.diffusion,
            steps=self.settings.steps,
            order=1,
            sampler=_SAMPLERS[self.settings.sampler],
        )
        return student


def distill_policy(
    teacher: DiffusionPolicy,
    windows: Windows,
    folder: str | os.PathLike[str],
    settings: StudentSettings = POLICY_STUDENT,
    *,
    resume: bool = False,
    progress: bool = False,
) -> DiffusionPolicy:
    """Distils a policy into one of `settings.steps` network evaluations, saved in FOLDER/policy.

    Killed and resumed, it has the same weights to the last bit.

    Args:
        teacher: what is imitated, with the sampler that it has.
        windows: of demonstrations like those it was trained on; only what is observed is used.
        folder: of the run, new or empty, or one to resume.
        settings: of the training.
        resume: go on with the run that is there.
        progress: whether to show a progress bar.

    Returns:
        The student, frozen. It is used, saved and exported like any policy.

    Raises:
        ValueError: the windows do not fit the teacher, or the folder holds a run of another teacher
            or of other settings.
        StudentCollapsed: the chunks became much the same; the last checkpoint stays.
    """
    job = PolicyStudent(teacher, windows, settings)
    run(job, folder, resume=resume, progress=progress, preview_every=0)
    return job.student_policy()


def _unbounded(policy: DiffusionPolicy, seen: Mapping[str, Tensor]) -> ChunkDenoiser:
    """Its denoiser, whose clean chunks have a gradient where they leave the limits."""
    denoiser = policy.denoiser(seen)
    denoiser.limit = None
    return denoiser


def _trained(policy: DiffusionPolicy) -> nn.Module:
    """What is trained of it; a frozen prior that it sees with is none of its modules."""
    return nn.ModuleList([policy.encoder, policy.network])


def _checksum(policy: DiffusionPolicy) -> str:
    """SHA-256 of a policy's weights."""
    found = hashlib.sha256()
    for name, tensor in sorted(policy.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
