"""Sizes of the networks of policies. The command line shows them without loading torch."""

from dataclasses import dataclass
from typing import Literal

from scorefield.domains import Count, NotNegative, Whole, check_numbers

FREQUENCIES = 64
"""Random Fourier features of a state, where a network's settings name no other number."""

Predicts = Literal["eps", "x0", "v", "velocity"]
"""What a network outputs: the noise, the clean chunk, alpha eps - sigma x0, or eps - x0."""

Sampler = Literal["consistent", "reference", "ancestral", "renoised"]
"""What becomes of the noise at a step, and at which timesteps (`solver_steps`)."""


@dataclass(frozen=True)
class EncoderSettings:
    """How images become numbers; states need no settings.

    width: channels of the ResNet's first stage; 64 is the published ResNet18.
    keypoints: number of keypoints of the spatial softmax, two numbers each, per camera.
    crop: part of height and width that is kept: anywhere in training, the middle in use.
    prior: frozen prior (name, folder or hub id) whose features are seen instead of a ResNet's.
    layer: layer of --prior that is tapped, as `scorefield info` lists them.
    fraction: noise level at which --prior looks, as a fraction of its schedule.
    """

    width: int = 64
    keypoints: int = 32
    crop: float = 0.875
    prior: str | None = None
    layer: str = "up1"
    fraction: float = 0.1

    def __post_init__(self) -> None:
        if self.width < 16 or self.width % 16:
            raise ValueError(f"width must be a multiple of 16, for the norms; got {self.width}")
        if self.keypoints < 1:
            raise ValueError(f"keypoints must be 1 or more; got {self.keypoints}")
        if not 0 < self.crop <= 1 or not 0 <= self.fraction <= 1:
            raise ValueError(
                f"crop must lie in (0, 1] and fraction in [0, 1]; got {self.crop}, {self.fraction}"
            )


@dataclass(frozen=True)
class LeRobotEncoderSettings:
    """How LeRobot's diffusion policies make numbers of images: theirs are read into it.

    blocks: residual blocks of the ResNet's four stages: (2, 2, 2, 2) is ResNet18, (3, 4, 6, 3) is
        ResNet34.
    norm: group, or frozen: batch norm with the statistics of its training, which stay.
    keypoints: of the spatial softmax, which a linear layer and a ReLU follow.
    resize: (height, width) that images are brought to first; None: they stay.
    crop: (height, width) that is kept then: anywhere in training, the middle in use; None: all.
    shared: one network for all cameras.
    """

    blocks: tuple[int, ...] = (2, 2, 2, 2)
    norm: Literal["group", "frozen"] = "group"
    keypoints: int = 32
    resize: tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    shared: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", tuple(self.blocks))
        for name in ("resize", "crop"):
            size = getattr(self, name)
            if size is not None:
                object.__setattr__(self, name, (int(size[0]), int(size[1])))
                if min(size) < 1:
                    raise ValueError(f"{name} must be a height and a width; got {size}")
        if len(self.blocks) != 4 or min(self.blocks) < 1 or self.keypoints < 1:
            raise ValueError(f"a ResNet has four stages of blocks, and keypoints; got {self}")
        if self.norm not in ("group", "frozen"):
            raise ValueError(f"norm must be group or frozen, got {self.norm!r}")


@dataclass(frozen=True)
class PerceptronSettings:
    """Size of the backbone; small enough for one core.

    width: channels of its layers.
    layers: number of residual blocks, of two linear maps each.
    frequencies: number of random Fourier features of the observation; without them modes that lie
        close together blur. None: 64; a U-Net or a transformer that sees images has none.
    bandwidth: standard deviation of these frequencies, in periods over a normalised observation's
        half range. A policy with too much learns its demonstrations by heart, with too little it
        blurs what lies close together. None: what the demonstrations are dense enough for
        (`bandwidth_for`).
    film: the level of noise scales what is read of a noisy chunk; False: it is one more number
        that goes in, as in policies that were saved before there was a choice.
    """

    width: Count = 256
    layers: Count = 3
    frequencies: Whole | None = None
    bandwidth: NotNegative | None = None
    film: bool = True

    def __post_init__(self) -> None:
        if self.frequencies is None:
            object.__setattr__(self, "frequencies", FREQUENCIES)
        check_numbers(self)


@dataclass(frozen=True)
class TransformerSettings:
    """Size of the transformer; small enough for one core.

    observations: tokens that the condition is cut into, one per observation: To.
    width: of a token.
    layers: of the decoder.
    heads: of the attention; divides the width.
    dropout: within the layers, in training. The paper has 0.3, and 0.01 on Push-T.
    timesteps: the schedule's length, by which a time in [0, 1] becomes a timestep.
    causal: an action looks at those before it and the observations that are not after it, as in
        the paper, and not at all. Which of several ways a noisy chunk is on, all of its actions
        say together.
    frequencies, bandwidth: of random Fourier features of the observation, as `PerceptronSettings`
        has them; the paper has none.
    """

    observations: int = 2
    width: int = 64
    layers: int = 4
    heads: int = 4
    dropout: float = 0.0
    timesteps: int = 100
    causal: bool = False
    frequencies: Whole | None = None
    bandwidth: NotNegative | None = None

    def __post_init__(self) -> None:
        check_numbers(self)
        if self.observations < 1 or self.layers < 1 or self.heads < 1:
            raise ValueError(f"observations, layers and heads must be 1 or more; got {self}")
        if self.width < 4 or self.width % 2 or self.width % self.heads:
            raise ValueError(
                f"width must be even, 4 or more, and a multiple of the {self.heads} heads; "
                f"got {self.width}"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1); got {self.dropout}")

    @classmethod
    def paper(cls, observations: int = 2) -> "TransformerSettings":
        """The published size: about 9 M weights."""
        return cls(
            observations, width=256, layers=8, heads=4, dropout=0.3, causal=True, frequencies=0
        )


@dataclass(frozen=True)
class UNet1DSettings:
    """Size of the U-Net; small enough for one core.

    widths: channels per level; each level but the last halves the steps.
    time_features: of the time, an even number; the reference's `diffusion_step_embed_dim`.
    kernel: of the convolutions, odd.
    groups: of every group norm; divides every width.
    timesteps: the schedule's length, by which a time in [0, 1] becomes a timestep.
    frequencies, bandwidth: of random Fourier features of the observation, as `PerceptronSettings`
        has them; the paper has none. Without them one linear map leads from what is observed to
        the blocks, and an expert that switches is learnt slowly.
    """

    widths: tuple[int, ...] = (32, 64)
    time_features: int = 64
    kernel: int = 5
    groups: int = 8
    timesteps: int = 100
    frequencies: Whole | None = None
    bandwidth: NotNegative | None = None

    def __post_init__(self) -> None:
        check_numbers(self)
        object.__setattr__(self, "widths", tuple(int(width) for width in self.widths))
        if not self.widths or any(w < 1 or w % self.groups for w in self.widths):
            raise ValueError(
                f"widths must be multiples of the {self.groups} groups, one per level; "
                f"got {self.widths}"
            )
        if self.time_features < 4 or self.time_features % 2:
            raise ValueError(f"time_features must be even, 4 or more; got {self.time_features}")
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd; got {self.kernel}")

    @classmethod
    def paper_state(cls) -> "UNet1DSettings":
        """The published size for states: 65.78 M weights on Push-T."""
        return cls(widths=(256, 512, 1024), time_features=256, frequencies=0)

    @classmethod
    def paper_image(cls) -> "UNet1DSettings":
        """The published size for images: about 250 M weights."""
        return cls(widths=(512, 1024, 2048), time_features=128, frequencies=0)
