"""The families of diffusion models that load, each from a pipeline in diffusers' format.

A family is a function from a pipeline to a `FrozenPrior`. It chooses what differs: the adapter
that calls the network, the encoder of prompts, the codec and the schedule.
"""

from collections.abc import Mapping
from typing import Any

from scorefield.priors.families.base import Adapter, Card, Family
from scorefield.priors.families.classes import dit, unet_2d
from scorefield.priors.families.flows import flux, stable_diffusion_3
from scorefield.priors.families.flux2 import flux2_klein
from scorefield.priors.families.pixart import pixart_alpha, pixart_sigma
from scorefield.priors.families.pixels import deepfloyd_if
from scorefield.priors.families.qwen_image import qwen_image
from scorefield.priors.families.sana import sana
from scorefield.priors.families.stable_video import stable_video
from scorefield.priors.families.unets import stable_diffusion, stable_diffusion_xl
from scorefield.priors.families.video_flows import ltx, wan
from scorefield.priors.families.videos import (
    ClipPipeline,
    animate_diff,
    clips,
    cog_video_x,
    text_to_video,
)
from scorefield.priors.families.z_image import z_image
from scorefield.priors.frozen_prior import FrozenPrior

__all__ = ["FAMILIES", "Adapter", "Card", "ClipPipeline", "Family", "from_pipeline"]

_IMAGE_VAE = ("AutoencoderKL", "AutoencoderTiny")
_CLIP, _CLIP_PROJECTED = ("CLIPTextModel",), ("CLIPTextModelWithProjection",)
_CLIP_TOKENS = ("CLIPTokenizer", "CLIPTokenizerFast")
_T5, _T5_TOKENS = ("T5EncoderModel",), ("T5Tokenizer", "T5TokenizerFast")
_QWEN_TOKENS = ("Qwen2Tokenizer", "Qwen2TokenizerFast")
_QWEN_3 = ("Qwen3Model", "Qwen3ForCausalLM")
_SAFETY = ("safety_checker", "feature_extractor", "image_encoder")
_SHOWN = ("feature_extractor", "image_encoder")

# U-Nets of other conditions than their pipeline's: classes, noise levels of an upscaler, images.
_PLAIN_UNET: Mapping[str, tuple[Any, ...]] = {
    "class_embed_type": (None,),
    "num_class_embeds": (None,),
    "addition_embed_type": (None,),
    "encoder_hid_dim_type": (None,),
}
# transformers' CLIP has it, and diffusers' pipelines alone act on it.
_UNMASKED = {"use_attention_mask": (None, False)}

_PIXART = {
    "transformer": ("PixArtTransformer2DModel",),
    "vae": _IMAGE_VAE,
    "text_encoder": _T5,
    "tokenizer": _T5_TOKENS,
}

