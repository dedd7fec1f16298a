"""The random numbers of a batch, the same however many processes share it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class ShardedGenerator:
    """Draws for the rows of one process what it would get if one process had the whole batch.

    Every process draws the numbers of all rows and keeps its own, so that the generators stay
    alike; beside a network's step that costs nothing.

    generator: of the step, in the same state in every process; on the CPU.
    share: which part of the batch this process has.
    shares: into how many equal parts the batch is cut.
    """

    generator: torch.Generator
    share: int = 0
    shares: int = 1

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Standard normal numbers; the first axis counts this process's rows."""
        return self._own(torch.randn(self._whole(shape), generator=self.generator))

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """Numbers in [0, 1)."""
        return self._own(torch.rand(self._whole(shape), generator=self.generator))

    def integers(self, below: int, rows: int) -> Tensor:
        """(rows,): integers from 0 to below - 1."""
        return self._own(torch.randint(below, self._whole([rows]), generator=self.generator))

    def _whole(self, shape: Sequence[int]) -> list[int]:
        return [shape[0] * self.shares, *shape[1:]]

    def _own(self, drawn: Tensor) -> Tensor:
        rows = len(drawn) // self.shares
        return drawn[self.share * rows : (self.share + 1) * rows]
