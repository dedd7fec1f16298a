"""`scorefield policy distill`: a policy of one or two network evaluations, from one of many."""

from dataclasses import dataclass, fields, make_dataclass
from pathlib import Path
from typing import Annotated

import tyro

from scorefield.cli.command import Outcome, check_folder, check_unused, options_of, under_way
from scorefield.cli.policy.demonstrations import (
    DemonstrationsCommand,
    described,
    loaded,
    task_texts,
)
from scorefield.locks import owned
from scorefield.training.students.settings import POLICY_STUDENT, StudentSettings

_SETTINGS = options_of(StudentSettings, "seed", defaults=POLICY_STUDENT)


@dataclass(frozen=True, kw_only=True)
class _PolicyDistill(DemonstrationsCommand):
    policy: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="POLICY")]
    """Teacher: folder of a diffusion policy, or of its training."""
    out: Path
    """Folder of the run; the finished student is its folder policy."""
    resume: bool = False
    """Go on with the run in --out; without one there, begin."""

    def run(self) -> Outcome:
        """Train the student."""
        check_unused(self, "policy distill", "dtype")
        check_folder(self.out, self.resume)
        settings = StudentSettings(
            **{one.name: getattr(self, one.name) for one in fields(StudentSettings)}
        )

        from scorefield.cli.loading import device_of
        from scorefield.control.data.tasks import with_tasks
        from scorefield.control.data.windows import Windows
        from scorefield.control.policies.loading import load_policy
        from scorefield.control.training.distill import PolicyStudent
        from scorefield.runs.job import begin, run

        teacher = load_policy(self.policy).to(device_of(self))
        spaces, data = teacher.spaces, self.opened()
        choice = data.choose(
            state=self.state if spaces.state else (),
            action=self.action,
            cameras=self.cameras if spaces.images else (),
        )
        numbers = self.numbers(data)
        episodes = loaded(data, choice, numbers)
        if spaces.tasks:
            episodes, _ = with_tasks(episodes, task_texts(data, numbers), spaces.tasks)
        windows = Windows(episodes, teacher.horizons)
        with owned(self.out):
            job = PolicyStudent(teacher, windows, settings)
            folder = begin(job, self.out, resume=self.resume)
            print("\n".join(described(data, choice, numbers, spaces.state > 0)), flush=True)
            with under_way():
                path = run(job, folder, progress=not self.quiet, preview_every=0)["policy"]
        metrics = {"out": str(path), "steps": settings.steps, "updates": settings.updates}
        tries = f"scorefield policy evaluate {path} --env ENVIRONMENT --out FOLDER"
        return Outcome(metrics, [f"wrote {path}; {tries} tries it"])


PolicyDistill = make_dataclass(
    "PolicyDistill", _SETTINGS, bases=(_PolicyDistill,), frozen=True, kw_only=True
)
PolicyDistill.__doc__ = """Distil a policy into one of one or two network evaluations per plan.

The student learns which plans its teacher makes for what demonstrations show; their actions are
not used. It is evaluated and exported like any policy."""
