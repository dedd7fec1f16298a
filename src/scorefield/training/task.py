"""What every training of the recipe shares: AdamW, a warm-up and cosine rate, EMA, autocast."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scorefield.priors.noise import noise_generator
from scorefield.runs.distributed import DistributedContext
from scorefield.runs.folder import RunFolder
from scorefield.runs.job import run
from scorefield.training.settings import TrainingSettings


class TrainingTask(ABC):
    """A `Job` that trains one module, in one process or in several that share every batch.

    A subclass gives `loss(step, generator)`, the loss to descend and its metrics. What it draws is
    drawn for the whole batch, in every process alike; of it the subclass takes `processes.own`.

    Raises:
        ValueError: there are more processes than the batch has rows.
    """

    def __init__(self, module: nn.Module, settings: TrainingSettings) -> None:
        self.settings = settings
        self.processes = DistributedContext(settings.device)
        self.device = self.processes.device
        if settings.batch_size < self.processes.count:
            raise ValueError(
                f"a batch of {settings.batch_size} cannot be shared by {self.processes.count} "
                "processes; start fewer"
            )
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.module = module.to(self.device).train()
        self.parameters: list[Tensor] = [p for p in module.parameters() if p.requires_grad]
        self.average = [p.detach().clone() for p in self.parameters]
        self.optimizer = torch.optim.AdamW(
            self.groups(), lr=settings.learning_rate, betas=(0.9, 0.99), weight_decay=1e-3
        )
        half = settings.precision == torch.float16  # rounds the gradient of a mean to zero
        self.scaler = torch.amp.GradScaler(self.device.type, init_scale=2.0**14, enabled=half)

    def groups(self) -> list[dict[str, Any]]:
        """The parameters by their learning rates: the settings' times "share", by default 1."""
        return [{"params": self.parameters}]

    @abstractmethod
    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """Mean loss of this process's rows in a step, and metrics of the whole batch.

        generator: where all random numbers of the step come from.
        """

    def step(self, step: int) -> Mapping[str, float]:
        """One update."""
        settings = self.settings
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * settings.rate(step) * group.get("share", 1.0)
        loss, metrics = self.loss(step, noise_generator(settings.seed, step))
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        loss = self._shared(loss)
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.scaler.is_enabled():
            norm = norm.nan_to_num(0.0, 0.0)  # of an update that overflowed, which is left out
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.parameters, 1 - self.decay(step))
        return {"loss": loss.item(), **metrics, "gradient_norm": norm.item()}

    def _shared(self, loss: Tensor) -> Tensor:
        """The mean loss of the batch; its mean gradient is put into every process's weights."""
        loss = loss.detach().clone()
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        rows = self.processes.rows(self.settings.batch_size)
        share = (rows.stop - rows.start) / self.settings.batch_size
        self.processes.average([*gradients, loss], share)
        return loss

    def decay(self, step: int) -> float:
        """Of the moving average: it follows closely while the weights still move fast."""
        return min(self.settings.ema, (1 + step) / (10 + step))

    def autocast(self) -> AbstractContextManager[Any]:
        """The forward pass's precision."""
        dtype = self.settings.precision
        enabled = dtype != torch.float32
        return torch.autocast(self.device.type, dtype, enabled=enabled)

    def averaged(self) -> nn.Module:
        """A frozen copy of the module with the moving average of its weights."""
        module = copy.deepcopy(self.module)
        trained = [p for p in module.parameters() if p.requires_grad]
        with torch.no_grad():
            for weight, average in zip(trained, self.average, strict=True):
                weight.copy_(average)
        return module.eval().requires_grad_(False)

    @property
    def steps(self) -> int:
        """Number of updates."""
        return self.settings.steps

    def config(self) -> dict[str, Any]:
        """The settings, and what else tells this training from others; its steps are among them."""
        return dict(self.settings.config())

    def finish(self, folder: Path, *, progress: bool = True) -> dict[str, Path]:
        """Write nothing: a recipe takes `averaged`, unless a subclass writes it."""
        return {}

    def preview(self, step: int) -> Tensor | None:
        """No image, unless a subclass has one."""
        return None

    def state(self) -> dict[str, Any]:
        """Weights, their average, the optimiser and, in float16, the scale of the loss."""
        scaler = {"scaler": self.scaler.state_dict()} if self.scaler.is_enabled() else {}
        return {
            "module": self.module.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            **scaler,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Inverse of `state`."""
        self.module.load_state_dict(state["module"])
        with torch.no_grad():
            for mine, theirs in zip(self.average, state["average"], strict=True):
                mine.copy_(theirs)
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])


def run_training(
    task: TrainingTask, path: Path, resume: bool, progress: bool, *, previews: int = 20
) -> None:
    """`run` with an image and a checkpoint now and then, by all processes.

    previews: how often there is an image of what was learnt by then.
    """
    every = max(1, task.steps // previews)
    folder = task.processes.folder(path, task.config(), resume, free=())
    run_together(task, folder, progress, preview_every=every, checkpoint_every=min(every, 200))


def run_together(
    task: TrainingTask,
    folder: RunFolder,
    progress: bool,
    *,
    preview_every: int,
    checkpoint_every: int,
) -> None:
    """`run` in a folder that `task.processes` gave; the first process shows what there is to see.

    Raises:
        ProcessLost: another of the processes has ended.
    """
    first = task.processes.first
    with task.processes.led():
        run(
            task,
            folder,
            progress=progress and first,
            preview_every=preview_every if first else 0,
            checkpoint_every=checkpoint_every,
        )
