"""The one optimisation loop: scenes, drawings, priors in training and policies all run in it."""

import math
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from scorefield.files import whole_file
from scorefield.runs.folder import RunFolder
from scorefield.runs.metrics import Metric, SentMetrics

_METRICS_SHOWN = 3


@runtime_checkable
class Task(Protocol):
    """What is optimised.

    Every random number of step k is drawn from ``noise_generator(seed, k, ...)``; then
    :meth:`state` need not hold any generator, and a run that was killed and resumed equals one
    that was not, bit for bit.
    """

    def step(self, step: int) -> Mapping[str, Metric]:
        """Does one update (forward, backward, optimiser); returns its metrics by name.

        Numbers, or tensors of one, which are fetched while the next step runs. The first three are
        shown in the progress bar. ``step`` counts from 0.
        """

    def preview(self, step: int) -> Float[Tensor, "3 height width"] | None:
        """An image in [0, 1] after ``step`` updates, None for none; changes nothing."""

    def state(self) -> dict[Any, Any]:
        """All that later steps depend on, in the form :meth:`RunFolder.save_checkpoint` takes."""

    def load_state(self, state: dict[Any, Any]) -> None:
        """Takes over what :meth:`state` returned; the tensors are on the CPU."""


class NonFiniteError(ArithmeticError):
    """A metric is NaN or infinite, or the state holds a NaN.

    Attributes:
        step: The step in which it was found, from 0.
        names: The metrics or the entries of the state.
        checkpoint_step: How many steps the checkpoint that was kept holds; None without one.
    """

    def __init__(self, step: int, names: list[str], checkpoint_step: int | None) -> None:
        self.step = step
        self.names = names
        self.checkpoint_step = checkpoint_step
        kept = (
            "no checkpoint was saved before"
            if checkpoint_step is None
            else f"the checkpoint after step {checkpoint_step} is kept"
        )
        super().__init__(f"{', '.join(names)} not finite in step {step}; {kept}")


def optimise(
    task: Task,
    *,
    steps: int,
    folder: RunFolder | None = None,
    preview_every: int = 0,
    checkpoint_every: int = 0,
    progress: bool = True,
    resume: bool = False,
) -> None:
    """Runs a task for a number of steps and keeps its run folder.

    After each step one row of metrics is in ``metrics.jsonl``. Previews and checkpoints are
    numbered by the steps done. Ctrl-C finishes the step, saves a checkpoint and raises
    KeyboardInterrupt; a second Ctrl-C does not wait. SIGTERM, which a cluster's scheduler sends
    before it ends a job, does the same and then has its usual effect.

    Args:
        task: What is optimised, freshly made also when resuming.
        steps: How many steps the whole run has, those before a resume included.
        folder: Where the run is kept; None keeps it in memory alone.
        preview_every: A preview after every so many steps and after the last; 0 for none.
        checkpoint_every: A checkpoint after every so many steps and after the last; 0 for the
            last only.
        progress: Whether to show a progress bar, and say what happened, on standard error.
        resume: Continue from the checkpoint in the folder if there is one. When it holds
            ``steps`` steps already, nothing is done.

    Raises:
        NonFiniteError: A metric or the state is not finite; the last checkpoint is kept.
        ValueError: A number is out of range, the folder holds a run and ``resume`` is False, or
            there is no folder for the previews and checkpoints that are asked for.
    """
    for name, count, least in (
        ("steps", steps, 1),
        ("preview_every", preview_every, 0),
        ("checkpoint_every", checkpoint_every, 0),
    ):
        if count < least:
            raise ValueError(f"{name} is {count}; it must be {least} or more")
    if folder is None and (resume or preview_every or checkpoint_every):
        raise ValueError("a run in memory has no previews, checkpoints or resume; give a folder")
    start = _resume(task, folder) if resume else _begin(folder)
    if folder is not None and start >= steps:
        if progress:
            print(f"{folder.path}: all {start} steps are done", file=sys.stderr)
        return
    saved = start if start > 0 else None
    with (
        _interrupts() as asked,
        tqdm(total=steps, initial=start, disable=not progress, dynamic_ncols=True) as bar,
    ):
        late: tuple[int, SentMetrics] | None = None
        for step in range(start, steps):
            sent = SentMetrics(task.step(step))
            if late is not None:
                _write(folder, bar, *late, saved)
            late = (step, sent)
            bar.update()
            done = step + 1
            looks = preview_every and _due(done, preview_every, steps)
            stop = bool(asked)
            saves = stop or _due(done, checkpoint_every, steps)
            if sent.are_here or looks or saves or done == steps:
                _write(folder, bar, *late, saved)
                late = None
            # The preview comes first: once a checkpoint is there, all before it is.
            if looks:
                _preview(task, folder, done)
            if saves:
                _save(task, folder, done, saved)
                saved = done
            if stop:
                message = f"stopped after step {done} of {steps}"
                if folder is not None:
                    message += f"; resume {folder.path} (--resume; resume=True in Python)"
                if progress:
                    bar.write(message, file=sys.stderr)
                raise KeyboardInterrupt(message)


