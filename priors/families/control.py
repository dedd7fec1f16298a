"""ControlNet: a trained copy of a U-Net's encoder that is shown an image (Zhang et al. 2023)."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scorefield.integrity import check_finite_weights
from scorefield.priors.families.base import Adapter
from scorefield.priors.families.weights import (
    PriorError,
    check_sealed,
    check_weights,
    read_json,
    tensor_names,
)

_TAKE_CONTROL = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")


class ControlledUNet(nn.Module):
    """A U-Net's adapter, and the ControlNet whose residuals are added to the U-Net's skips.

    Without a control image it is the adapter alone.
    """

    def __init__(self, adapter: Adapter, controlnet: Any) -> None:
        super().__init__()
        self.adapter = adapter
        self.controlnet = controlnet

    @property
    def model(self) -> Any:
        """The U-Net."""
        return self.adapter.model

    @property
    def dtype(self) -> torch.dtype:
        """What both compute in."""
        return self.adapter.dtype

    def check_control(self, images: Tensor, size: int) -> None:
        """Raise ValueError for control images that are not (n, channels, size, size)."""
        channels = self.controlnet.config.conditioning_channels
        if images.shape[1:] != (channels, size, size):
            raise ValueError(
                f"control images must be (n, {channels}, {size}, {size}); got {tuple(images.shape)}"
            )

    def forward(
        self,
        z: Tensor,
        timestep: Tensor,
        control_image: Tensor | None = None,
        control_scale: Tensor | None = None,
        **condition: Any,
    ) -> Tensor:
        """The U-Net's value with control_scale (batch,) times the ControlNet's residuals."""
        if control_image is None or control_scale is None:
            return self.adapter(z, timestep, **condition)
        channels = self.controlnet.config.conditioning_embedding_out_channels
        height, width = (side << (len(channels) - 1) for side in z.shape[-2:])
        if control_image.shape[-2:] != (height, width):
            raise ValueError(
                f"the control image is of {tuple(control_image.shape[-2:])} pixels and what is "
                f"computed of {(height, width)}; a ControlNet goes with images of the prior's own "
                "size, leave it out here"
            )
        given = self.adapter.arguments(**condition)
        down, mid = self.controlnet(
            z, timestep, controlnet_cond=control_image.to(self.dtype), return_dict=False, **given
        )
        scale = control_scale.to(self.dtype).reshape(-1, 1, 1, 1)
        return self.adapter(
            z,
            timestep,
            down_block_additional_residuals=[scale * residual for residual in down],
            mid_block_additional_residual=scale * mid,
            **condition,
        )


def check_controlnet(folder: Path, pipeline_class: str) -> None:
    """Check a ControlNet's folder, its seal included, without loading its weights.

    folder: of one ControlNet.

    Raises:
        PriorError: it is missing or damaged, or the prior takes none.
    """
    if pipeline_class not in _TAKE_CONTROL:
        raise PriorError(
            f"{folder}: a {pipeline_class} takes no ControlNet here, only "
            f"{' and '.join(_TAKE_CONTROL)} do; leave it out"
        )
    if not folder.is_dir():
        raise PriorError(f"{folder}: no such folder; give one with a ControlNetModel")
    check_sealed(folder)
    config = read_json(folder / "config.json")
    if config.get("_class_name") != "ControlNetModel":
        raise PriorError(
            f"{folder / 'config.json'}: holds a {config.get('_class_name')}; give a ControlNetModel"
        )
    check_weights(folder)


def load_controlnet(folder: Path, unet: Any, dtype: torch.dtype) -> Any:
    """The ControlNet in a folder, which must fit the U-Net.

    Raises:
        PriorError: it does not, or lacks tensors.
    """
    from diffusers import ControlNetModel

    try:
        controlnet = ControlNetModel.from_pretrained(
            str(folder), torch_dtype=dtype, use_safetensors=True, local_files_only=True
        )
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise PriorError(f"{folder}: could not be loaded ({reason}); copy it again") from error
    held, needed = tensor_names(folder), set(controlnet.state_dict())
    for wrong, what in ((needed - held, "lack"), (held - needed, "hold")):
        if wrong:
            raise PriorError(
                f"{folder}: the weights {what} {len(wrong)} tensors "
                f"{'of' if what == 'lack' else 'that are not of'} a ControlNetModel,"
                f" such as {min(wrong)}; copy them again"
            )
    try:
        check_finite_weights(controlnet.state_dict(), folder)
    except ValueError as error:
        raise PriorError(str(error)) from error
    for name in ("in_channels", "block_out_channels", "cross_attention_dim", "layers_per_block"):
        ours, theirs = controlnet.config[name], unet.config[name]
        if ours != theirs:
            raise PriorError(
                f"{folder}: made for a U-Net of {name} {ours}, this one has {theirs}; give a "
                "ControlNet trained on this prior"
            )
    return controlnet
