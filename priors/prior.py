"""Priors over images and videos: denoisers indexed by prompts, and the codec of their space."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.images import Images, as_images
from scorefield.priors.codec import Codec, LatentCodec
from scorefield.priors.codec_memory import codec_memory, memory_left
from scorefield.priors.denoiser import Denoiser
from scorefield.priors.guidance.classifier_free import ClassifierFreeGuidance, GuidanceInterval
from scorefield.priors.sampling import sample
from scorefield.priors.schedule import NoiseSchedule
from scorefield.views import CameraRanges, SphericalCameras

Prompts = str | Sequence[str]

ToldCameras = SphericalCameras | Tensor
"""Cameras, or their vectors (batch, 7) as `scorefield.views.camera_vector` makes them."""

# Decoded at once; four images of 512 pixels take about 3 GiB in float32.
_DECODED_PIXELS = 4 * 512**2


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance of a prior: eps_uncond + scale (eps_cond - eps_uncond).

    ``Guidance(3.0, negative="blurry")``. Where one is asked for, a number is the scale alone.

    Attributes:
        scale: how strong; 1 is unguided, None the prior's own.
        negative: prompts that it leads away from, in place of no prompt.
        rescale: in [0, 1], of the contrast of high scales; see `ClassifierFreeGuidance`.
        interval: log-SNRs (low, high) between which to guide; None guides at all levels.
    """

    scale: float | int | None = None
    negative: Prompts | None = None
    rescale: float | int = 0.0
    interval: tuple[float | int, float | int] | None = None

    @classmethod
    def of(cls, given: "Guidance | float | int | None", scale: float | int) -> "Guidance":
        """What was given, itself or its scale alone, with that scale where it has none."""
        guidance = given if isinstance(given, Guidance) else cls(given)
        return replace(guidance, scale=scale) if guidance.scale is None else guidance

    def between(
        self,
        uncond: Denoiser,
        cond: Denoiser,
        kind: type[ClassifierFreeGuidance] = ClassifierFreeGuidance,
    ) -> Denoiser:
        """The denoiser that leads away from the one, towards the other.

        kind: of guidance, of a prior that has its own.

        Raises:
            ValueError: no scale, or one that is not finite, a rescale out of range, an empty
                interval.
        """
        if self.scale is None:
            raise ValueError("a guidance without a scale takes its prior's; give a scale")
        guided = kind(cond, uncond, self.scale, self.rescale)
        return guided if self.interval is None else GuidanceInterval(guided, cond, *self.interval)


@runtime_checkable
class Prior(Protocol):
    """What turns prompts into denoisers."""

    schedule: NoiseSchedule

    def condition(self, prompts: Prompts | None) -> Denoiser:
        """The denoiser under one prompt, a prompt per item, or (None) no prompt."""
        ...


def check_is_prior(given: object) -> None:
    """Refuse what is no prior where the prior comes first, such as its name or a prompt.

    Raises:
        ValueError: it has no `condition`; what makes a prior is named.
    """
    if isinstance(given, type) or not hasattr(given, "condition"):
        shown = repr(given) if isinstance(given, str) else type(given).__name__
        raise ValueError(f'the prior comes first, and load_prior("shapes") makes one; got {shown}')


