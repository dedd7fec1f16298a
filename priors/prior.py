"""Priors over images: a family of denoisers indexed by prompts, and the codec of their space."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scorefield.priors.codec import Codec, LatentCodec
from scorefield.priors.denoiser import Condition, ConditionedDenoiser, Denoiser
from scorefield.priors.guidance import ClassifierFreeGuidance
from scorefield.priors.levels import DiscreteSchedule, NoiseLevel, NoiseSchedule
from scorefield.priors.prediction import Prediction
from scorefield.priors.sampling import sample
from scorefield.priors.text import TextEncoder

Prompts = str | Sequence[str]

_READERS: dict[str, Callable[[Tensor, NoiseLevel, Tensor], Prediction]] = {
    "epsilon": Prediction.from_eps,
    "sample": Prediction.from_x0,
    "v_prediction": Prediction.from_v,
    "flow_prediction": Prediction.from_velocity,
}


@runtime_checkable
class Conditional(Protocol):
    """What turns prompts into denoisers."""

    schedule: NoiseSchedule

    def condition(self, prompts: Prompts | None) -> Denoiser:
        """The denoiser under one prompt, a prompt per item, or (None) no prompt."""
        ...


class ImagePrior:
    """Denoisers of images and the codec between their space and images in [0, 1].

    `FrozenPrior` is the one made of networks; any other family of denoisers, such as an
    `EmpiricalPrior` of pictures in [-1, 1], becomes an image prior with a codec:
    ``ImagePrior(EmpiricalPrior(2 * images - 1, labels), PixelCodec(), image_size=64)``.

    image_size: side of the square images, pixels.
    guidance_scale: the scale samples look best at, used where none is given.
    """

    def __init__(
        self,
        conditional: Conditional,
        codec: Codec,
        *,
        image_size: int,
        guidance_scale: float | int = 1.0,
        name: str = "prior",
    ) -> None:
        self.conditional = conditional
        self.schedule = conditional.schedule
        self.codec = codec
        self.image_size = image_size
        self.guidance_scale = guidance_scale
        self.name = name

    @property
    def device(self) -> torch.device:
        """Where denoisers and codec compute."""
        return torch.device("cpu")

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the latents of one image of `image_size`."""
        side = self.image_size // self.codec.factor
        return (self.codec.channels, side, side)

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
    ) -> Denoiser:
        """Classifier-free guidance towards prompts and away from `negative` (or no prompt).

        scale: eps_uncond + scale (eps_cond - eps_uncond); 1 is unguided, None the prior's own.
        """
        scale = self.guidance_scale if scale is None else scale
        cond, uncond = self.condition(prompts), self.condition(negative)
        return ClassifierFreeGuidance(cond, uncond, scale, rescale)

    def encode(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c lh lw"]:
        """Images in [0, 1] to latents; gradients flow to the images."""
        return self.codec.encode(images)

    def decode(self, latents: Float[Tensor, "b c lh lw"]) -> Float[Tensor, "b 3 h w"]:
        """Latents to images in [0, 1]."""
        return self.codec.decode(latents)

    @torch.no_grad()
    def generate(
        self,
        prompts: Prompts,
        *,
        scale: float | int | None = None,
        negative: Prompts | None = None,
        rescale: float | int = 0.0,
        **options: Any,
    ) -> Float[Tensor, "b 3 h w"]:
        """One image in [0, 1] per prompt.

        Image i depends on the seed, its prompt and i, not on the batch. `options` are those of
        `sample`: steps, seed, scheduler, batch_size, progress, callback.
        """
        prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        denoiser = self.guided(prompts, scale, negative=negative, rescale=rescale)
        latents = sample(denoiser, self.latent_shape, n=len(prompts), device=self.device, **options)
        return torch.cat([self.decode(chunk) for chunk in latents.split(16)])


class FrozenPrior(ImagePrior):
    """Network, text encoder and codec of a text-to-image diffusion model.

    Frozen: eval mode, no parameter gradients, and predictions without a graph unless
    `with_network_gradient` asks for the network's Jacobian. Gradients do flow through `encode`.

    network: called as network(z, timestep, **condition) -> object with `.sample`, as diffusers'
        UNet2DConditionModel.
    prediction_type: what the network outputs, in diffusers' words: "epsilon", "sample",
        "v_prediction" or "flow_prediction".
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        text: TextEncoder,
        codec: Codec,
        schedule: NoiseSchedule,
        prediction_type: str,
        *,
        image_size: int,
        guidance_scale: float | int = 7.5,
    ) -> None:
        if prediction_type not in _READERS:
            accepted = ", ".join(_READERS)
            raise ValueError(f"prediction_type must be one of {accepted}; got {prediction_type!r}")
        self.schedule = schedule
        super().__init__(
            self, codec, image_size=image_size, guidance_scale=guidance_scale, name=name
        )
        self.network = network.eval().requires_grad_(False)
        self.text = text
        self._read = _READERS[prediction_type]
        self._network_gradient = False

    @classmethod
    def from_pipeline(
        cls,
        pipeline: Any,
        *,
        name: str = "pipeline",
        guidance_scale: float | int = 7.5,
        vocabulary: Sequence[str] | None = None,
    ) -> "FrozenPrior":
        """The prior of a diffusers StableDiffusionPipeline (SD 1.x, 2.x).

        Its scheduler contributes the noise schedule and the prediction type, nothing else.
        """
        from diffusers import DDPMScheduler

        scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
        codec = LatentCodec(pipeline.vae)
        return cls(
            name,
            pipeline.unet,
            TextEncoder(pipeline.tokenizer, pipeline.text_encoder, vocabulary),
            codec,
            DiscreteSchedule(scheduler.alphas_cumprod),
            scheduler.config.prediction_type,
            image_size=pipeline.unet.config.sample_size * codec.factor,
            guidance_scale=guidance_scale,
        )

    @property
    def device(self) -> torch.device:
        """Where the network's weights are."""
        return next(self.network.parameters()).device

    def to(self, device: torch.device | str) -> "FrozenPrior":
        """Move all parts; returns self."""
        self.network.to(device)
        self.text.to(device)
        self.codec.to(device)
        return self

    def with_network_gradient(self) -> "FrozenPrior":
        """This prior, differentiable in z through the network. Weights are shared."""
        other = copy.copy(self)
        other.conditional = other
        other._network_gradient = True
        return other

    def predict(
        self, z: Float[Tensor, "batch *shape"], level: NoiseLevel, condition: Condition
    ) -> Prediction:
        """The network's prediction at z under a condition of one row per item."""
        dtype = next(self.network.parameters()).dtype
        timestep = self.schedule.timestep(level).to(z.device, torch.float32)
        if not self._network_gradient:
            z = z.detach()  # a conversion would keep the graph of z, without the network's part
        with torch.set_grad_enabled(self._network_gradient and torch.is_grad_enabled()):
            value = self.network(z.to(dtype), timestep, **condition.tensors).sample
        return self._read(z, level, value.to(torch.promote_types(z.dtype, torch.float32)))

    def condition(self, prompts: Prompts | None = None) -> ConditionedDenoiser:
        """The denoiser under a prompt, one prompt per item of the batch, or (None) no prompt."""
        if prompts is None:
            prompts = ""
        prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        return ConditionedDenoiser(self, self.text.encode(prompts))
