"""The networks of the recipes before any training, in their form or in a narrow one."""

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


def narrow_codec() -> AutoencoderKL:
    """A codec with the layers of `make_codec` and a quarter of its channels."""
    config = dict(make_codec().config)
    narrow = {"block_out_channels": (8, 16, 16), "norm_num_groups": 4}
    return AutoencoderKL.from_config({**config, **narrow})


def narrow_denoiser(tokenizer: CLIPTokenizer) -> TextToLatents:
    """A denoiser with the layers of the recipe's and a quarter of its channels."""
    module = TextToLatents(tokenizer)
    narrow = {"block_out_channels": (16, 32, 40), "norm_num_groups": 8}
    module.unet = UNet2DConditionModel.from_config({**module.unet.config, **narrow})
    return module


def untrained_shapes(folder: Path, *, narrow: bool = True) -> Path:
    """A folder with a pipeline like that of `shapes`, of random weights.

    narrow: a quarter of the channels, for tests of what is around the networks.
    """
    tokenizer = make_tokenizer()
    if narrow:
        pipeline = make_pipeline(narrow_codec(), narrow_denoiser(tokenizer), tokenizer)
    else:
        pipeline = make_pipeline(make_codec(), TextToLatents(tokenizer), tokenizer)
    return save_shapes(pipeline, folder)


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
