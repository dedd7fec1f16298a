"""What all families share: the card, the adapter, and text of one encoder."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from scorefield.priors.codec import Codec
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.schedule import FlowSchedule
from scorefield.priors.text import Conditioner, PipelineConditioner

USUAL_STEPS = 25
"""Of sampling, for networks that were not distilled to fewer."""

_BUCKET = 64  # tokens

# Words in the names of published models that were distilled, and the steps of those that do not say
# "8step" themselves (model cards of SDXL-Lightning, Hyper-SD, FLUX.1-schnell, SD3.5-large-turbo).
_DISTILLED = {"turbo": 4, "lightning": 4, "lcm": 4, "schnell": 4, "hyper": 8, "dmd2": 4}


def few_steps_named(name: str) -> int | None:
    """The steps of a distilled model by the words of its name; None if it has none of them."""
    words = re.findall(r"[a-z]+\d*", name.lower())
    found = [steps for word, steps in _DISTILLED.items() if word in words]
    if not found:
        return None
    told = re.search(r"(\d+)[-_ ]?steps?(?![a-z])", name.lower())
    return int(told[1]) if told else found[0]


@dataclass(frozen=True)
class Card:
    """What a pipeline does not know of itself, or knows as a default that can be changed.

    name: of the prior.
    guidance_scale: the scale samples look best at; None is the family's usual one.
    steps: of sampling; None is the family's usual number.
    vocabulary: the words a prompt may hold; None is all.
    synonyms: further words a prompt may hold, each with that of the vocabulary it stands for.
    related: words that a prompt may not hold, each with words of the vocabulary that mean something
        near to it, for the message that refuses them.
    labels: names of the classes of a class-conditional model, in their order.
    templates: of prompts as it was trained on, with {} for a thing.
    concepts: the things that it was trained to draw.
    image_size: side of the square images, pixels; None is the size the network was trained on.
    frames: of a video; None is the family's usual number.
    cameras: that the network is told, for families that take them: the ranges it was trained on,
        as of `scorefield.views.CameraRanges.of_card`; None for a network that is told none.
    """

    name: str = "pipeline"
    guidance_scale: float | int | None = None
    steps: int | None = None
    vocabulary: Sequence[str] | None = None
    synonyms: Mapping[str, str] | None = None
    related: Mapping[str, Sequence[str]] | None = None
    labels: Sequence[str] | None = None
    templates: Sequence[str] = ()
    concepts: Sequence[str] = ()
    image_size: int | None = None
    frames: int | None = None
    cameras: Mapping[str, Any] | None = None

    def sampled(
        self, usual_scale: float | int, few_steps: int | None = None, model: Any = None
    ) -> dict[str, Any]:
        """Scale, steps, templates and concepts for `FrozenPrior`, by default the usual ones.

        A network distilled to few steps has scale 1, which is no guidance. It is known by its
        scheduler (`few_steps`), or by the name of the prior or of what the model was saved from.
        """
        if few_steps is None:
            source = "" if model is None else str(model.config.get("_name_or_path") or "")
            few_steps = few_steps_named(self.name) or few_steps_named(source)
        scale = usual_scale if few_steps is None else 1.0
        steps = few_steps or USUAL_STEPS
        return {
            "guidance_scale": scale if self.guidance_scale is None else self.guidance_scale,
            "steps": steps if self.steps is None else self.steps,
            "templates": self.templates,
            "concepts": self.concepts,
        }

    def side_or(self, usual: int | Sequence[int] | None, factor: int) -> int:
        """The side of the latents, by default the usual one, which a config may give as a pair.

        Raises:
            ValueError: the image size is no multiple of the codec's factor, or there is no usual
                one, or none of a square.
        """
        if self.image_size is None:
            sides = {usual} if usual is None or isinstance(usual, int) else set(usual)
            side = sides.pop()
            if side is None or sides:
                raise ValueError(
                    f"the config's sample_size is {usual}, which is no side of a square; give "
                    "image_size (--image-size), pixels"
                )
            return int(side)
        if self.image_size < 1 or self.image_size % factor:
            raise ValueError(
                f"image_size must be a positive multiple of {factor} pixels for {self.name}; "
                f"got {self.image_size}"
            )
        return self.image_size // factor

    def latent_frames_or(self, usual: int, frame_factor: int = 1) -> int:
        """The number of latent frames, by default that of the usual number of frames.

        Raises:
            ValueError: the frames do not divide into latent frames.
        """
        frames = usual if self.frames is None else self.frames
        if frames < 1 or (frames - 1) % frame_factor:
            raise ValueError(
                f"frames must be 1 + {frame_factor} n for {self.name}; got {frames}"
                if frame_factor > 1
                else f"frames must be at least 1; got {frames}"
            )
        return 1 + (frames - 1) // frame_factor


class Adapter(nn.Module):
    """A diffusers model, called as a `FrozenPrior` calls its network.

    forward(z, timestep, **condition) takes and returns tensors in the layout of the denoiser:
    (batch, channels, height, width), for videos (batch, frames, channels, height, width).
    """

    patch = 2
    """Latent cells along a side of a token, in networks of tokens."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self._dtypes: dict[torch.dtype, torch.dtype] = {}

    @property
    def dtype(self) -> torch.dtype:
        """What the model computes in."""
        # diffusers walks all modules to find it
        first = next(self.model.parameters()).dtype
        if first not in self._dtypes:
            self._dtypes = {first: self.model.dtype}
        return self._dtypes[first]

    def arguments(self, **condition: Any) -> dict[str, Any]:
        """The condition as the model takes it."""
        return condition

    def forward(self, z: Tensor, timestep: Tensor, **condition: Any) -> Tensor:
        """The model's value, without the variances that some learn as further channels."""
        value: Tensor = self.model(z, timestep=timestep, **self.arguments(**condition)).sample
        return value[:, : z.shape[1]]


