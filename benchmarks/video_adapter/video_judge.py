"""A small classifier of the moving world's clips, trained in seconds on real ones alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from scorefield.runs.job import run
from scorefield.training.data import batch_indices
from scorefield.training.settings import TrainingSettings
from scorefield.training.task import TrainingTask
from scorefield.world.clips import (
    CLIP_COLORS,
    DOMAINS,
    FRAMES,
    MOTIONS,
    Clip,
    ClipSet,
    render_clips,
)
from scorefield.world.judge import class_indices

QUESTIONS: dict[str, tuple[str, ...]] = {
    "domain": tuple(DOMAINS),
    "motion": tuple(MOTIONS),
    "color": tuple(CLIP_COLORS),
}
"""What the classifier tells of a clip, and the answers there are. The shape is the reader's: with
this budget the classifier learns it at 58%."""

FEATURES = 64

_CHUNK = 128


class ClipJudgeNet(nn.Module):
    """Three convolutions over frames side by side as channels, pooled to 64 features; four heads.

    With all frames in the channels of the first layer, a filter sees a motion at once.
    """

    def __init__(self) -> None:
        super().__init__()
        stages, last = [], 3 * FRAMES
        for width, stride in ((64, 2), (96, 2), (FEATURES, 1)):
            stages += [
                nn.Conv2d(last, width, 3, stride=stride, padding=1),
                nn.GroupNorm(8, width),
                nn.SiLU(),
            ]
            last = width
        self.trunk = nn.Sequential(*stages)
        self.heads = nn.ModuleDict({name: nn.Linear(last, len(a)) for name, a in QUESTIONS.items()})

    def features(self, videos: Float[Tensor, "b frames 3 h w"]) -> Float[Tensor, "b 64"]:
        """Pooled features of videos in [0, 1]."""
        out: Tensor = self.trunk((2 * videos - 1).flatten(1, 2))
        return out.mean((2, 3))

    def forward(self, videos: Float[Tensor, "b frames 3 h w"]) -> dict[str, Tensor]:
        """Logits per question."""
        features = self.features(videos)
        return {name: head(features) for name, head in self.heads.items()}


class ClipJudgeTask(TrainingTask):
    """Sum of the cross-entropies of the questions, on clips blurred and made noisy at random.

    So the judge goes by what is shown, and not by a renderer's sharpness.
    """

    module: ClipJudgeNet

    def __init__(self, clips: Sequence[Clip], settings: TrainingSettings) -> None:
        torch.manual_seed(settings.seed)
        super().__init__(ClipJudgeNet(), settings)
        self.videos = render_all(clips)
        self.truth = {
            name: class_indices([getattr(clip, name) for clip in clips], answers)
            for name, answers in QUESTIONS.items()
        }

    def config(self) -> dict[str, Any]:
        """The settings, and how many clips it learns from."""
        return super().config() | {"clips": len(self.videos)}

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """The loss of a batch."""
        batch = batch_indices(generator, len(self.videos), self.settings.batch_size)
        videos = _disturb(self.videos[batch], generator).to(self.settings.device)
        with self.autocast():
            heads = self.module(videos)
        losses = {
            name: F.cross_entropy(head.float(), self.truth[name][batch].to(head.device))
            for name, head in heads.items()
        }
        return torch.stack(list(losses.values())).sum(), {k: v.item() for k, v in losses.items()}


def _disturb(
    videos: Float[Tensor, "b frames 3 h w"], generator: torch.Generator
) -> Float[Tensor, "b frames 3 h w"]:
    """Half the clips blurred, half noisy."""
    one = (len(videos), 1, 1, 1, 1)
    padded = F.pad(videos.flatten(1, 2), (1, 1, 1, 1), mode="replicate")
    soft = F.avg_pool2d(padded, 3, stride=1).view(videos.shape)
    blur = (torch.rand(one, generator=generator) * 2 - 1).clamp(min=0)
    noise = (torch.rand(one, generator=generator) * 2 - 1).clamp(min=0) * 0.08
    return torch.lerp(videos, soft, blur) + noise * torch.randn(videos.shape, generator=generator)


class VideoClipJudge:
    """Domain, motion and colour of clips."""

    def __init__(self, net: ClipJudgeNet) -> None:
        self.net = net.eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, videos: Float[Tensor, "b frames 3 h w"]) -> dict[str, list[str]]:
        """The most probable answer to every question, one per video in [0, 1]."""
        heads = [self.net(chunk.float()) for chunk in videos.split(_CHUNK)]
        return {
            name: [answers[i] for part in heads for i in part[name].argmax(1).tolist()]
            for name, answers in QUESTIONS.items()
        }

    @torch.no_grad()
    def features(self, videos: Float[Tensor, "b frames 3 h w"]) -> Float[Tensor, "b 64"]:
        """The features whose distribution is compared."""
        return torch.cat([self.net.features(chunk.float()) for chunk in videos.split(_CHUNK)])

    def accuracy(self, clips: Sequence[Clip]) -> dict[str, float]:
        """Share of right answers on renders of clips, per question."""
        said = self(render_all(clips))
        return {
            name: sum(a == getattr(c, name) for a, c in zip(answers, clips, strict=True))
            / len(clips)
            for name, answers in said.items()
        }


def train_clip_judge(
    out: Path,
    *,
    seed: int,
    clips: int = 4096,
    steps: int = 400,
    resume: bool = False,
    progress: bool = True,
) -> VideoClipJudge:
    """Train a judge of all domains; its run is in `out` and, with `resume`, is not done twice.

    seed: of the world's clips and of the training; not one that a judged prior was trained on.
    clips: size of the training set.
    """
    settings = TrainingSettings(steps, 64, learning_rate=3e-3, warmup=30, ema=0.98, seed=seed)
    drawn = ClipSet(seed)
    task = ClipJudgeTask([drawn[i] for i in range(clips)], settings)
    run(task, out, resume=resume, progress=progress, preview_every=0, checkpoint_every=0)
    net = task.averaged()
    assert isinstance(net, ClipJudgeNet)
    return VideoClipJudge(net)


def render_all(clips: Sequence[Clip]) -> Float[Tensor, "n frames 3 h w"]:
    """Any number of clips as videos in [0, 1]."""
    starts = range(0, len(clips), _CHUNK)
    return torch.cat([render_clips(clips[start : start + _CHUNK]) for start in starts])
