"""Training of the judge, on renders with a seed that no prior is trained on."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from scorefield.training.data import batch_indices, from_bytes
from scorefield.training.settings import TrainingSettings
from scorefield.training.task import TrainingTask
from scorefield.views import VIEWS
from scorefield.world import CATEGORIES, COLORS, WorldScene
from scorefield.world.judge import JudgeNet, class_indices


class JudgeTask(TrainingTask):
    """Cross-entropy of the three heads; the view's only where the object has a front.

    Images are blurred, made noisy and shifted at random, so that the judge goes by the object
    and not by a renderer's sharpness.
    """

    module: JudgeNet

    def __init__(
        self,
        images: UInt8[Tensor, "n h w 3"],
        scenes: Sequence[WorldScene],
        settings: TrainingSettings,
    ) -> None:
        torch.manual_seed(settings.seed)
        super().__init__(JudgeNet(), settings)
        self.images = images
        self.category = class_indices([s.category for s in scenes], list(CATEGORIES))
        self.color = class_indices([s.color for s in scenes], list(COLORS))
        self.view = class_indices([s.view for s in scenes], VIEWS)
        self.fronted = torch.tensor([s.fronted for s in scenes])

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """Sum of the three cross-entropies."""
        count, own, device = self.settings.batch_size, self.processes.own, self.device
        batch = batch_indices(generator, len(self.images), count)
        x = own(_disturb(from_bytes(self.images[batch]), generator))
        # Of the batch's images with a front, each weighs the same, in whichever process it is.
        seen = own(self.fronted[batch] * (count / self.fronted[batch].sum().clamp(min=1)))
        batch = own(batch)
        with self.autocast():
            heads = self.module(x.to(device, memory_format=torch.channels_last))
        category, color, view = (head.float() for head in heads)
        truth = self.category[batch].to(device)
        loss = F.cross_entropy(category, truth, label_smoothing=0.02)
        loss = loss + F.cross_entropy(color, self.color[batch].to(device), label_smoothing=0.02)
        view_loss = F.cross_entropy(view, self.view[batch].to(device), reduction="none")
        loss = loss + (view_loss * seen.to(device)).mean()
        right = self.processes.whole((category.argmax(1) == truth).float(), count)
        return loss, {"category_accuracy": right.mean().item()}


def _disturb(
    images: Float[Tensor, "n 3 h w"], generator: torch.Generator
) -> Float[Tensor, "n 3 h w"]:
    """Half the images blurred, half noisy; all shifted by up to three pixels."""
    size = images.shape[-1]
    soft = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    blur = torch.rand(len(images), 1, 1, 1, generator=generator) * 2 - 1
    images = torch.lerp(images, soft, blur.clamp(min=0))
    amount = (torch.rand(len(images), 1, 1, 1, generator=generator) * 2 - 1).clamp(min=0) * 0.06
    images = images + amount * torch.randn(images.shape, generator=generator)
    dy, dx = torch.randint(7, (2,), generator=generator).tolist()
    return F.pad(images, (3, 3, 3, 3), mode="replicate")[..., dy : dy + size, dx : dx + size]
