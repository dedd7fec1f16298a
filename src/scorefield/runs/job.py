"""From the first step to the files: one way to begin, resume, run and finish whatever is made."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from scorefield.runs.folder import RunFolder
from scorefield.runs.loop import Task, optimise

__all__ = ["Job", "begin", "run"]


@runtime_checkable
class Job(Task, Protocol):
    """A `Task` that knows how long it is, what its result depends on, and how it ends in files."""

    @property
    def steps(self) -> int:
        """Number of updates of the whole run."""

    def config(self) -> Mapping[str, Any]:
        """All that the result depends on, as JSON values; a run resumes with the same only."""

    def finish(self, folder: Path, *, progress: bool = True) -> dict[str, Path]:
        """Write what was made into a folder; returns the files by what they are.

        May be called again: it replaces the files.
        """


def begin(job: Job, out: str | os.PathLike[str], *, resume: bool = False) -> RunFolder:
    """The run's folder: the part of `run` that refuses.

    Raises:
        ValueError: the folder is not empty (or, with `resume`, holds another run or a damaged
            checkpoint) or cannot be written.
    """
    folder = RunFolder.create(out, job.config(), resume, free=())
    folder.load_checkpoint()  # a damaged one is refused now
    return folder


def run(
    job: Job,
    out: str | os.PathLike[str] | RunFolder,
    *,
    resume: bool = False,
    progress: bool = True,
    preview_every: int = 100,
    checkpoint_every: int = 100,
) -> dict[str, Path]:
    """Optimise to the end in a run folder, then write the final files.

    ``run(ModuleDistillation(prior, settings, module), "runs/mine", resume=True)``. Killed at any
    moment, the same call goes on with `resume`, to the same bits. A run whose steps are all done is
    only finished again.

    Args:
        job: what is optimised, freshly made also when resuming.
        out: a new or empty folder, or with `resume` the folder of the same run; or what `begin`
            returned.
        resume: go on with the run in the folder, if there is one.
        progress: whether to show progress on standard error.
        preview_every: a preview after every so many steps and after the last; 0 for none.
        checkpoint_every: a checkpoint after every so many steps and after the last; 0 for the last
            only.

    Returns:
        The final files by what they are, as the job names them.

    Raises:
        ValueError: before anything starts: the folder is not accepted.
        NonFiniteError: on the way; the last checkpoint is kept.
    """
    folder = out if isinstance(out, RunFolder) else begin(job, out, resume=resume)
    optimise(
        job,
        steps=job.steps,
        folder=folder,
        preview_every=preview_every,
        checkpoint_every=checkpoint_every,
        progress=progress,
        resume=True,
    )
    return job.finish(folder.path, progress=progress)
