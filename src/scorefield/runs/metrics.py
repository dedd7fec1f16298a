"""The metrics of a step on their way to the host, while the device goes on."""

from collections.abc import Mapping

import torch
from torch import Tensor

Metric = float | Tensor
"""A number, or a tensor () of one: on a GPU it is not waited for."""


class SentMetrics:
    """The metrics of a step, read from the device when they are asked for.

    A GPU is asked to send them when it gets there; reading them right after the step would wait
    for all of it, reading them after the next one was begun waits for next to nothing.
    """

    def __init__(self, metrics: Mapping[str, Metric]) -> None:
        self._known = {name: float(v) for name, v in metrics.items() if not _is_away(v)}
        self._order = list(metrics)
        away = {name: v for name, v in metrics.items() if isinstance(v, Tensor) and _is_away(v)}
        self._names = list(away)
        self._arrived: torch.cuda.Event | None = None
        if not away:
            return
        values = torch.stack([value.detach().reshape(()).float() for value in away.values()])
        # what another device than CUDA sent without being waited for cannot be asked about
        is_cuda = values.device.type == "cuda"
        self._values = values.to("cpu", non_blocking=is_cuda)
        if is_cuda:
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    @property
    def are_here(self) -> bool:
        """Whether nothing has to be waited for."""
        return self._arrived is None

    def read(self) -> dict[str, float]:
        """Their values, in the order they were given."""
        if self._arrived is not None:
            self._arrived.synchronize()
            self._arrived = None
        if self._names:
            self._known |= dict(zip(self._names, self._values.tolist(), strict=True))
            self._names = []
        return {name: self._known[name] for name in self._order}


def _is_away(value: Metric) -> bool:
    return isinstance(value, Tensor) and value.device.type != "cpu"
