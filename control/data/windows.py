"""What a policy is trained on: windows of episodes, padded by repetition."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from scorefield.arrays import tensor_of
from scorefield.control.data.episodes import Episodes
from scorefield.control.data.spaces import Horizons
from scorefield.control.policies.sharded_generator import ShardedGenerator
from scorefield.priors.noise import noise_generator


class Windows:
    """All windows of Tp steps of some episodes: To observations, and Tp actions from the first on.

    A window may begin up to To - 1 steps before its episode and end up to Ta - 1 steps after it;
    the first or the last step is repeated there (Chi et al. 2023, the reference's `create_indices`
    with pad_before = To - 1 and pad_after = Ta - 1). So an episode of L steps has
    L + To + Ta - Tp - 1 windows, and window 0 of an episode, with the first observation To times,
    is what a policy sees when it begins.

    Works on arrays in memory and on mapped ones: only the rows of a batch are read.

    Attributes:
        episodes: where the windows come from.
        horizons: (To, Ta, Tp).
    """

    def __init__(
        self, episodes: Episodes, horizons: Horizons, of: Sequence[int] | None = None
    ) -> None:
        """Lists the windows.

        Args:
            episodes: where they come from.
            horizons: (To, Ta, Tp).
            of: numbers of the episodes that they are of; None: all of them.

        Raises:
            ValueError: an episode is too short to have a window.
        """
        self.episodes = episodes
        self.horizons = horizons
        self._of = np.arange(len(episodes)) if of is None else np.asarray(of, dtype=np.int64)
        before, after = horizons.n_obs_steps - 1, horizons.n_action_steps - 1
        lengths = (episodes.ends - episodes.begins)[self._of]
        counts = lengths + before + after - horizons.horizon + 1
        if (counts < 1).any():
            short = int((counts < 1).argmax())
            least = horizons.horizon - before - after
            raise ValueError(
                f"episode {self._of[short]} has {lengths[short]} steps; windows of "
                f"{horizons.horizon} need {least} or more: leave it out (Episodes.select) or "
                "shorten the prediction horizon"
            )
        self._last = np.cumsum(counts)  # number of the first window that is of a later episode

    def __len__(self) -> int:
        """The number of windows."""
        return int(self._last[-1])

    def split(self, share: float, seed: int = 0) -> "tuple[Windows, Windows | None]":
        """What to learn from, and what to hold out: whole episodes, at random.

        Args:
            share: of the episodes that is held out, rounded down.
            seed: of the choice.

        Returns:
            The windows of the other episodes, and those of the held-out ones; None where the share
            of the episodes is less than one.

        Raises:
            ValueError: the share is not in [0, 1).
        """
        if not 0 <= share < 1:
            raise ValueError(f"the share that is held out must lie in [0, 1); got {share}")
        count = int(share * len(self._of))
        if count == 0:
            return self, None
        order = torch.randperm(len(self._of), generator=noise_generator(seed, 0)).numpy()
        parts = (np.sort(self._of[order[count:]]), np.sort(self._of[order[:count]]))
        learnt, held = (Windows(self.episodes, self.horizons, part.tolist()) for part in parts)
        return learnt, held

    def batch(
        self, indices: Sequence[int] | Int[Tensor, " batch"], *, images: bool = True
    ) -> dict[str, Tensor]:
        """The windows of these numbers.

        Args:
            indices: the numbers.
            images: whether to read those of the cameras.

        Returns:
            "state" (B, To, D) and "action" (B, Tp, A) float32, and per camera (B, To, 3, H, W) in
            [0, 1], float32.

        Raises:
            IndexError: a number is not in [0, len).
        """
        rows = self._steps(np.asarray(indices, dtype=np.int64))
        observed = rows[:, : self.horizons.n_obs_steps]
        batch = {
            "state": _taken(self.episodes.state, observed),
            "action": _taken(self.episodes.action, rows),
        }
        for name, frames in self.episodes.cameras.items() if images else ():
            batch[name] = frames_to_tensor(np.asarray(frames[observed]))
        return batch

    def observed(
        self, indices: Sequence[int] | Int[Tensor, " batch"]
    ) -> Int[NDArray[np.int64], "batch to"]:
        """The steps, among all of the episodes, that the windows of these numbers observe."""
        return self._steps(np.asarray(indices, dtype=np.int64))[:, : self.horizons.n_obs_steps]

    def states(self, indices: Sequence[int] | Int[Tensor, " batch"]) -> Float[Tensor, "batch to d"]:
        """The states alone of the windows of these numbers, as `batch` gives them."""
        return _taken(self.episodes.state, self.observed(indices))

    def episode_of(
        self, indices: Sequence[int] | Int[Tensor, " batch"]
    ) -> Int[NDArray[np.int64], " batch"]:
        """The number of the episode that each of these windows is of."""
        return self._of[np.searchsorted(self._last, np.asarray(indices), side="right")]

    def draw(
        self, count: int, draws: ShardedGenerator, device: torch.device | str = "cpu"
    ) -> dict[str, Tensor]:
        """So many windows at random, with repetition, on a device; as `batch` gives them."""
        batch = self.batch(draws.integers(len(self), count))
        return {name: tensor.to(device) for name, tensor in batch.items()}

    def _steps(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """(B, Tp): the steps of each window, among all steps of the episodes."""
        if ((indices < 0) | (indices >= len(self))).any():
            raise IndexError(f"windows are numbered from 0 to {len(self) - 1}; got {indices}")
        place = np.searchsorted(self._last, indices, side="right")
        first = np.concatenate([np.zeros(1, dtype=np.int64), self._last[:-1]])[place]
        episode = self._of[place]
        begin, end = self.episodes.begins[episode], self.episodes.ends[episode]
        start = begin + (indices - first) - (self.horizons.n_obs_steps - 1)
        steps = start[:, None] + np.arange(self.horizons.horizon)
        clipped: NDArray[np.int64] = np.clip(steps, begin[:, None], end[:, None] - 1)
        return clipped


def frames_to_tensor(frames: NDArray[np.uint8]) -> Float[Tensor, "*batch 3 height width"]:
    """Frames (..., H, W, 3) of uint8 as the images that networks take, in [0, 1]."""
    return tensor_of(frames, "the frames").movedim(-1, -3).float() / 255


def _taken(array: NDArray[np.float32], rows: NDArray[np.int64]) -> Tensor:
    """The rows, read from a mapped file if it is one."""
    return torch.from_numpy(np.asarray(array[rows]))