def _write(
    folder: RunFolder | None, bar: Any, step: int, sent: SentMetrics, saved: int | None
) -> None:
    """The row of a step, and its metrics in the bar."""
    metrics = sent.read()
    bad = [name for name, metric in metrics.items() if not math.isfinite(metric)]
    if bad:
        raise NonFiniteError(step, bad, saved)
    if folder is not None:
        folder.write_row(step, metrics)
    shown = list(metrics)[:_METRICS_SHOWN]
    bar.set_postfix({name: f"{metrics[name]:.4g}" for name in shown}, refresh=False)


def _begin(folder: RunFolder | None) -> int:
    if folder is not None and folder.load_checkpoint() is not None:
        raise ValueError(f"{folder.path} holds a run; resume it or choose another folder")
    return 0


def _resume(task: Task, folder: RunFolder | None) -> int:
    """Loads the checkpoint if there is one; returns how many steps are done."""
    if folder is None:
        return 0
    checkpoint = folder.load_checkpoint()
    start = 0
    if checkpoint is not None:
        start, state = checkpoint
        task.load_state(state)
    folder.truncate_metrics(start)
    return start


def _due(done: int, every: int, steps: int) -> bool:
    return done == steps or (every > 0 and done % every == 0)


def _preview(task: Task, folder: RunFolder | None, done: int) -> None:
    if folder is None:
        return
    with torch.no_grad():
        image = task.preview(done)
    if image is None:
        return
    pixels = (image.detach().float().clamp(0, 1) * 255).round().to(torch.uint8)  # (3, H, W)
    with whole_file(folder.preview_path(done)) as part:
        Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy()).save(part)


def _save(task: Task, folder: RunFolder | None, done: int, saved: int | None) -> None:
    """A checkpoint of a state that holds no NaN; in memory the state is only looked at."""
    state = task.state()
    bad = [where for where, tensor in _tensors(state, "state") if tensor.isnan().any()]
    if bad:
        raise NonFiniteError(done - 1, bad, saved)
    if folder is not None:
        folder.save_checkpoint(done, state)


def _tensors(value: Any, where: str) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a state that can hold a NaN, and the plain numbers likewise."""
    if isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex()):
        yield where, value
    elif isinstance(value, float):
        yield where, torch.tensor(value)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _tensors(item, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _tensors(item, f"{where}.{index}")


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM are listed instead of ending the process; the second one raises.

    A run that stopped because of a SIGTERM is given it again in the end, for whoever handled it
    before. Signals reach the main thread only; in another one nothing is listed.
    """
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def note(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        if len(asked) > 1:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            # None stands for a handler that was not set from Python; it cannot be set back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    try:
        yield asked
    except KeyboardInterrupt:
        restore()
        if signal.SIGTERM in asked:
            signal.raise_signal(signal.SIGTERM)
        raise
    finally:
        restore()
