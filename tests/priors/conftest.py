"""Tiny random pipelines in diffusers' folder format, each built once."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import tiny_models
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from scorefield.priors.loading import _quiet
from scorefield.training.tokenizer import make_tokenizer

BLOCKS = 4


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a pipeline of `tiny_models.TINY`; copy it before changing a file."""

    @cache
    def folder_of(name: str) -> Path:
        with _quiet():
            return tiny_models.build(name, tmp_path_factory.mktemp("tiny") / name)

    return folder_of


@pytest.fixture(scope="session")
def tiny_sd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a pipeline of 128x128 pixels and 4x16x16 latents that predicts epsilon.

    Shared by the whole session: copy it before changing a file.
    """
    tokenizer = make_tokenizer(length=77)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=77,
                projection_dim=32,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        unet = UNet2DConditionModel(
            sample_size=16,
            in_channels=4,
            out_channels=4,
            layers_per_block=1,
            block_out_channels=(16, 32, 32, 32),
            down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
            attention_head_dim=4,
            cross_attention_dim=32,
            norm_num_groups=8,
        )
        vae = AutoencoderKL(
            in_channels=3,
            out_channels=3,
            latent_channels=4,
            block_out_channels=(8, 16, 16, 16),
            layers_per_block=1,
            down_block_types=("DownEncoderBlock2D",) * BLOCKS,
            up_block_types=("UpDecoderBlock2D",) * BLOCKS,
            norm_num_groups=4,
            sample_size=128,
        )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    folder = tmp_path_factory.mktemp("tiny") / "tiny_sd"
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder
