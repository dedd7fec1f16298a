"""The networks of the recipes before any training, most of them narrow."""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTokenizer

from scorefield.files import write_json
from scorefield.integrity import write_seal
from scorefield.priors.clip_unet import ClipUNet
from scorefield.training.codec import make_codec
from scorefield.training.diffusion import TextToLatents
from scorefield.training.motion import TextToClips, save_motion
from scorefield.training.shapes import save_shapes
from scorefield.training.text_to_image import make_pipeline
from scorefield.training.tokenizer import make_tokenizer
from scorefield.world.clips import CLIP_WORDS


def narrow_codec(channels: int = 4) -> AutoencoderKL:
    """A codec with the layers of `make_codec` and a quarter of its channels."""
    config = dict(make_codec(channels).config)
    narrow = {"block_out_channels": (8, 16, 16), "norm_num_groups": 4}
    return AutoencoderKL.from_config({**config, **narrow})


def narrow_denoiser(tokenizer: CLIPTokenizer, channels: int = 4) -> TextToLatents:
    """A denoiser with the layers of the recipe's and a quarter of its channels."""
    module = TextToLatents(tokenizer, channels)
    narrow = {"block_out_channels": (16, 32, 40), "norm_num_groups": 8}
    module.unet = UNet2DConditionModel.from_config({**module.unet.config, **narrow})
    return module


def untrained_shapes(folder: Path) -> Path:
    """A folder with a narrow pipeline of the form of `shapes`, of random weights."""
    tokenizer = make_tokenizer()
    return save_shapes(make_pipeline(narrow_codec(), narrow_denoiser(tokenizer), tokenizer), folder)


def untrained_clips(folder: Path, name: str, frames: int = 8) -> str:
    """The path of a prior of clips, of random weights."""
    torch.manual_seed(0)
    module = TextToClips.make(make_tokenizer(CLIP_WORDS, 8), 8)
    if frames != 8:
        module.unet = ClipUNet(num_frames=frames, width=8)
    path = save_motion(module.eval(), folder / name, name)
    card = json.loads((path / "scorefield.json").read_text())
    write_json(path / "scorefield.json", {**card, "frames": frames})
    write_seal(path)
    return str(path)
