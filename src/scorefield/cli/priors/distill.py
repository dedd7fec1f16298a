"""`scorefield distill`: a prior that samples in a few steps, from one that takes many."""

from dataclasses import dataclass, fields, make_dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from scorefield.cli.command import Command, Outcome, check_folder, options_of, under_way
from scorefield.domains import NotNegative, Whole
from scorefield.training.students.settings import StudentSettings

_SETTINGS = options_of(StudentSettings, "seed")
_PROMPTS_OF_SHAPES = 384
_SEED_OF_PROMPTS = 11


@dataclass(frozen=True, kw_only=True)
class _Distill(Command):
    prior: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PRIOR")] = "shapes"
    """Teacher: an embedded prior or a folder in diffusers' format."""
    out: Path
    """Folder of the run; the finished student is its folder student."""
    prompts: Path | None = None
    """Text file of what the student is to make, a prompt on each line; shapes has its own."""
    scale: NotNegative | None = None
    """Guidance scale of the teacher, which the student needs none of; None is the teacher's."""
    preview_every: Whole = 50
    """An image of samples after every so many updates; 0 for none."""
    checkpoint_every: Whole = 50
    """A checkpoint after every so many updates; 0 for the last only."""
    resume: bool = False
    """Go on with the run in --out; without one there, begin."""

    def run(self) -> Outcome:
        """Train the student."""
        check_folder(self.out, self.resume)
        settings = StudentSettings(
            **{one.name: getattr(self, one.name) for one in fields(StudentSettings)}
        )
        prompts = self._prompts()

        from scorefield.cli.loading import device_of
        from scorefield.training.students.images import distill_prior
        from scorefield.training.students.training import StudentCollapsed

        options: dict[str, Any] = {
            "scale": self.scale, "device": device_of(self), "preview_every": self.preview_every,
            "checkpoint_every": self.checkpoint_every, "resume": self.resume,
            "progress": not self.quiet,
        }  # fmt: skip
        try:
            path = distill_prior(self.prior, self.out, prompts, settings, **options)
        except StudentCollapsed as error:
            with under_way():
                raise ValueError(str(error)) from error
        metrics = {"out": str(path), "steps": settings.steps, "updates": settings.updates}
        return Outcome(metrics, [f"wrote {path}; use it with --prior {path}"])

    def _prompts(self) -> list[str]:
        if self.prompts is not None:
            lines = self.prompts.read_text(encoding="utf-8").splitlines()
            return [line.strip() for line in lines if line.strip()]
        if self.prior != "shapes":
            raise ValueError("--prompts is needed: a text file of what the student is to make")
        from scorefield.world.scenes import draw_scene

        return [draw_scene(_SEED_OF_PROMPTS, k).caption for k in range(_PROMPTS_OF_SHAPES)]


Distill = make_dataclass("Distill", _SETTINGS, bases=(_Distill,), frozen=True, kw_only=True)
Distill.__doc__ = """Distil a prior into one that samples in 1 to 8 steps, without guidance."""
