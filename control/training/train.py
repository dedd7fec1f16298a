"""What the trainings of all policies share: batches, several processes, the run's folder."""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from scorefield.control.data.windows import Windows
from scorefield.control.policies.draws import Draws
from scorefield.control.policies.policy import NetworkPolicy
from scorefield.control.training.processes import Processes
from scorefield.control.training.tracking import TrackedRun
from scorefield.priors.noise import noise_generator
from scorefield.priors.training.settings import TrainingSettings as TrainingSettings
from scorefield.priors.training.task import TrainingTask
from scorefield.runs.folder import FREE_KEYS
from scorefield.runs.loop import optimise

CHECKPOINT_EVERY = 1000
"""Updates between the checkpoints of a training."""

_DROPOUT = 1
"""Key of a step's dropout, beside that of its noise."""


class PolicyTask(TrainingTask):
    """Trains a policy on windows: one random batch per step, shared by all processes."""

    def __init__(self, policy: NetworkPolicy, windows: Windows, settings: TrainingSettings) -> None:
        """Prepares it; the policy takes its normalisers from the windows.

        Raises:
            ValueError: the batch cannot be shared equally.
        """
        self.processes = Processes(settings.device)
        if settings.batch_size % self.processes.count:
            raise ValueError(
                f"a batch of {settings.batch_size} windows cannot be shared equally by "
                f"{self.processes.count} processes; make it a multiple of them"
            )
        policy.fit(windows)
        device = str(self.processes.device(settings.device))
        super().__init__(policy, replace(settings, device=device))
        self._policy, self._windows = policy, windows

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """The policy's loss on this process's part of a batch."""
        count = self.processes.count
        draws = Draws(generator, self.processes.index, count)
        batch = self._windows.draw(self.settings.batch_size // count, draws, self.settings.device)
        # Dropout knows torch's global generator only: seeded by the step, a resumed training drops
        # the same units. Only the generator of the own GPU is kept: others may be other processes'.
        seed = noise_generator(self.settings.seed, step, _DROPOUT, self.processes.index)
        device = torch.device(self.settings.device)
        with torch.random.fork_rng([device] if device.type == "cuda" else []), self.autocast():
            torch.manual_seed(seed.initial_seed())
            return self._policy.loss(batch, draws), {}

    def policy(self) -> NetworkPolicy:
        """The policy with its weights' moving average, frozen."""
        averaged = self.averaged()
        assert isinstance(averaged, NetworkPolicy)
        return averaged

    def shared(self, loss: Tensor) -> Tensor:
        """The mean loss of all processes; their mean gradient is put into every one."""
        loss = loss.detach().clone()
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        self.processes.average([*gradients, loss])
        return loss


def train_policy(
    task: PolicyTask,
    config: Mapping[str, Any],
    folder: str | os.PathLike[str],
    *,
    resume: bool,
    progress: bool,
    tracker: str | None = None,
) -> NetworkPolicy:
    """Runs a task in a run folder and returns the trained policy, which is saved in FOLDER/policy.

    Args:
        task: freshly made.
        config: what the run is; the training's settings are added.
        folder: of the run.
        resume: go on with the training that is there.
        progress: whether to show a progress bar.
        tracker: one of accelerate's that the figures go to as well.

    Raises:
        ValueError: the folder holds another training.
        NonFiniteError: the loss is not finite; the last checkpoint is kept.
    """
    processes, settings = task.processes, task.settings
    whole = {
        **config,
        "windows": len(task._windows),
        "demonstrations": task._windows.episodes.digest(),
        "spaces": task._policy.spaces.as_json(),
        **settings.config(),
    }
    # The learning rate's cosine ends with the steps: other steps are another training.
    run = processes.folder(folder, whole, resume, free=FREE_KEYS - {"steps"})
    tracked = TrackedRun(run, tracker) if tracker is not None and processes.first else None
    try:
        optimise(
            task,
            steps=settings.steps,
            folder=tracked or run,
            preview_every=0,
            checkpoint_every=CHECKPOINT_EVERY,
            progress=progress and processes.first,
            resume=resume,
        )
    finally:
        if tracked is not None:
            tracked.finish()
    trained = task.policy()
    if processes.first:
        trained.save(run.path / "policy")
    processes.wait()
    return trained
