"""What a frozen prior says of the frames that a policy learns from, worked out once."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from scorefield.control.data.episodes import Episodes
from scorefield.control.data.windows import Windows, frames_to_tensor
from scorefield.control.networks.encoders import ObservationEncoder, map_of

MEMORY_GIB = 2.0
"""Main memory for the maps of all cameras."""

_AT_ONCE = 64  # frames, always the same ones: a resumed training has the same bits


class FrameFeatures:
    """Maps of the frames of some episodes by the frozen network of a policy's encoder.

    Those of the first frames, for which there is memory, are kept from the beginning; the others
    are worked out whenever they are asked for.

    Attributes:
        kept: how many frames of the episodes have their maps in memory.
    """

    def __init__(
        self, encoder: ObservationEncoder, episodes: Episodes, memory: float | int = MEMORY_GIB
    ) -> None:
        """Works them out.

        Args:
            encoder: whose network of images is frozen (`ObservationEncoder.frozen`).
            episodes: with its cameras.
            memory: GiB that may be kept.
        """
        self._encoder, self._episodes = encoder, episodes
        frames = len(episodes.state)
        first = {name: self._fresh(name, np.arange(1)) for name in encoder.spaces.images}
        bytes_each = sum(maps.numel() * maps.element_size() for maps in first.values())
        self.kept = min(frames, int(memory * 2**30) // bytes_each)
        self._maps = {name: torch.empty(self.kept, *maps.shape[1:]) for name, maps in first.items()}
        for name, maps in self._maps.items():
            for begin in range(0, self.kept, _AT_ONCE):
                rows = np.arange(begin, min(begin + _AT_ONCE, self.kept))
                maps[rows] = self._fresh(name, rows).cpu()

    def batch(
        self, windows: Windows, indices: Sequence[int] | Int[Tensor, " batch"]
    ) -> dict[str, Tensor]:
        """Windows of the episodes as `Windows.batch` gives them, with maps in place of images."""
        steps = windows.observed(indices)
        batch = windows.batch(indices, images=False)
        rows, places = np.unique(steps, return_inverse=True)
        for name, kept in self._maps.items():
            known = rows < self.kept
            maps = kept[rows[known]]
            if not known.all():
                maps = torch.cat([maps, self._fresh(name, rows[~known]).cpu()])
            batch[map_of(name)] = maps[places.reshape(steps.shape)]
        return batch

    def _fresh(
        self, name: str, rows: NDArray[np.int64]
    ) -> Float[Tensor, "frames channels height width"]:
        images = frames_to_tensor(np.asarray(self._episodes.cameras[name][rows]))
        parts = images.to(self._encoder.states.scale.device).split(_AT_ONCE)
        return torch.cat([self._encoder.maps(name, part) for part in parts])