FAMILIES: dict[str, Family] = {
    "StableDiffusionPipeline": Family(
        stable_diffusion,
        {
            "unet": ("UNet2DConditionModel",),
            "vae": _IMAGE_VAE,
            "text_encoder": _CLIP,
            "tokenizer": _CLIP_TOKENS,
        },
        left_out=(*_SAFETY, "controlnet"),
        options=("requires_safety_checker",),
        configs={
            # a projection is of cameras, where the card says so
            "unet": {**_PLAIN_UNET, "class_embed_type": (None, "projection")},
            "text_encoder": _UNMASKED,
        },
        float32=(),
        cameras=True,
        aliases=(
            "StableDiffusionImg2ImgPipeline",
            "StableDiffusionControlNetPipeline",
            "StableDiffusionPAGPipeline",
            "LatentConsistencyModelPipeline",
            "LatentConsistencyModelImg2ImgPipeline",
        ),
    ),
    "StableDiffusionXLPipeline": Family(
        stable_diffusion_xl,
        {
            "unet": ("UNet2DConditionModel",),
            "vae": _IMAGE_VAE,
            "text_encoder_2": _CLIP_PROJECTED,
            "tokenizer_2": _CLIP_TOKENS,
        },
        {"text_encoder": _CLIP, "tokenizer": _CLIP_TOKENS},
        left_out=(*_SHOWN, "controlnet"),
        options=("force_zeros_for_empty_prompt", "add_watermarker"),
        configs={"unet": {**_PLAIN_UNET, "addition_embed_type": ("text_time",)}},
        aliases=(
            "StableDiffusionXLImg2ImgPipeline",
            "StableDiffusionXLInpaintPipeline",
            "StableDiffusionXLControlNetPipeline",
            "StableDiffusionXLPAGPipeline",
        ),
    ),
    "IFPipeline": Family(
        deepfloyd_if,
        {"unet": ("UNet2DConditionModel",), "text_encoder": _T5, "tokenizer": _T5_TOKENS},
        left_out=("safety_checker", "feature_extractor", "watermarker"),
        options=("requires_safety_checker",),
        configs={
            "unet": {
                **_PLAIN_UNET,
                "addition_embed_type": ("text", None),
                "encoder_hid_dim_type": ("text_proj", None),
            }
        },
        aliases=("IFImg2ImgPipeline",),
    ),
    "DDPMPipeline": Family(unet_2d, {"unet": ("UNet2DModel",)}, aliases=("DDIMPipeline",)),
    "DiTPipeline": Family(
        dit,
        {"transformer": ("DiTTransformer2DModel", "Transformer2DModel"), "vae": _IMAGE_VAE},
        options=("id2label",),
    ),
    "StableDiffusion3Pipeline": Family(
        stable_diffusion_3,
        {
            "transformer": ("SD3Transformer2DModel",),
            "vae": _IMAGE_VAE,
            "text_encoder": _CLIP_PROJECTED,
            "text_encoder_2": _CLIP_PROJECTED,
            "tokenizer": _CLIP_TOKENS,
            "tokenizer_2": _CLIP_TOKENS,
        },
        {"text_encoder_3": _T5, "tokenizer_3": _T5_TOKENS},
        left_out=(*_SHOWN, "controlnet"),
        aliases=(
            "StableDiffusion3Img2ImgPipeline",
            "StableDiffusion3ControlNetPipeline",
            "StableDiffusion3PAGPipeline",
        ),
    ),
    "FluxPipeline": Family(
        flux,
        {
            "transformer": ("FluxTransformer2DModel",),
            "vae": _IMAGE_VAE,
            "text_encoder": _CLIP,
            "text_encoder_2": _T5,
            "tokenizer": _CLIP_TOKENS,
            "tokenizer_2": _T5_TOKENS,
        },
        left_out=(*_SHOWN, "controlnet"),
        half="bfloat16",
        aliases=(
            "FluxImg2ImgPipeline",
            "FluxInpaintPipeline",
            "FluxControlNetPipeline",
            "FluxKontextPipeline",
        ),
    ),
    "QwenImagePipeline": Family(
        qwen_image,
        {
            "transformer": ("QwenImageTransformer2DModel",),
            "vae": ("AutoencoderKLQwenImage",),
            "text_encoder": ("Qwen2_5_VLForConditionalGeneration",),
            "tokenizer": _QWEN_TOKENS,
        },
        half="bfloat16",
        configs={
            "transformer": {
                "guidance_embeds": (None, False),
                "zero_cond_t": (None, False),
                "use_additional_t_cond": (None, False),
                "use_layer3d_rope": (None, False),
            }
        },
        aliases=("QwenImageImg2ImgPipeline", "QwenImageInpaintPipeline"),
    ),
    "ZImagePipeline": Family(
        z_image,
        {
            "transformer": ("ZImageTransformer2DModel",),
            "vae": _IMAGE_VAE,
            "text_encoder": _QWEN_3,
            "tokenizer": _QWEN_TOKENS,
        },
        half="bfloat16",
        configs={"transformer": {"siglip_feat_dim": (None,)}},
        aliases=("ZImageImg2ImgPipeline",),
    ),
    "Flux2KleinPipeline": Family(
        flux2_klein,
        {
            "transformer": ("Flux2Transformer2DModel",),
            "vae": ("AutoencoderKLFlux2",),
            "text_encoder": _QWEN_3,
            "tokenizer": _QWEN_TOKENS,
        },
        options=("is_distilled",),
        half="bfloat16",
        configs={"transformer": {"guidance_embeds": (False,)}},
        aliases=("Flux2KleinInpaintPipeline",),
    ),
    "SanaPipeline": Family(
        sana,
        {
            "transformer": ("SanaTransformer2DModel",),
            "vae": ("AutoencoderDC",),
            "text_encoder": ("Gemma2Model", "Gemma2ForCausalLM"),
            "tokenizer": ("GemmaTokenizer", "GemmaTokenizerFast"),
        },
        half="bfloat16",
        configs={"transformer": {"guidance_embeds": (None, False)}},
        aliases=("SanaPAGPipeline",),
    ),
    "PixArtAlphaPipeline": Family(pixart_alpha, _PIXART),
    "PixArtSigmaPipeline": Family(pixart_sigma, _PIXART),
    "ClipPipeline": Family(
        clips,
        {"unet": ("ClipUNet",), "text_encoder": _CLIP, "tokenizer": _CLIP_TOKENS},
        configs={"text_encoder": _UNMASKED},
    ),
    "TextToVideoSDPipeline": Family(
        text_to_video,
        {
            "unet": ("UNet3DConditionModel",),
            "vae": _IMAGE_VAE,
            "text_encoder": _CLIP,
            "tokenizer": _CLIP_TOKENS,
        },
        configs={"text_encoder": _UNMASKED},
    ),
    "StableVideoDiffusionPipeline": Family(
        stable_video,
        {
            "unet": ("UNetSpatioTemporalConditionModel",),
            "vae": ("AutoencoderKLTemporalDecoder",),
            "image_encoder": ("CLIPVisionModelWithProjection",),
            "feature_extractor": ("CLIPImageProcessor", "CLIPImageProcessorPil"),
        },
    ),
    "AnimateDiffPipeline": Family(
        animate_diff,
        {
            "unet": ("UNet2DConditionModel", "UNetMotionModel"),
            "vae": _IMAGE_VAE,
            "text_encoder": _CLIP,
            "tokenizer": _CLIP_TOKENS,
        },
        {"motion_adapter": ("MotionAdapter",)},
        left_out=_SHOWN,
        configs={"text_encoder": _UNMASKED},
    ),
    "CogVideoXPipeline": Family(
        cog_video_x,
        {
            "transformer": ("CogVideoXTransformer3DModel",),
            "vae": ("AutoencoderKLCogVideoX",),
            "text_encoder": _T5,
            "tokenizer": _T5_TOKENS,
        },
        half="bfloat16",
        # of CogVideoX 1.5, and of those that are shown an image
        configs={
            "transformer": {"patch_size_t": (None,), "ofs_embed_dim": (None,)},
            "vae": {"shift_factor": (None,), "latents_mean": (None,)},
        },
    ),
    "LTXPipeline": Family(
        ltx,
        {
            "transformer": ("LTXVideoTransformer3DModel",),
            "vae": ("AutoencoderKLLTXVideo",),
            "text_encoder": _T5,
            "tokenizer": _T5_TOKENS,
        },
        half="bfloat16",
        configs={"transformer": {"patch_size": (None, 1), "patch_size_t": (None, 1)}},
    ),
    "WanPipeline": Family(
        wan,
        {
            "transformer": ("WanTransformer3DModel",),
            "vae": ("AutoencoderKLWan",),
            "text_encoder": ("UMT5EncoderModel",),
            "tokenizer": _T5_TOKENS,
        },
        {"transformer_2": ("WanTransformer3DModel",)},
        options=("boundary_ratio", "expand_timesteps"),
        half="bfloat16",
        configs={"transformer": {"image_dim": (None,), "added_kv_proj_dim": (None,)}},
    ),
}
"""By the class of the pipeline, which `model_index.json` names."""


