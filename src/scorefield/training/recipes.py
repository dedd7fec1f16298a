"""Numbers of the trainings of the embedded networks. The command line shows them without torch."""

import os
from dataclasses import dataclass

from scorefield.training.settings import TrainingSettings

CODEC = TrainingSettings(steps=1600, batch_size=16, learning_rate=1e-3, warmup=100, ema=0.995)
"""The codec of `shapes`."""

DIFFUSION = TrainingSettings(steps=15000, batch_size=32, learning_rate=6e-4, warmup=200)
"""The denoiser of `shapes`."""

JUDGE = TrainingSettings(steps=4000, batch_size=64, learning_rate=2e-3, warmup=100, ema=0.995)
"""The judge."""

SHAPES_IMAGES, JUDGE_IMAGES = 40960, 32768
"""Sizes of the training sets of `shapes` and of the judge."""

DIGITS = TrainingSettings(steps=5000, batch_size=32, learning_rate=1e-3, warmup=200, ema=0.998)
"""The denoiser of `digits`."""

BROAD_SETTINGS = TrainingSettings(
    steps=5000, batch_size=16, learning_rate=1e-3, warmup=200, ema=0.998
)
NARROW_SETTINGS = TrainingSettings(
    steps=2500, batch_size=16, learning_rate=1e-3, warmup=100, ema=0.995
)
"""The denoisers of `motion-broad` and `motion-narrow`."""

BROAD_WIDTH, NARROW_WIDTH = 48, 24
"""Widths of their networks."""

BROAD_LOW_NOISE, NARROW_LOW_NOISE = 1.0, 1.5
"""How much oftener than evenly they are trained at low noise: timesteps are u^this of all."""

PICTURES_CODEC = TrainingSettings(
    steps=1000, batch_size=16, learning_rate=1e-3, warmup=50, ema=0.995
)
"""The codec of a folder of pictures, from the weights of another."""

PICTURES_DENOISER = TrainingSettings(
    steps=7000, batch_size=32, learning_rate=1e-3, warmup=50, ema=0.998
)
"""The denoiser of a folder of pictures, from the weights of another."""

ICON_CONCEPTS = 110
"""How many things there are that `icons` may learn to draw."""


@dataclass(frozen=True)
class PictureSettings:
    """How a folder of pictures becomes training data and latents.

    views: of each picture with captions, each cropped, placed and mirrored at random.
    codec_views: of each picture without, which only the codec sees.
    mirror: whether pictures may be mirrored; not where they hold letters.
    channels: of the 16x16 latents.
    start: a prior whose weights the training begins with; None begins with random ones.
    decoder_only: the codec's encoder stays that of `start`, so that its latents, and the denoiser
        of them, stay right; only the decoder learns to draw them more sharply.
    """

    views: int = 8
    codec_views: int = 2
    mirror: bool = True
    channels: int = 8
    start: str | os.PathLike[str] | None = "shapes"
    decoder_only: bool = False


OBJECTS_CODEC = TrainingSettings(steps=800, batch_size=16, learning_rate=5e-4, warmup=50, ema=0.995)
"""The codec of `objects`, from that of `icons`."""

OBJECTS_DENOISER = TrainingSettings(
    steps=10000, batch_size=16, learning_rate=1e-3, warmup=100, ema=0.999
)
"""The denoiser of `objects`, from that of `icons`."""

OBJECT_VIEWS, OTHER_OBJECT_VIEWS = 128, 0
"""Views of each thing of a common noun, and of each of the others."""

OBJECTS_LOW_NOISE = 0.35
"""Timesteps are u^this of all: from where a thing is seen hardly matters where little noise is."""

OBJECTS_CURRICULUM = (500, 1000)
"""Until when there are only things with a front, and until when only unpainted ones on white.

Paint, backgrounds and things that look alike from every side move the latents so much more than the
camera does that with them it went unheeded for thousands of steps.
"""
