"""Training of policies: batches of windows, several processes, metrics of held-out episodes."""

import functools
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from scorefield.control.data.windows import Windows
from scorefield.control.networks.encoders import ObservationEncoder
from scorefield.control.policies.policy import NetworkPolicy
from scorefield.control.policies.sharded_generator import ShardedGenerator
from scorefield.control.training.frame_features import FrameFeatures
from scorefield.control.training.held_out import HeldOut, told
from scorefield.control.training.tracking import TrackedRun, check_tracker
from scorefield.priors.noise import noise_generator
from scorefield.training.settings import TrainingSettings as TrainingSettings
from scorefield.training.task import TrainingTask, run_together

CHECKPOINT_EVERY = 1000
"""Updates between the checkpoints of a training."""

CHECKS = 10
"""How often a training looks at the held-out episodes."""

_DROPOUT = 1
"""Key of a step's dropout, beside that of its noise."""

_POWER, _MOST = 0.75, 0.9999

AnyPolicy = TypeVar("AnyPolicy", bound=NetworkPolicy)


def power_decay(step: int) -> float:
    """Decay of the weights' moving average after `step` earlier updates.

    1 - step^-0.75, at most 0.9999, and 0 for the first two updates, as the reference's `EMAModel`
    counts them (Chi et al. 2023): the average forgets where it began however short the training is.
    """
    return min(_MOST, 1 - max(1, step) ** -_POWER)