def one_encoder(
    pipeline: Any,
    encode_prompt: Callable[[str, torch.device], Mapping[str, Tensor]],
    limit: int,
    card: Card,
) -> PipelineConditioner:
    """The conditioner of a pipeline with a single text encoder, which takes that many tokens."""
    return PipelineConditioner(
        encode_prompt, [pipeline.text_encoder], pipeline.tokenizer, limit, card.vocabulary
    )


def flow_of_images(
    card: Card,
    network: Adapter,
    text: Conditioner,
    codec: Codec,
    path: tuple[FlowSchedule, Any],
    side: int,
    sampled: Mapping[str, Any],
) -> FrozenPrior:
    """The prior of a rectified flow of images, of latents with that side.

    path: its schedule, and a scheduler to sample along it.
    sampled: of `Card.sampled`.
    """
    schedule, scheduler = path
    return FrozenPrior(
        card.name,
        network,
        text,
        codec,
        schedule,
        "flow_prediction",
        shape=(codec.channels, side, side),
        scheduler=scheduler,
        **sampled,
    )


def fill_bucket(
    hidden: Float[Tensor, "1 tokens width"], words: Shaped[Tensor, "1 tokens"]
) -> tuple[Float[Tensor, "1 filled width"], Shaped[Tensor, "1 filled"]]:
    """A prompt and its mask, filled up with zeros to a multiple of 64 tokens.

    Prompts that fill as many share a pass with and without guidance.
    """
    rest = -hidden.shape[1] % _BUCKET
    return F.pad(hidden, (0, 0, 0, rest)), F.pad(words, (0, rest))


Classes = Mapping[str, tuple[str, ...]]
"""Names of classes of diffusers and transformers, by the parts of a pipeline."""


@dataclass(frozen=True)
class Family:
    """How pipelines of one class load.

    build: from the loaded pipeline to the prior.
    parts: networks and tokenizers that a folder must have, and the classes that are known.
    optional: those that it may have.
    left_out: optional parts of the pipeline that a prior has no use for.
    options: of the pipeline's own, in its index, that are followed or do not matter.
    configs: keys of the parts' configs that change what is computed around the part, and the values
        that are followed.
    float32: parts kept in that precision whatever is asked for.
    half: 16 bits to compute in on CUDA: that of the published weights.
    cameras: whether its network may be told cameras (see `Card`).
    aliases: pipelines of the same parts, for other tasks.
    """

    build: Callable[[Any, Card], FrozenPrior]
    parts: Classes
    optional: Classes = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    configs: Mapping[str, Mapping[str, tuple[Any, ...]]] = field(default_factory=dict)
    float32: tuple[str, ...] = ("vae",)
    half: str = "float16"
    cameras: bool = False
    aliases: tuple[str, ...] = ()
