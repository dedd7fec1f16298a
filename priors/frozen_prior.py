"""The prior of a diffusion model: a frozen network, its text encoder and its codec."""

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from scorefield.acceleration import as_written, once_per_sample
from scorefield.devices import to_device
from scorefield.priors.codec import Codec
from scorefield.priors.condition import Condition
from scorefield.priors.denoiser import ConditionedDenoiser
from scorefield.priors.guidance.classifier_free import ClassifierFreeGuidance
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.prediction import Prediction
from scorefield.priors.prior import ImagePrior, Prompts, ToldCameras
from scorefield.priors.schedule import NoiseSchedule
from scorefield.priors.text import Conditioner
from scorefield.views import CAMERA_WIDTH, CameraRanges, camera_vector

Reader = Callable[[Tensor, NoiseLevel, Tensor], Prediction]
"""From z, its level and the network's value to what that predicts."""

_READERS: dict[str, Reader] = {
    "epsilon": Prediction.from_eps,
    "sample": Prediction.from_x0,
    "v_prediction": Prediction.from_v,
    "flow_prediction": Prediction.from_velocity,
}

# Amplitudes of equal log-SNR are proportional. Those of a schedule and of a level of it differ by
# the rounding of timesteps; more than this, and the level is of another kind of schedule.
_SAME_AMPLITUDES = 1e-4
# Of every weight, and of the schedule, that tell a prior from another.
_VALUES = 16
_FRACTIONS = (0.25, 0.5, 0.75)


class FrozenPrior(ImagePrior):
    """Network, text encoder and codec of a diffusion model of images or videos.

    Frozen: eval mode, no parameter gradients, and predictions without a graph unless
    `with_network_gradient` asks for the network's Jacobian. Gradients do flow through `encode`.

    network: called as network(z, timestep, **condition) -> value of the shape of z, with one native
        timestep and one row of every tensor of the condition per item. The adapters of
        `scorefield.priors.families` make one of a diffusers model, which they keep as `.model`.
    text: from prompts to conditions.
    prediction_type: what the network outputs, in diffusers' words: "epsilon", "sample",
        "v_prediction" or "flow_prediction"; or a function that reads it, where it is none of these.
    shape: of one latent, (channels, side, side), or of a video (frames, channels, side, side).
    cameras: that the network was trained to be told, as `class_labels` (batch, 7); None tells none.

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
        prediction_type: str | Reader,
        *,
        shape: Sequence[int],
        guidance_scale: float | int = 7.5,
        steps: int = 25,
        scheduler: Any = None,
        templates: Sequence[str] = (),
        concepts: Sequence[str] = (),
        guidance_kind: type[ClassifierFreeGuidance] = ClassifierFreeGuidance,
        cameras: CameraRanges | None = None,
    ) -> None:
        if not callable(prediction_type) and prediction_type not in _READERS:
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
            templates=templates,
            concepts=concepts,
            guidance_kind=guidance_kind,
        )
        self.network = network.eval().requires_grad_(False)
        self.text = text
        self.cameras = cameras
        self._read = prediction_type if callable(prediction_type) else _READERS[prediction_type]
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
        """This prior, differentiable in z through the network. Weights are shared.

        A network that was compiled is differentiated as it is written.
        """
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
        scale = self.schedule.rescaling(level)
        if bool(((scale - 1).abs() < _SAME_AMPLITUDES).all()):
            return self._read(z, level, self._value(z, timestep, condition))
        native = self.schedule.at_timestep(timestep.double())
        scale = (native.alpha + native.sigma) / (level.alpha + level.sigma)
        y = z * scale.to(z.dtype).to(z.device).reshape(-1, *[1] * (z.ndim - 1))
        found = self._read(y, native, self._value(y, timestep, condition))
        alpha, sigma = level.like(z)
        return Prediction.from_v(z, level, alpha * found.eps - sigma * found.x0)

    def sharing_layers(self, of: Int[Tensor, " rows"]) -> AbstractContextManager[None]:
        """Inside, layers that see no prompt run once per sample; row i holds the sample of[i]."""
        # a graph through the network may be walked again outside
        return nullcontext() if self._network_gradient else once_per_sample(self.model, of)

    def _value(self, z: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        differentiated = self._network_gradient and torch.is_grad_enabled()
        # Gradients that torch 2.13 compiles for a CPU are wrong in some networks: zero behind an
        # upsampling that follows a residual block.
        written = as_written() if differentiated else nullcontext()
        with torch.set_grad_enabled(differentiated), written:
            timestep = to_device(timestep.float(), z.device)
            value: Tensor = self.network(z.to(self.dtype), timestep, **condition.tensors)
        return value.to(torch.promote_types(z.dtype, torch.float32))

    def condition(
        self, prompts: Prompts | None = None, cameras: ToldCameras | None = None
    ) -> ConditionedDenoiser:
        """The denoiser under a prompt, one prompt per item of the batch, or (None) no prompt.

        cameras: that see what is made, one for all items or one each; None tells of no camera.

        Raises:
            ValueError: words or cameras that the prior does not take, cameras of another number
                than the prompts, or that are not finite.
        """
        if prompts is None:
            prompts = ""
        prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        tensors = dict(self.text.encode(prompts).tensors)
        if self.cameras is not None:
            tensors["class_labels"] = _vectors(cameras, len(prompts)).to(self.device)
        elif cameras is not None:
            super().condition(prompts, cameras)  # refuses them
        tensors |= {name: tensor.to(self.device) for name, tensor in self._control.items()}
        return ConditionedDenoiser(self, Condition(tensors))


def _vectors(cameras: ToldCameras | None, prompts: int) -> Float[Tensor, "batch 7"]:
    """Cameras as a network is told them; zeros for none."""
    if cameras is None:
        return torch.zeros(1, CAMERA_WIDTH)
    if not isinstance(cameras, Tensor):
        cameras = camera_vector(cameras)
    if cameras.ndim != 2 or cameras.shape[1] != CAMERA_WIDTH or not cameras.isfinite().all():
        raise ValueError(
            f"vectors of cameras must be finite, of shape (batch, {CAMERA_WIDTH}), as "
            f"scorefield.views.camera_vector makes them; got {tuple(cameras.shape)}"
        )
    if 1 not in (prompts, len(cameras)) and len(cameras) != prompts:
        raise ValueError(
            f"{len(cameras)} cameras do not fit {prompts} prompts; give one camera or {prompts}"
        )
    return cameras.float()


def prior_digest(prior: ImagePrior) -> str:
    """A digest of a prior's network and codec, of their scaling and of the schedule.

    Of every weight its name, shape, dtype and 16 of its values count: weights that were trained on
    or merged with others differ in almost all values, and reading all of them would take longer
    than the network does. Of the schedule its log-SNRs to one decimal, which are the same on every
    machine. A prior that is no network is known by its name, its codec and its schedule.
    """
    digest = hashlib.blake2b(digest_size=16)
    codec = vars(prior.codec)
    parts = [value for value in codec.values() if isinstance(value, nn.Module)]
    numbers = {name: value for name, value in codec.items() if type(value) in (int, float)}
    levels = [f"{float(prior.schedule.at_fraction(one).log_snr):.1f}" for one in _FRACTIONS]
    said = [type(prior.schedule).__name__, levels, sorted(numbers.items())]
    if isinstance(prior, FrozenPrior):
        said.append(type(prior.model).__name__)
        parts.append(prior.network)
    else:
        said.append(prior.name)
    digest.update(repr(said).encode())
    for part in parts:
        # a compiled network is the network that it was compiled from
        state = {name.replace("_orig_mod.", ""): v for name, v in part.state_dict().items()}
        for name, values in state.items():
            digest.update(f"{name}{tuple(values.shape)}{values.dtype}".encode())
        step = [max(1, v.numel() // _VALUES) for v in state.values()]
        samples = [v.reshape(-1)[::s].float() for v, s in zip(state.values(), step, strict=True)]
        if samples:
            digest.update(torch.cat(samples).cpu().numpy().tobytes())
    return digest.hexdigest()
