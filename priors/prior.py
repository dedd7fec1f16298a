"""Priors over images and videos: denoisers indexed by prompts, and the codec of their space."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scorefield.priors.codec import Codec
from scorefield.priors.condition import Condition
from scorefield.priors.denoiser import ConditionedDenoiser, Denoiser
from scorefield.priors.guidance.classifier_free import ClassifierFreeGuidance, GuidanceInterval
from scorefield.priors.levels import NoiseLevel, NoiseSchedule
from scorefield.priors.prediction import Prediction
from scorefield.priors.sampling import sample
from scorefield.priors.text import Conditioner

Prompts = str | Sequence[str]

_READERS: dict[str, Callable[[Tensor, NoiseLevel, Tensor], Prediction]] = {
    "epsilon": Prediction.from_eps,
    "sample": Prediction.from_x0,
    "v_prediction": Prediction.from_v,
    "flow_prediction": Prediction.from_velocity,
}

# Amplitudes of equal log-SNR are proportional. Those of a schedule and of a level of it differ by
# the rounding of timesteps; more than this, and the level is of another kind of schedule.
_SAME_AMPLITUDES = 1e-4


# Decoded at once; four pictures of 512 pixels take about 3 GiB in float32.
_DECODED_PIXELS = 4 * 512**2


@runtime_checkable
class Conditional(Protocol):
    """What turns prompts into denoisers."""

    schedule: NoiseSchedule

    def condition(self, prompts: Prompts | None) -> Denoiser:
        """The denoiser under one prompt, a prompt per item, or (None) no prompt."""
        ...


class ImagePrior:
    """Denoisers of images or videos and the codec between their space and pixels in [0, 1].

    `FrozenPrior` is the one made of networks; any other family of denoisers, such as an
    `EmpiricalPrior` of pictures in [-1, 1], becomes an image prior with a codec:
    ``ImagePrior(EmpiricalPrior(2 * images - 1, labels), PixelCodec(), image_size=64)``.

    image_size: side of the square images, pixels.
    frames: of a video; None for images. Videos have an axis more: (batch, frames, 3, height,
        width), and latents (batch, latent frames, channels, height, width).
    guidance_scale: the scale samples look best at, used where none is given.
    steps: of sampling, used where none are given.
    scheduler: the diffusers scheduler that `generate` follows where none is given; None is the
        default of `sample`.

    Raises:
        ValueError: a size or a number of frames that the codec does not divide.
    """

    def __init__(
        self,
        conditional: Conditional,
        codec: Codec,
        *,
        image_size: int,
        frames: int | None = None,
        guidance_scale: float | int = 1.0,
        steps: int = 25,
        scheduler: Any = None,
        name: str = "prior",
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

    def condition(self, prompts: Prompts | None = None) -> Denoiser:
        """The denoiser under a prompt, one prompt per item of the batch, or (None) no prompt."""
        return self.conditional.condition(prompts)

    def guided(
        self,
        prompts: Prompts,
        scale: float | int | None = None,
        *,
        negative: Prompts | None = None,
        rescale: float | int = 0.0,
        interval: tuple[float | int, float | int] | None = None,
    ) -> Denoiser:
        """Classifier-free guidance towards prompts and away from `negative` (or no prompt).

        scale: eps_uncond + scale (eps_cond - eps_uncond); 1 is unguided, None the prior's own.
        interval: the log-SNRs (low, high) between which to guide; None for all.
        """
        scale = self.guidance_scale if scale is None else scale
        cond = self.condition(prompts)
        # not every prior can do without a prompt, and without guidance none has to
        uncond = cond if scale == 1 and negative is None else self.condition(negative)
        guided = ClassifierFreeGuidance(cond, uncond, scale, rescale)
        return guided if interval is None else GuidanceInterval(guided, cond, *interval)

    def encode(self, images: Float[Tensor, "b *f 3 h w"]) -> Float[Tensor, "b *lf c lh lw"]:
        """Images or videos in [0, 1] to latents; gradients flow to the images.

        Raises:
            ValueError: images for a prior of videos or the reverse, or a size that the codec does
                not divide.
        """
        if images.ndim != 4 + self.is_video:
            wanted = "videos (b, frames, 3, h, w)" if self.is_video else "images (b, 3, h, w)"
            raise ValueError(f"{self.name} encodes {wanted}; got shape {tuple(images.shape)}")
        return self.codec.encode(images)

    def decode(self, latents: Float[Tensor, "b *lf c lh lw"]) -> Float[Tensor, "b *f 3 h w"]:
        """Latents to images or videos in [0, 1]."""
        return self.codec.decode(latents)

    @torch.no_grad()
    def generate(
        self,
        prompts: Prompts,
        *,
        scale: float | int | None = None,
        negative: Prompts | None = None,
        rescale: float | int = 0.0,
        interval: tuple[float | int, float | int] | None = None,
        **options: Any,
    ) -> Float[Tensor, "b *f 3 h w"]:
        """One image or video in [0, 1] per prompt: `generate_latents`, decoded.

        Item i depends on the seed, its prompt and i, not on the batch. `options` are those of
        `sample`: steps, seed, scheduler, batch_size, progress, callback.
        """
        guidance: dict[str, Any] = {
            "scale": scale,
            "negative": negative,
            "rescale": rescale,
            "interval": interval,
        }
        return self.decode_in_parts(self.generate_latents(prompts, **guidance, **options))

    @torch.no_grad()
    def generate_latents(
        self,
        prompts: Prompts,
        *,
        scale: float | int | None = None,
        negative: Prompts | None = None,
        rescale: float | int = 0.0,
        interval: tuple[float | int, float | int] | None = None,
        **options: Any,
    ) -> Float[Tensor, "b *lf c lh lw"]:
        """The latents of one image or video per prompt; the arguments are those of `generate`."""
        prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        denoiser = self.guided(
            prompts, scale, negative=negative, rescale=rescale, interval=interval
        )
        own = {"scheduler": self.scheduler, "steps": self.steps, "device": self.device}
        return sample(denoiser, self.latent_shape, n=len(prompts), **{**own, **options})

    @torch.no_grad()
    def decode_in_parts(
        self, latents: Float[Tensor, "b *lf c lh lw"]
    ) -> Float[Tensor, "b *f 3 h w"]:
        """Images or videos in [0, 1], a few at a time, fewer where memory asks: four of 512 pixels.

        Where even one does not fit, the error says what to lower.
        """
        # decoding holds more in memory than a latent does
        side = latents.shape[-1] * self.codec.factor
        count = 1 if self.is_video else min(16, max(1, _DECODED_PIXELS // side**2))
        decoded: list[Tensor] = []
        while len(latents):
            try:
                decoded.append(self.decode(latents[:count]))
            except torch.OutOfMemoryError:
                count = min(count, len(latents))
                if count == 1:
                    raise
                count = (count + 1) // 2
                continue
            latents = latents[count:]
        return torch.cat(decoded)


class FrozenPrior(ImagePrior):
    """Network, text encoder and codec of a diffusion model of images or videos.

    Frozen: eval mode, no parameter gradients, and predictions without a graph unless
    `with_network_gradient` asks for the network's Jacobian. Gradients do flow through `encode`.

    network: called as network(z, timestep, **condition) -> value of the shape of z, with one native
        timestep and one row of every tensor of the condition per item. The adapters of
        `scorefield.priors.families` make one of a diffusers model, which they keep as `.model`.
    text: from prompts to conditions.
    prediction_type: what the network outputs, in diffusers' words: "epsilon", "sample",
        "v_prediction" or "flow_prediction".
    shape: of one latent, (channels, side, side), or of a video (frames, channels, side, side).

    Raises:
        ValueError: another prediction type, or a shape that is not square or not the codec's.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        text: Conditioner,
        codec: Codec,
        schedule: NoiseSchedule,
        prediction_type: str,
        *,
        shape: Sequence[int],
        guidance_scale: float | int = 7.5,
        steps: int = 25,
        scheduler: Any = None,
    ) -> None:
        if prediction_type not in _READERS:
            accepted = ", ".join(_READERS)
            raise ValueError(f"prediction_type must be one of {accepted}; got {prediction_type!r}")
        if len(shape) not in (3, 4) or shape[-3] != codec.channels or shape[-1] != shape[-2]:
            raise ValueError(
                f"shape must be ({codec.channels}, side, side) with this codec, or for videos "
                f"(frames, {codec.channels}, side, side); got {tuple(shape)}"
            )
        self.schedule = schedule
        super().__init__(
            self,
            codec,
            image_size=shape[-1] * codec.factor,
            frames=1 + (shape[0] - 1) * codec.frame_factor if len(shape) == 4 else None,
            guidance_scale=guidance_scale,
            steps=steps,
            scheduler=scheduler,
            name=name,
        )
        self.network = network.eval().requires_grad_(False)
        self.text = text
        self._read = _READERS[prediction_type]
        self._network_gradient = False
        self._control: Mapping[str, Tensor] = {}

    @property
    def device(self) -> torch.device:
        """Where the network's weights are."""
        return next(self.network.parameters()).device

    @property
    def model(self) -> Any:
        """The diffusers model within the network's adapter; a network without one is its own."""
        return getattr(self.network, "model", self.network)

    @property
    def dtype(self) -> torch.dtype:
        """What the network computes in; predictions have at least float32."""
        # a diffusers model may keep some weights in float32: it says what it computes in
        dtype: torch.dtype | None = getattr(self.network, "dtype", None)
        return dtype or next(self.network.parameters()).dtype

    def to(self, device: torch.device | str) -> "FrozenPrior":
        """Move all parts; returns self."""
        self.network.to(device)
        self.text.to(device)
        self.codec.to(device)
        return self

    def with_network_gradient(self) -> "FrozenPrior":
        """This prior, differentiable in z through the network. Weights are shared."""
        other = self._copy()
        other._network_gradient = True
        return other

    def with_control(
        self, images: Float[Tensor, "b 3 h w"], scale: float | int = 1.0
    ) -> "FrozenPrior":
        """This prior under the images of the ControlNet it was loaded with. Weights are shared.

        images: in [0, 1], of `image_size`: one for all items, or one per prompt. What they show
            (edges, depth, pose) is the ControlNet's.
        scale: of what the ControlNet adds; 0 is the prior without it.

        Raises:
            ValueError: a prior without a ControlNet, or images of another size.
        """
        check = getattr(self.network, "check_control", None)
        if check is None:
            raise ValueError(
                f"{self.name} has no ControlNet; load one with load_prior(..., controlnet=folder)"
            )
        check(images, self.image_size)
        other = self._copy()
        strength = torch.full((len(images),), float(scale))
        other._control = {"control_image": images, "control_scale": strength}
        return other

    def _copy(self) -> "FrozenPrior":
        other = copy.copy(self)
        other.conditional = other
        return other

    def predict(
        self, z: Float[Tensor, "batch *shape"], level: NoiseLevel, condition: Condition
    ) -> Prediction:
        """The network's prediction at z under a condition of one row per item.

        A level of amplitudes other than the schedule's is met at equal log-SNR: z is rescaled for
        the network, and the prediction is that of the level asked for.
        """
        if not self._network_gradient:
            z = z.detach()  # a conversion would keep the graph of z, without the network's part
        timestep = self.schedule.timestep(level)
        native = self.schedule.at_timestep(timestep.double())
        scale = (native.alpha + native.sigma) / (level.alpha + level.sigma)
        if bool(((scale - 1).abs() < _SAME_AMPLITUDES).all()):
            return self._read(z, level, self._value(z, timestep, condition))
        y = z * scale.to(z.dtype).to(z.device).reshape(-1, *[1] * (z.ndim - 1))
        found = self._read(y, native, self._value(y, timestep, condition))
        alpha, sigma = level.like(z)
        return Prediction.from_v(z, level, alpha * found.eps - sigma * found.x0)

    def _value(self, z: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        with torch.set_grad_enabled(self._network_gradient and torch.is_grad_enabled()):
            timestep = timestep.to(z.device, torch.float32)
            value: Tensor = self.network(z.to(self.dtype), timestep, **condition.tensors)
        return value.to(torch.promote_types(z.dtype, torch.float32))

    def condition(self, prompts: Prompts | None = None) -> ConditionedDenoiser:
        """The denoiser under a prompt, one prompt per item of the batch, or (None) no prompt."""
        if prompts is None:
            prompts = ""
        prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        tensors = self.text.encode(prompts).tensors
        control = {name: tensor.to(self.device) for name, tensor in self._control.items()}
        return ConditionedDenoiser(self, Condition({**tensors, **control}))
