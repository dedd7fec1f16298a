"""Several processes that train together, as `torchrun` or `accelerate launch` starts them.

Each computes the gradient of its part of the same batch, and the mean of the gradients is the
gradient of the batch, so that weights depend on the number of processes by rounding alone. The
first one writes the run's folder.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

from scorefield.runs.folder import RunFolder


class DistributedContext:
    """Those that train together; one, if none were started together.

    Attributes:
        count: how many there are.
        index: which this is; 0 is the first.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        """Joins the others, and waits for them.

        Args:
            device: the kind of device that they train on.
        """
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.index = 0
        if self.count > 1:
            # accelerate sets up the group, and says which GPU is whose.
            from accelerate import PartialState

            state = PartialState(cpu=torch.device(device).type == "cpu")
            self.index, self.count = state.process_index, state.num_processes

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.index == 0

    def device(self, kind: torch.device | str) -> torch.device:
        """The device of this process: of several GPUs, each process has its own."""
        device = torch.device(kind)
        if self.count > 1 and device.type == "cuda" and device.index is None:
            return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        return device

    def wait(self) -> None:
        """Until all are here."""
        if self.count > 1:
            distributed.barrier()

    def average(self, tensors: list[Tensor]) -> None:
        """Puts the mean over the processes into each of them, in one message."""
        if self.count == 1:
            return
        joined = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(joined)
        joined /= self.count
        parts = joined.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def folder(self, path: str | os.PathLike[str], *args: Any, **kwargs: Any) -> RunFolder:
        """`RunFolder.create` by the first; to the others a view of it that writes nothing."""
        folder: RunFolder | None = None
        if self.first:
            folder = RunFolder.create(path, *args, **kwargs)
            folder.load_checkpoint()  # mends a replacement that was interrupted
        self.wait()
        return folder or _Onlooker(Path(path), {})


class _Onlooker(RunFolder):
    """A run folder that another process writes."""

    def write_row(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes nothing."""

    def truncate_metrics(self, step: int) -> None:
        """Writes nothing."""

    def save_checkpoint(self, step: int, state: Mapping[Any, Any]) -> None:
        """Writes nothing."""