def family_named(name: Any) -> Family | None:
    """The family of a pipeline's class, or None."""
    pipeline = pipeline_named(name)
    return None if pipeline is None else FAMILIES[pipeline]


def pipeline_named(name: Any) -> str | None:
    """The class of pipeline in `FAMILIES` that has the parts of this one, or None."""
    return next((key for key, f in FAMILIES.items() if name in (key, *f.aliases)), None)


def family_of(pipeline: Any) -> Family:
    """The family of a pipeline's class, or of one that it derives from.

    Raises:
        ValueError: there is none.
    """
    for parent in type(pipeline).__mro__:
        family = family_named(parent.__name__)
        if family is not None:
            return family
    raise ValueError(
        f"a {type(pipeline).__name__} makes no prior; give one of {', '.join(FAMILIES)}"
    )


def from_pipeline(pipeline: Any, *, name: str = "pipeline", **card: Any) -> FrozenPrior:
    """The prior of a diffusers pipeline of a class in `FAMILIES`.

    Its scheduler contributes the noise schedule, the prediction type and, of priors of pixels,
    whether clean samples are clipped; nothing else. The pipeline's own modules are used, and
    frozen.

    card: the fields of `Card`: guidance_scale, steps, vocabulary, labels, image_size, frames; what
        is not given is the family's own.

    Raises:
        ValueError: a pipeline of another class, or a card that does not fit it.
    """
    family = family_of(pipeline)
    if card.get("cameras") is not None and not family.cameras:
        raise ValueError(f"a {type(pipeline).__name__} is told no cameras; leave them out")
    return family.build(pipeline, Card(name=name, **card))
