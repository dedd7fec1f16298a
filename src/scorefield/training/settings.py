"""What is set of any training. The command line shows it without loading torch."""

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of one training.

    steps: updates; the learning rate's cosine ends there.
    batch_size: images per update.
    learning_rate: peak of AdamW's rate, reached after `warmup` steps.
    ema: decay of the weights' moving average, which is what gets exported.
    seed: of the initial weights, the batches and the noise.
    device: where to train.
    dtype: of the forward pass inside autocast; None is float32, which switches autocast off.
        bfloat16 is faster on processors with AVX512-BF16 and on any recent GPU, and much slower on
        other processors (`scorefield.devices.emulates`).
    """

    steps: int
    batch_size: int = 32
    learning_rate: float = 4e-4
    warmup: int = 200
    ema: float = 0.999
    seed: int = 0
    device: str = "cpu"
    dtype: "torch.dtype | None" = None

    def rate(self, step: int) -> float:
        """Factor of the learning rate: linear warm-up, then a cosine from 1 to 0.02."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    @property
    def precision(self) -> "torch.dtype":
        """`dtype`, or float32."""
        import torch

        return self.dtype or torch.float32

    def config(self) -> dict[str, str]:
        """The settings as text, for the config of a run."""
        return {
            **{name: str(value) for name, value in asdict(self).items()},
            "dtype": str(self.precision),
        }
