"""A pipeline of Stable Diffusion as one file, under the names of its first code base (CompVis)."""

import re
from typing import Any

from torch import Tensor

_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection",
}  # fmt: skip
_OUTER = {
    "conv_in": "input_blocks.0.0", "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2", "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip
_MIDDLE = {"resnets.0": "middle_block.0", "attentions.0": "middle_block.1",
           "resnets.1": "middle_block.2"}  # fmt: skip
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v",
                  "to_out.0": "proj_out"}  # fmt: skip


def as_one_file(pipeline: Any) -> dict[str, Tensor]:
    """The tensors of a pipeline with U-Nets of one layer per block."""
    found = {}
    for name, tensor in pipeline.unet.state_dict().items():
        found[f"model.diffusion_model.{_unet_name(name)}"] = tensor
    halves = len(pipeline.vae.config.block_out_channels)
    for name, tensor in pipeline.vae.state_dict().items():
        is_square = ".attentions.0.to_" in name and tensor.ndim == 2  # convolutions once
        found[f"first_stage_model.{_vae_name(name, halves)}"] = (
            tensor[..., None, None] if is_square else tensor
        )
    for name, tensor in pipeline.text_encoder.state_dict().items():
        inner = name if name.startswith("text_model.") else f"text_model.{name}"
        found[f"cond_stage_model.transformer.{inner}"] = tensor
    return {name: tensor.contiguous() for name, tensor in found.items()}


def _unet_name(name: str) -> str:
    for theirs, ours in _OUTER.items():
        if name.startswith(f"{theirs}."):
            return ours + name.removeprefix(theirs)
    if match := re.fullmatch(r"mid_block\.(\w+\.\d)\.(.+)", name):
        return f"{_MIDDLE[match[1]]}.{_resnet(match[1], match[2])}"
    match = re.fullmatch(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.+)", name)
    assert match, name
    block, kind, layer, rest = int(match[2]), match[3], int(match[4]), match[5]
    if kind == "downsamplers":
        return f"input_blocks.{2 * block + 2}.0.op.{rest.removeprefix('conv.')}"
    if kind == "upsamplers":
        return f"output_blocks.{2 * block + 1}.1.{rest}"
    start = f"input_blocks.{2 * block + 1}" if match[1] == "down" else ""
    start = start or f"output_blocks.{2 * block + layer}"
    return f"{start}.{int(kind == 'attentions')}.{_resnet(kind, rest)}"


def _resnet(kind: str, rest: str) -> str:
    if kind.startswith("attentions"):
        return rest
    module, _, tensor = rest.partition(".")
    return f"{_RESNET[module]}.{tensor}"


def _vae_name(name: str, halves: int) -> str:
    name = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
    for i in range(halves):
        name = name.replace(f"down_blocks.{i}.", f"down.{i}.")
        name = name.replace(f"up_blocks.{i}.", f"up.{halves - 1 - i}.")
    name = name.replace("downsamplers.0", "downsample").replace("upsamplers.0", "upsample")
    name = name.replace("mid_block.resnets.0", "mid.block_1")
    name = name.replace("mid_block.resnets.1", "mid.block_2")
    name = name.replace("resnets", "block")
    if "mid_block.attentions.0." in name:
        start, _, rest = name.partition("mid_block.attentions.0.")
        module, _, tensor = rest.rpartition(".")
        name = f"{start}mid.attn_1.{_VAE_ATTENTION[module]}.{tensor}"
    return name
