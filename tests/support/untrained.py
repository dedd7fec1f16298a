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
from scorefield.training.text_to_image import PriorCard, make_pipeline, save_prior
from scorefield.training.tokenizer import WORDS, make_tokenizer
from scorefield.world.clips import CLIP_WORDS


def narrow_codec(channels: int = 4) -> AutoencoderKL:
    """A codec with the layers of `make_codec` and a quarter of its channels."""
    config = dict(make_codec(channels).config)
    narrow = {"block_out_channels": (8, 16, 16), "norm_num_groups": 4}
    return AutoencoderKL.from_config({**config, **narrow})


def narrow_denoiser(
    tokenizer: CLIPTokenizer, channels: int = 4, cameras: bool = False
) -> TextToLatents:
    """A denoiser with the layers of the recipe's and a quarter of its channels."""
    module = TextToLatents(tokenizer, channels, cameras)
    narrow = {"block_out_channels": (16, 32, 40), "norm_num_groups": 8}
    config = {k: v for k, v in module.unet.config.items() if not k.startswith("_")}
    module.unet = UNet2DConditionModel(**{**config, **narrow})
    return module


def untrained_shapes(folder: Path) -> Path:
    """A folder with a narrow pipeline of the form of `shapes`, of random weights."""
    tokenizer = make_tokenizer()
    return save_shapes(make_pipeline(narrow_codec(), narrow_denoiser(tokenizer), tokenizer), folder)


def untrained_views(folder: Path) -> Path:
    """A folder with a narrow pipeline that is told cameras, of random weights."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    module = narrow_denoiser(tokenizer, cameras=True)
    # PyTorch begins with weights so small that one view is hardly another
    torch.nn.init.normal_(module.unet.class_embedding.linear_2.weight)
    ranges = {"elevation": [-10.0, 60.0], "distance": [2.8, 3.2], "fov": [40.0, 40.0]}
    card = PriorCard("views", 3.0, WORDS, {"templates": ["a red {}"], "cameras": ranges})
    return save_prior(make_pipeline(narrow_codec(), module, tokenizer), folder, card)


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
