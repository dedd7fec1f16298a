"""Training a diffusion policy, in the one loop, with the moving average of Diffusion Policy."""

import os
from dataclasses import asdict

import torch

from scorefield.control.data.windows import Windows
from scorefield.control.policies.diffusion_policy import DiffusionPolicy
from scorefield.control.training.tracking import check_tracker
from scorefield.control.training.train import PolicyTask, train_policy
from scorefield.priors.training.settings import TrainingSettings

_POWER, _MOST = 0.75, 0.9999


def power_decay(step: int) -> float:
    """Decay of the weights' moving average after `step` earlier updates.

    1 - (1 + step)^-0.75, at most 0.9999 (Chi et al. 2023, the reference's `EMAModel`): the average
    forgets where it began however short the training is.
    """
    return min(_MOST, 1 - (1 + step) ** -_POWER)


class DiffusionPolicyTask(PolicyTask):
    """Trains a `DiffusionPolicy` on windows: one random batch per step.

    AdamW as in the paper: betas 0.95 and 0.999, weight decay 1e-6. `settings.ema` is the most that
    the average's decay becomes.
    """

    def __init__(
        self, policy: DiffusionPolicy, windows: Windows, settings: TrainingSettings
    ) -> None:
        """Prepares it; the policy takes its normalisers from the windows.

        Raises:
            ValueError: the windows have other sizes or horizons than the policy, or actions that
                the policy's bounds do not contain.
        """
        check_fits(policy, windows)
        super().__init__(policy, windows, settings)
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            lr=settings.learning_rate,
            betas=(0.95, 0.999),
            weight_decay=1e-6,
        )

    def decay(self, step: int) -> float:
        """`power_decay`, up to the settings' decay."""
        return min(self.settings.ema, power_decay(step))


def check_fits(policy: DiffusionPolicy, windows: Windows) -> None:
    """Refuses windows that a policy cannot learn from.

    Raises:
        ValueError: sizes, cameras or horizons differ, or actions lie outside of the bounds.
    """
    if windows.horizons != policy.horizons:
        raise ValueError(
            f"the windows have {windows.horizons}, the policy {policy.horizons}; make both alike"
        )
    episodes, spaces = windows.episodes, policy.spaces
    pictures = {name: tuple(p.shape[1:3]) for name, p in episodes.cameras.items()}
    # A policy of pictures alone does not look at states that are there.
    state = episodes.state.shape[1] if spaces.state else 0
    found = (state, episodes.action.shape[1], pictures)
    expected = (spaces.state, spaces.action, dict(spaces.images))
    if found != expected:
        raise ValueError(
            f"(state, action, cameras) of the demonstrations are {found}, the policy's "
            f"{expected}; the demonstrations are of another environment"
        )
    low, high = episodes.action.min(axis=0), episodes.action.max(axis=0)
    for index, bounds in enumerate(zip(spaces.low, spaces.high, strict=True)):
        slack = 1e-4 * (bounds[1] - bounds[0])
        if low[index] < bounds[0] - slack or high[index] > bounds[1] + slack:
            raise ValueError(
                f"number {index} of the actions runs from {low[index]:.6g} to {high[index]:.6g}, "
                f"the environment takes {bounds[0]:.6g} to {bounds[1]:.6g}; clip the demonstrations"
            )


def train_diffusion_policy(
    policy: DiffusionPolicy,
    windows: Windows,
    settings: TrainingSettings,
    folder: str | os.PathLike[str],
    *,
    resume: bool = False,
    progress: bool = False,
    tracker: str | None = None,
) -> DiffusionPolicy:
    """Trains a policy in a run folder and returns it frozen; it is saved in FOLDER/policy.

    Killed and resumed, it has the same weights to the last bit.

    Args:
        policy: with its initial weights.
        windows: what it learns from.
        settings: of the training.
        folder: of the run, new or empty, or one to resume.
        resume: go on with the training that is there.
        progress: whether to show a progress bar.
        tracker: one of accelerate's that the figures go to as well, such as "tensorboard".

    Raises:
        ValueError: the folder holds another training, the windows do not fit the policy, or there
            is no such tracker.
        NonFiniteError: the loss is not finite; the last checkpoint is kept.
    """
    if tracker is not None:
        check_tracker(tracker)
    task = DiffusionPolicyTask(policy, windows, settings)
    config = {
        "horizons": asdict(policy.horizons),
        "network": {"kind": type(policy.network).__name__, **asdict(policy.network_settings)},
        "diffusion": asdict(policy.diffusion),
        "encoder": asdict(policy.encoder.settings),
    }
    trained = train_policy(task, config, folder, resume=resume, progress=progress, tracker=tracker)
    assert isinstance(trained, DiffusionPolicy)
    return trained
