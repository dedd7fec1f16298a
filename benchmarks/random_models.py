"""Random models in the shapes of Stable Diffusion 1.5 and SDXL, or narrow ones, made on the spot.

U-Net and autoencoder are as in the published config.json; text encoders are two layers deep, for
prompts are encoded once.
"""

import contextlib
import io
from typing import Any

import diffusers
import torch
import transformers

from scorefield.acceleration import lay_out_channels_last
from scorefield.priors.families import from_pipeline
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.training.tokenizer import make_tokenizer

CHAIN = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def chain(kind: Any, **options: Any) -> Any:
    """A scheduler of Stable Diffusion's noise levels, which stay on the CPU."""
    with torch.device("cpu"):
        return kind(**CHAIN, steps_offset=1, **options)


def text(width: int, heads: int, device: torch.device, *, projected: bool = False) -> Any:
    """A CLIP text encoder of that width, two layers deep."""
    kind = transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel
    tokenizer = make_tokenizer(length=77)
    config = transformers.CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=4 * width,
        num_attention_heads=heads, num_hidden_layers=2, projection_dim=width,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return tokenizer, kind(config).to(device)


def autoencoder(share: int, **options: Any) -> Any:
    """Stable Diffusion's; its widths divided by `share`."""
    return diffusers.AutoencoderKL(
        block_out_channels=tuple(w // share for w in (128, 256, 512, 512)), layers_per_block=2,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=32 // share, **options,
    )  # fmt: skip


def sd15(small: bool, device: torch.device) -> Any:
    """Stable Diffusion 1.5 (859.5 M parameters in the U-Net), or a narrow one."""
    tokenizer, encoder = text(768 // (8 if small else 1), 12, device)
    unet = diffusers.UNet2DConditionModel(
        sample_size=16 if small else 64, layers_per_block=2, attention_head_dim=8,
        block_out_channels=(32, 64, 128, 128) if small else (320, 640, 1280, 1280),
        cross_attention_dim=encoder.config.hidden_size,
    )  # fmt: skip
    options: dict[str, Any] = {"safety_checker": None, "feature_extractor": None}
    return diffusers.StableDiffusionPipeline(
        autoencoder(4 if small else 1, sample_size=512), encoder, tokenizer, unet,
        chain(diffusers.DDIMScheduler, clip_sample=False),
        requires_safety_checker=False, **options,
    )  # fmt: skip


def sdxl(small: bool, device: torch.device) -> Any:
    """SDXL (2.57 G parameters in the U-Net), or a narrow one."""
    share = 8 if small else 1
    tokenizer, encoder = text(768 // share, 12, device)
    tokenizer_2, encoder_2 = text(1280 // share, 20, device, projected=True)
    unet = diffusers.UNet2DConditionModel(
        sample_size=16 if small else 128, layers_per_block=2,
        block_out_channels=(32, 64, 128) if small else (320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4, 8) if small else (5, 10, 20), cross_attention_dim=2048 // share,
        transformer_layers_per_block=(1, 1, 2) if small else (1, 2, 10),
        use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=1280 // share + 6 * 256,
    )  # fmt: skip
    return diffusers.StableDiffusionXLPipeline(
        autoencoder(
            4 if small else 1, scaling_factor=0.13025, force_upcast=True, sample_size=1024
        ),
        encoder, encoder_2, tokenizer, tokenizer_2, unet,
        chain(diffusers.EulerDiscreteScheduler),
    )  # fmt: skip


MODELS = {"sd15": sd15, "sdxl": sdxl}


def load(name: str, small: bool, device: torch.device) -> FrozenPrior:
    """The prior of a random model; in 16 bit but on a CPU."""
    torch.manual_seed(0)
    with device, contextlib.redirect_stderr(io.StringIO()):
        pipeline = MODELS[name](small, device)
    if device.type != "cpu":
        for part in ("unet", "text_encoder", "text_encoder_2"):
            if getattr(pipeline, part, None) is not None:
                getattr(pipeline, part).half()
        if name == "sd15":
            pipeline.vae.half()
    prior = from_pipeline(pipeline, name=name).to(device)
    if device.type == "cuda":  # as load_prior does
        lay_out_channels_last(prior.network)
        lay_out_channels_last(prior.codec.vae)
    return prior