class ImagePrior:
    """Denoisers of images or videos and the codec between their space and pixels in [0, 1].

    `FrozenPrior` is the one made of networks; any other family of denoisers, such as an
    `EmpiricalPrior` of images in [-1, 1], becomes an image prior with a codec:
    ``ImagePrior(EmpiricalPrior(2 * images - 1, labels), PixelCodec(), image_size=64)``.

    image_size: side of the square images, pixels.
    frames: of a video; None for images. Videos have an axis more: (batch, frames, 3, height,
        width), and latents (batch, latent frames, channels, height, width).
    guidance_scale: the scale samples look best at, used where none is given.
    steps: of sampling, used where none are given.
    scheduler: the diffusers scheduler that `generate` follows where none is given; None is the
        default of `sample`.
    templates: prompts as it was trained on, with {} for a thing, for people to begin with.
    concepts: the things that it was trained to draw, as far as it says, for people.
    guidance_kind: of what `guided` makes.

    Attributes:
        cameras: what cameras it was trained to be told; None takes no cameras.

    Raises:
        ValueError: a size or a number of frames that the codec does not divide.
    """

    cameras: CameraRanges | None = None

    def __init__(
        self,
        conditional: Prior,
        codec: Codec,
        *,
        image_size: int,
        frames: int | None = None,
        guidance_scale: float | int = 1.0,
        steps: int = 25,
        scheduler: Any = None,
        name: str = "prior",
        templates: Sequence[str] = (),
        concepts: Sequence[str] = (),
        guidance_kind: type[ClassifierFreeGuidance] = ClassifierFreeGuidance,
    ) -> None:
        if image_size < 1 or image_size % codec.factor:
            raise ValueError(
                f"image_size must be a positive multiple of {codec.factor} pixels, the codec's "
                f"latent cell; got {image_size}"
            )
        if frames is not None and (frames < 1 or (frames - 1) % codec.frame_factor):
            raise ValueError(
                f"frames must be 1 + {codec.frame_factor} n for this codec; got {frames}"
            )
        self.conditional = conditional
        self.schedule = conditional.schedule
        self.codec = codec
        self.image_size = image_size
        self.frames = frames
        self.guidance_scale = guidance_scale
        self.steps = steps
        self.scheduler = scheduler
        self.name = name
        self.templates = tuple(templates)
        self.concepts = tuple(concepts)
        self.guidance_kind = guidance_kind

    def __repr__(self) -> str:
        kind = type(self).__name__
        return f"{kind}({self.name!r}, latents {self.latent_shape}, {self.device})"

    @property
    def device(self) -> torch.device:
        """Where denoisers and codec compute."""
        return torch.device("cpu")

    @property
    def is_video(self) -> bool:
        """Whether it is a prior of videos."""
        return self.frames is not None

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Of one image, (channels, height, width), or video, (frames, channels, height, width)."""
        side = self.image_size // self.codec.factor
        shape = (self.codec.channels, side, side)
        if self.frames is None:
            return shape
        return (1 + (self.frames - 1) // self.codec.frame_factor, *shape)

    def condition(
        self, prompts: Prompts | None = None, cameras: ToldCameras | None = None
    ) -> Denoiser:
        """The denoiser under a prompt, one prompt per item of the batch, or (None) no prompt.

        cameras: that see what is made, one for all items or one each; None tells of no camera.

        Raises:
            ValueError: cameras for a prior that takes none.
        """
        if cameras is not None:
            raise ValueError(
                f"{self.name} takes no cameras, only words: leave them out, or take a prior that "
                "was trained with cameras"
            )
        return self.conditional.condition(prompts)

    def guided(
        self,
        prompts: Prompts,
        guidance: Guidance | float | int | None = None,
        cameras: ToldCameras | None = None,
    ) -> Denoiser:
        """The denoiser guided towards prompts.

        guidance: how, or its scale alone; None is the prior's own scale.
        cameras: as of `condition`. With and without the prompts it is the same camera, so that
            guidance leads towards what the prompts say as it is seen from there, and does not
            exaggerate the view.
        """
        guidance = Guidance.of(guidance, self.guidance_scale)
        condition = self.condition if cameras is None else partial(self.condition, cameras=cameras)
        cond = condition(prompts)
        # not every prior can do without a prompt, and without guidance none has to
        unguided = guidance.scale == 1 and guidance.negative is None
        uncond = cond if unguided else condition(guidance.negative)
        return guidance.between(uncond, cond, self.guidance_kind)

    def encode(self, images: Images) -> Float[Tensor, "b *lf c lh lw"]:
        """Images or videos in [0, 1] to latents; gradients flow to the images.

        images: as `pixels` takes them.

        Raises:
            ValueError: as `pixels` does, or a size that the codec does not divide.
        """
        return self.codec.encode(self.pixels(images))

    def pixels(self, images: Images) -> Float[Tensor, "b *f 3 h w"]:
        """A batch of what was given, one image or several, as `encode` takes them.

        images: as `scorefield.images.as_images` takes them; files give their middle square at the
            prior's size, tensors and arrays keep theirs. Videos are tensors (b, frames, 3, h, w).
            A batch that requires a gradient is a generator's, which may overshoot [0, 1].

        Raises:
            ValueError: images for a prior of videos or the reverse, values outside [0, 1], no
                image, or one that cannot be read.
        """
        shape = tuple(getattr(images, "shape", ()))
        if self.is_video or len(shape) > 4:
            if not isinstance(images, Tensor) or len(shape) != 4 + self.is_video:
                wanted = "videos (b, frames, 3, h, w)" if self.is_video else "images (b, 3, h, w)"
                raise ValueError(f"{self.name} encodes {wanted}; got shape {shape}")
            return images
        if isinstance(images, Tensor) and images.requires_grad and len(shape) == 4:
            return images
        found = as_images(images, self.image_size)
        if isinstance(images, Tensor) and images.is_floating_point() and shape == found.shape:
            found = images.contiguous()  # in its own precision
        return found.to(self.device)

    def decode(self, latents: Float[Tensor, "b *lf c lh lw"]) -> Float[Tensor, "b *f 3 h w"]:
        """Latents to images or videos in [0, 1]."""
        return self.codec.decode(latents)

    @torch.no_grad()
    def generate(
        self,
        prompts: Prompts,
        guidance: Guidance | float | int | None = None,
        cameras: ToldCameras | None = None,
        **options: Any,
    ) -> Float[Tensor, "b *f 3 h w"]:
        """One image or video in [0, 1] per prompt: `generate_latents`, decoded.

        Item i depends on the seed, its prompt, its camera and i, not on the batch.

        guidance, cameras: as of `guided`.
        options: those of `sample`: steps, seed, scheduler, batch_size, progress, callback.
        """
        return self.decode_in_parts(self.generate_latents(prompts, guidance, cameras, **options))

    @torch.no_grad()
    def generate_latents(
        self,
        prompts: Prompts,
        guidance: Guidance | float | int | None = None,
        cameras: ToldCameras | None = None,
        **options: Any,
    ) -> Float[Tensor, "b *lf c lh lw"]:
        """The latents of one image or video per prompt; the arguments are those of `generate`."""
        if "n" in options:
            raise ValueError(
                "one image is made per prompt: repeat the prompt, as in generate(4 * ['a table'])"
            )
        prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        denoiser = self.guided(prompts, guidance, cameras)
        own = {"scheduler": self.scheduler, "steps": self.steps, "device": self.device}
        return sample(denoiser, self.latent_shape, n=len(prompts), **{**own, **options})

    @torch.no_grad()
    def decode_in_parts(
        self, latents: Float[Tensor, "b *lf c lh lw"]
    ) -> Float[Tensor, "b *f 3 h w"]:
        """Images or videos in [0, 1], a few at a time: four of 512 pixels, fewer where memory asks.

        One for which not enough is free is decoded in tiles, which changes it a little. Where that
        does not fit either, the error says what to lower.
        """
        # decoding holds more in memory than a latent does
        side = latents.shape[-1] * self.codec.factor
        count = 1 if self.is_video else min(16, max(1, _DECODED_PIXELS // side**2))
        fit = self._decoded_whole(side)
        count = min(count, max(1, fit))
        decoded: list[Tensor] = []
        while fit and len(latents):
            try:
                decoded.append(self.decode(latents[:count]))
            except torch.OutOfMemoryError:
                count = min(count, len(latents))
                if count == 1:
                    break
                count = (count + 1) // 2
                continue
            latents = latents[count:]
        # those of which not one could be decoded whole
        tiles = self.codec.in_tiles() if isinstance(self.codec, LatentCodec) else nullcontext()
        with tiles:
            decoded += [self.decode(one) for one in latents.split(1) if len(one)]
        return torch.cat(decoded)

    def _decoded_whole(self, side: int) -> int:
        """How many images of a side, or videos, there is room to decode at once; may be more."""
        each, left = codec_memory(self.codec, side, self.frames or 1), memory_left(self.device)
        return _DECODED_PIXELS if left is None or each == 0 else int(left // each)
