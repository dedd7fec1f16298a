"""What a policy in training makes of episodes that it does not learn from."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from scorefield.control.data.windows import Windows
from scorefield.control.policies.policy import ChunkRequest, NetworkPolicy
from scorefield.control.policies.sharded_generator import ShardedGenerator
from scorefield.control.training.frame_features import FrameFeatures
from scorefield.priors.noise import noise_generator
from scorefield.rows import read_rows

METRICS = ("held_out_loss", "held_out_error", "training_error")
"""Names of the metrics, in metrics.jsonl."""

_LEAST_SPREAD = 1e-8


class HeldOut:
    """Figures of a policy on windows that it learns from, and on others.

    The loss is the training's, with the same noise every time. The error of the actions is the
    root mean square of what the policy does less what was done, over the actions that are executed
    and in normalised units, in parts of what the mean action of the demonstrations would have: 0
    is the demonstrator, 1 somebody who does not look. Where demonstrations of one situation differ,
    as on either side of an obstacle, a perfect policy has an error too, for it may take the other
    way: then the two errors are to be compared with each other.

    Args:
        windows: what the policy learns from.
        held_out: what it does not.
        most: how many windows of each are looked at, at equal distances.
        device: of the policy.
        features: what a frozen prior says of the frames; None: the policy looks at them itself.
    """

    def __init__(
        self,
        windows: Windows,
        held_out: Windows,
        most: int,
        device: torch.device | str,
        features: FrameFeatures | None = None,
    ) -> None:
        self._windows, self._most = (windows, held_out), most
        self._device, self._features = device, features

    @torch.no_grad()
    def metrics(self, policy: NetworkPolicy) -> dict[str, float]:
        """Those of `METRICS`."""
        learnt, others = (self._some(windows) for windows in self._windows)
        loss = float(policy.loss(others, ShardedGenerator(noise_generator(0))))
        mean = policy.actions(learnt["action"]).mean(dim=(0, 1))
        found = (loss, *(_error(policy, batch, mean) for batch in (others, learnt)))
        return dict(zip(METRICS, found, strict=True))

    def _some(self, windows: Windows) -> dict[str, Tensor]:
        count = min(self._most, len(windows))
        indices = torch.linspace(0, len(windows) - 1, count).round().long()
        if self._features is None:
            batch = windows.batch(indices)
        else:
            batch = self._features.batch(windows, indices)
        return {name: tensor.to(self._device) for name, tensor in batch.items()}


def _error(policy: NetworkPolicy, batch: Mapping[str, Tensor], mean: Tensor) -> float:
    executed = policy.horizons.executed
    done = policy.actions(batch["action"][:, executed])
    chunks = policy.chunk(ChunkRequest(batch, 0, range(len(batch["action"]))))
    found = policy.actions(chunks[:, executed].to(done))
    # Actions that never change have no error of their mean to compare with.
    spread = (done - mean).square().mean().clamp(min=_LEAST_SPREAD)
    return float(((found - done).square().mean() / spread).sqrt())


def told(metrics: Mapping[str, float]) -> str:
    """The metrics in one line."""
    return (
        f"loss {metrics['held_out_loss']:.3g}, error of actions {metrics['held_out_error']:.2f}, "
        f"in training {metrics['training_error']:.2f} (1 is the mean action)"
    )


def last_metrics(run: Path) -> dict[str, float]:
    """What a training that has ended found last; nothing if no episode was held out."""
    row = read_rows(run / "metrics.jsonl")[-1]
    return {name: row[name] for name in METRICS if name in row}
