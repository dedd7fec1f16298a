"""Several processes that train together, as torchrun and `accelerate launch` start them.

Each computes the gradient of its rows of one batch, and the mean of the gradients, weighted by the
rows, is the gradient of the batch, so that weights depend on the number of processes by rounding
alone. The first one writes all files; the others read them, so that the folder of a training must
lie where all of them see it.

torch.distributed is all that this needs: networks that fit on one device, whose gradients travel in
one message when the backward pass has ended.
"""

import atexit
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch
from jaxtyping import Shaped
from torch import Tensor, distributed

from scorefield.runs.folder import RunFolder

_CACHED = 90.0  # seconds; NFS keeps what a folder holds for up to 60
_PATIENCE = timedelta(days=1)  # the first one may render images for hours before a training

Given = ParamSpec("Given")
Made = TypeVar("Made")


class ProcessLost(ConnectionError):
    """Another process of the training has ended, so that this one cannot go on."""


class DistributedContext:
    """Those that train together; one, if none were started together.

    Attributes:
        count: how many there are.
        index: which this is; 0 is the first.
        device: of this process: of several GPUs, each process has its own.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        """Joins the others, and waits for them.

        Args:
            device: the kind of device that they train on.

        Raises:
            ValueError: the launcher's variables are not whole, or there is no such device for each.
        """
        self.device = torch.device(device)
        self.count, self.index = int(_variable("WORLD_SIZE", "1")), 0
        if self.count > 1:
            self.index = int(_variable("RANK"))
            self.device = _own_device(self.device, int(_variable("LOCAL_RANK", "0")))
            _join(self.device)

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.index == 0

    def rows(self, count: int) -> slice:
        """This process's rows of a batch of `count`: parts whose sizes differ by one at most."""
        begin, end = (count * index // self.count for index in (self.index, self.index + 1))
        return slice(begin, end)

    def own(self, batch: Shaped[Tensor, "batch *shape"]) -> Shaped[Tensor, "rows *shape"]:
        """This process's rows of what was drawn for the whole batch."""
        return batch[self.rows(len(batch))]

    def whole(
        self, own: Shaped[Tensor, "rows *shape"], count: int
    ) -> Shaped[Tensor, "{count} *shape"]:
        """The rows of all processes, without their gradients, from this one's."""
        own = own.detach()
        if self.count == 1:
            return own
        batch = own.new_zeros(count, *own.shape[1:])
        batch[self.rows(count)] = own
        self._add_up(batch)
        return batch

    def average(self, tensors: list[Tensor], share: float) -> None:
        """Puts the weighted mean over the processes into each tensor, in one message.

        share: the weight of this process; those of all have the sum 1.
        """
        if self.count == 1:
            return
        joined = torch.cat([tensor.flatten() for tensor in tensors]) * share
        self._add_up(joined)
        parts = joined.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def wait(self) -> None:
        """Until all are here.

        Raises:
            ProcessLost: one of them has ended.
        """
        arrived = torch.ones(1, device=self.device)
        self._add_up(arrived)
        arrived.item()  # a GPU's process would not wait for the sum before

    def once(self, work: Callable[Given, Made], *args: Given.args, **kwargs: Given.kwargs) -> None:
        """Lets the first do a work; the others wait for its end."""
        if self.first:
            work(*args, **kwargs)
        self.wait()

    @contextmanager
    def first_ahead(self) -> Iterator[None]:
        """Inside, the first makes files; the others enter when it has, and find them."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()

    @contextmanager
    def led(self) -> Iterator[None]:
        """Inside, only the first heeds Ctrl-C and SIGTERM: it saves, and its end ends the others.

        Each would otherwise stop after a step of its own, and some wait for those that stopped.
        """
        if self.first or threading.current_thread() is not threading.main_thread():
            yield
            return
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, signal.SIG_IGN) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)

    def folder(self, path: str | os.PathLike[str], *args: Any, **kwargs: Any) -> RunFolder:
        """`RunFolder.create` by the first; to the others a view of it that writes nothing.

        Raises:
            ValueError: what `RunFolder.create` refuses; or this process does not see the folder, or
                not the first one's checkpoint.
        """
        folder: RunFolder | None = None
        done = torch.zeros(1, dtype=torch.int64, device=self.device)  # of the first: 0 for none
        if self.first:
            folder = RunFolder.create(path, *args, **kwargs)
            checkpoint = folder.load_checkpoint()  # mends a replacement that was interrupted
            done += 0 if checkpoint is None else 1 + checkpoint[0]
        self._add_up(done)
        if folder is None and not (Path(path) / "config.json").exists():
            raise ValueError(
                f"process {self.index} does not see {path}, which the first process made; choose "
                "a folder on a disk that all computers of the training share"
            )
        return folder or _Onlooker(Path(path), self.index, int(done))

    def _add_up(self, tensor: Tensor) -> None:
        """Puts the sum over the processes into a tensor."""
        if self.count == 1:
            return
        try:
            distributed.all_reduce(tensor)
        except RuntimeError as error:
            atexit.unregister(_leave)  # the group's end could wait for it for ever
            raise ProcessLost("another process of this training has ended") from error


class _Onlooker(RunFolder):
    """A run folder that another process writes.

    index: of this process.
    done: 1 more than the steps of the checkpoint that the first one begins with; 0 is none.
    """

    def __init__(self, path: Path, index: int, done: int) -> None:
        super().__init__(path, {})
        self._index, self._done = index, done

    def load_checkpoint(self) -> tuple[int, dict[Any, Any]] | None:
        """The checkpoint that the first process began with.

        A network's file system may show an older one for a while, or none: it is waited for.
        Weights that differ between the processes would be averaged without a word.

        Raises:
            ValueError: it is not to be seen.
        """
        if not self._done:
            return None
        until = time.monotonic() + _CACHED
        while True:
            found = super().load_checkpoint()
            seen = 0 if found is None else 1 + found[0]
            if seen == self._done:
                return found
            if time.monotonic() > until:
                raise ValueError(
                    f"process {self._index} sees {f'step {seen - 1}' if seen else 'no checkpoint'} "
                    f"in {self.path}, and the first process step {self._done - 1}; choose a folder "
                    "on a disk that all computers of the training share, or start them once more"
                )
            time.sleep(1.0)

    def _recover(self) -> None:
        """Leaves it to the first process."""

    def write_row(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes nothing."""

    def truncate_metrics(self, step: int) -> None:
        """Writes nothing."""

    def save_checkpoint(self, step: int, state: Mapping[Any, Any]) -> None:
        """Writes nothing."""


def _variable(name: str, default: str | None = None) -> str:
    """A number that a launcher of several processes puts into the environment."""
    text = os.environ.get(name, default)
    if text is None or not text.isdecimal():
        raise ValueError(
            f"WORLD_SIZE is {os.environ.get('WORLD_SIZE')} and {name} is {text}: start several "
            "processes by torchrun or accelerate launch, or unset WORLD_SIZE"
        )
    return text


def _own_device(device: torch.device, local: int) -> torch.device:
    """The device of the process of this number on its computer."""
    if device.type == "cpu":
        return device
    if device.type != "cuda" or device.index is not None:
        raise ValueError(
            f"several processes cannot share {device}; give --device cuda, where each has a GPU of "
            "its own, or cpu"
        )
    if local >= torch.cuda.device_count():
        raise ValueError(
            f"{local + 1} or more processes were started on a computer with "
            f"{torch.cuda.device_count()} GPUs; start one for each GPU"
        )
    return torch.device("cuda", local)


def _join(device: torch.device) -> None:
    """Begins the group of processes, unless a program of the user's has."""
    if distributed.is_initialized():
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=_PATIENCE)
    atexit.register(_leave)


def _leave() -> None:
    """Ends the group, whose threads would otherwise run on while the interpreter is taken down."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