class PolicyTask(TrainingTask):
    """Trains a policy on windows: one random batch per step, shared by all processes.

    AdamW is that of every training here (`TrainingTask`). The weights' average decays by
    `power_decay`, at most by the settings' `ema`. Where a frozen prior sees images that are not
    cropped, its maps are worked out once (`FrameFeatures`).
    """

    def __init__(
        self,
        policy: NetworkPolicy,
        windows: Windows,
        settings: TrainingSettings,
        held_out: Windows | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        """Prepares it; the policy takes its normalizers from the windows' episodes.

        Args:
            policy: with its initial weights.
            windows: what it learns from.
            settings: of the training.
            held_out: windows that it does not learn from, for metrics; None: there are none.
            say: takes a line of text with those metrics, every tenth of the training.

        Raises:
            ValueError: the windows have other sizes or horizons than the policy, or actions that
                the policy's bounds do not contain; or the batch cannot be shared equally.
        """
        check_fits(policy, windows)
        policy.fit(windows)
        super().__init__(policy, settings)
        if settings.batch_size % self.processes.count:
            raise ValueError(
                f"a batch of {settings.batch_size} windows cannot be shared equally by "
                f"{self.processes.count} processes; make it a multiple of them"
            )
        self._policy, self._windows, self._say = policy, windows, say
        encoder, self._features = getattr(policy, "encoder", None), None
        if isinstance(encoder, ObservationEncoder) and encoder.frozen:
            self._features = FrameFeatures(encoder, windows.episodes)
        self._held_out = None
        self._held_out_windows = 0 if held_out is None else len(held_out)
        if held_out is not None and self.processes.first:
            self._held_out = HeldOut(
                windows, held_out, settings.batch_size, self.device, self._features
            )

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """The policy's loss on this process's part of a batch."""
        count = self.processes.count
        draws = ShardedGenerator(generator, self.processes.index, count)
        size, windows = self.settings.batch_size // count, self._windows
        if self._features is None:
            batch = windows.draw(size, draws, self.device)
        else:
            batch = self._features.batch(windows, draws.integers(len(windows), size))
            batch = {name: tensor.to(self.device) for name, tensor in batch.items()}
        # Dropout knows torch's global generator only: seeded by the step, a resumed training drops
        # the same units. Only the generator of the own GPU is kept: others may be other processes'.
        seed = noise_generator(self.settings.seed, step, _DROPOUT, self.processes.index)
        device = self.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []), self.autocast():
            torch.manual_seed(seed.initial_seed())
            return self._policy.loss(batch, draws), {}

    def step(self, step: int) -> Mapping[str, float]:
        """One update, and metrics of the held-out episodes after every tenth of the training."""
        metrics = super().step(step)
        done, steps = step + 1, self.settings.steps
        if self._held_out is None or (done % max(1, steps // CHECKS) and done != steps):
            return metrics
        found = self._held_out.metrics(self.policy())
        if self._say is not None:
            self._say(f"step {done}: held-out {told(found)}")
        return {**metrics, **found}

    def decay(self, step: int) -> float:
        """`power_decay`, up to the settings' decay."""
        return min(self.settings.ema, power_decay(step))

    def config(self) -> dict[str, Any]:
        """Policy, horizons, demonstrations, spaces and settings."""
        policy, windows = self._policy, self._windows
        return {
            **policy.settings(),
            "horizons": asdict(policy.horizons),
            "windows": len(windows),
            "held_out_windows": self._held_out_windows,
            "demonstrations": windows.episodes.digest(),
            "spaces": policy.spaces.as_json(),
            **super().config(),
        }

    def finish(self, folder: Path, *, progress: bool = True) -> dict[str, Path]:
        """Write the policy into FOLDER/policy, by the first process; the others wait for it."""
        path = folder / "policy"
        self.processes.once(self.policy().save, path)
        return {"policy": path}

    def policy(self) -> NetworkPolicy:
        """The policy with its weights' moving average, frozen."""
        averaged = self.averaged()
        assert isinstance(averaged, NetworkPolicy)
        return averaged


def check_fits(policy: NetworkPolicy, windows: Windows, *, actions: bool = True) -> None:
    """Refuses windows that a policy cannot learn from.

    actions: whether it learns from what was done, and not from what was seen alone.

    Raises:
        ValueError: they are no windows, sizes, cameras or horizons differ, or actions lie outside
            of the bounds.
    """
    if not isinstance(windows, Windows):
        raise ValueError(
            f"a policy learns from windows: Windows(episodes, policy.horizons); got "
            f"{type(windows).__name__}"
        )
    if windows.horizons != policy.horizons:
        raise ValueError(
            f"the windows have {windows.horizons}, the policy {policy.horizons}; make both alike"
        )
    episodes, spaces = windows.episodes, policy.spaces
    images = {name: tuple(p.shape[1:3]) for name, p in episodes.cameras.items()}
    # A policy of images alone does not look at states that are there.
    state = episodes.state.shape[1] if spaces.state else 0
    found = (state, episodes.action.shape[1], images)
    expected = (spaces.state, spaces.action, dict(spaces.images))
    if found != expected:
        raise ValueError(
            f"(state, action, cameras) of the demonstrations are {found}, the policy's "
            f"{expected}; the demonstrations are of another environment"
        )
    if not actions:
        return
    low, high = episodes.action.min(axis=0), episodes.action.max(axis=0)
    for index, bounds in enumerate(zip(spaces.low, spaces.high, strict=True)):
        slack = 1e-4 * (bounds[1] - bounds[0])
        if low[index] < bounds[0] - slack or high[index] > bounds[1] + slack:
            raise ValueError(
                f"number {index} of the actions runs from {low[index]:.6g} to {high[index]:.6g}, "
                f"the environment takes {bounds[0]:.6g} to {bounds[1]:.6g}; clip the demonstrations"
            )


def train_policy(
    policy: AnyPolicy,
    windows: Windows,
    settings: TrainingSettings,
    folder: str | os.PathLike[str],
    *,
    held_out: Windows | None = None,
    resume: bool = False,
    progress: bool = False,
    tracker: str | None = None,
) -> AnyPolicy:
    """Trains a policy in a run folder and returns it frozen; it is saved in FOLDER/policy.

    Killed and resumed, it has the same weights to the last bit.

    Args:
        policy: with its initial weights.
        windows: what it learns from.
        settings: of the training.
        folder: of the run, new or empty, or one to resume.
        held_out: windows that it does not learn from (`Windows.split`): their loss and the error
            of the actions go to metrics.jsonl and, with `progress`, to standard error.
        resume: go on with the training that is there.
        progress: whether to show a progress bar.
        tracker: one of accelerate's that the metrics go to as well, such as "tensorboard".

    Raises:
        ValueError: the folder holds another training, the windows do not fit the policy, or there
            is no such tracker.
        NonFiniteError: the loss is not finite; the last checkpoint is kept.
    """
    if tracker is not None:
        check_tracker(tracker)
    say = functools.partial(tqdm.write, file=sys.stderr) if progress else None
    task = PolicyTask(policy, windows, settings, held_out, say)
    processes = task.processes
    begun = processes.folder(folder, task.config(), resume, free=())
    tracked = TrackedRun(begun, tracker) if tracker is not None and processes.first else None
    try:
        run_together(
            task,
            tracked or begun,
            progress,
            preview_every=0,
            checkpoint_every=CHECKPOINT_EVERY,
        )
    finally:
        if tracked is not None:
            tracked.finish()
    trained = task.policy()
    assert isinstance(trained, type(policy))
    return trained
