"""Pipelines of every family, tiny and random, saved in diffusers' folder format."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from scorefield.priors.clip_unet import ClipUNet
from scorefield.training.tokenizer import make_tokenizer

LABELS = {"0": "tench, Tinca tinca", "1": "goldfish", "2": "snow leopard, ounce"}


def clip_text(width: int = 32, *, projection: bool = False, length: int = 77) -> Any:
    tokenizer = make_tokenizer(length=length)
    config = transformers.CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=length,
        projection_dim=width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    kind = transformers.CLIPTextModelWithProjection if projection else transformers.CLIPTextModel
    return tokenizer, kind(config)


def t5_text(width: int = 32, *, multilingual: bool = False) -> Any:
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), ("▁", -2.0)]
    pieces += [(letter, -3.0) for letter in letters] + [("▁a", -1.0), ("▁red", -1.0)]
    tokenizer = transformers.T5Tokenizer(vocab=pieces, extra_ids=0)
    settings = {
        "vocab_size": len(tokenizer),
        "d_model": width,
        "d_kv": 8,
        "d_ff": 2 * width,
        "num_layers": 2,
        "num_heads": 2,
        "feed_forward_proj": "gated-gelu",
    }
    if multilingual:
        return tokenizer, transformers.UMT5EncoderModel(transformers.UMT5Config(**settings))
    return tokenizer, transformers.T5EncoderModel(transformers.T5Config(**settings))


CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def qwen_tokens() -> Any:
    """Byte by byte, with the marks of a chat."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    vocab = {letter: i for i, letter in enumerate(bytes_to_unicode().values())}
    for mark in ("<|endoftext|>", "<|im_start|>", "<|im_end|>"):
        vocab[mark] = len(vocab)
    tokenizer = transformers.Qwen2Tokenizer(
        vocab=vocab,
        merges=[],
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
        model_max_length=2048,
    )
    tokenizer.chat_template = CHAT
    return tokenizer


def qwen_text(layers: int = 2, *, causal: bool = False) -> Any:
    tokenizer = qwen_tokens()
    config = transformers.Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=2048,
    )
    kind = transformers.Qwen3ForCausalLM if causal else transformers.Qwen3Model
    return tokenizer, kind(config)


def vae(blocks: int = 2, channels: int = 4, **options: Any) -> diffusers.AutoencoderKL:
    """Of a factor 2 ** (blocks - 1)."""
    return diffusers.AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=channels,
        block_out_channels=(8,) * blocks,
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        norm_num_groups=4,
        **options,
    )


def chain(**options: Any) -> diffusers.DDIMScheduler:
    settings = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    return diffusers.DDIMScheduler(
        **{**settings, "clip_sample": False, "steps_offset": 1, **options}
    )


def _fill_zeros(network: torch.nn.Module) -> None:
    """Layers that mix frames start as zeros, as if there were none; make them mix."""
    for parameter in network.parameters():
        if bool((parameter == 0).all()):
            torch.nn.init.normal_(parameter, std=0.2)


def unet(**options: Any) -> diffusers.UNet2DConditionModel:
    settings: dict[str, Any] = {
        "sample_size": 8,
        "in_channels": 4,
        "out_channels": 4,
        "layers_per_block": 1,
        "block_out_channels": (8, 16),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "attention_head_dim": 2,
        "cross_attention_dim": 32,
        "norm_num_groups": 4,
    }
    return diffusers.UNet2DConditionModel(**{**settings, **options})


def sd() -> Any:
    tokenizer, text = clip_text()
    return diffusers.StableDiffusionPipeline(
        vae=vae(),
        text_encoder=text,
        tokenizer=tokenizer,
        unet=unet(),
        scheduler=chain(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sdxl() -> Any:
    tokenizer, text = clip_text()
    tokenizer_2, text_2 = clip_text(projection=True)
    return diffusers.StableDiffusionXLPipeline(
        vae=vae(force_upcast=True, scaling_factor=0.13025),
        text_encoder=text,
        text_encoder_2=text_2,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer_2,
        unet=unet(
            cross_attention_dim=64,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 32,
            use_linear_projection=True,
        ),
        scheduler=diffusers.EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            timestep_spacing="leading",
            steps_offset=1,
        ),
    )


def deepfloyd() -> Any:
    tokenizer, text = t5_text()
    return diffusers.IFPipeline(
        tokenizer=tokenizer,
        text_encoder=text,
        unet=unet(
            sample_size=16,
            in_channels=3,
            out_channels=6,
            down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
            mid_block_type="UNetMidBlock2DSimpleCrossAttn",
            up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
            cross_attention_dim=16,
            encoder_hid_dim=32,
            encoder_hid_dim_type="text_proj",
            addition_embed_type="text",
            addition_embed_type_num_heads=2,
            resnet_time_scale_shift="scale_shift",
            act_fn="gelu",
        ),
        scheduler=diffusers.DDPMScheduler(
            beta_schedule="squaredcos_cap_v2",
            variance_type="learned_range",
            thresholding=True,
            prediction_type="epsilon",
        ),
        safety_checker=None,
        feature_extractor=None,
        watermarker=None,
        requires_safety_checker=False,
    )


def unet_2d(**options: Any) -> diffusers.UNet2DModel:
    return diffusers.UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        **options,
    )


def ddpm() -> Any:
    return diffusers.DDPMPipeline(unet_2d(), diffusers.DDPMScheduler())


def ddpm_of_classes() -> Any:
    return diffusers.DDPMPipeline(unet_2d(num_class_embeds=4), diffusers.DDPMScheduler())


def dit() -> Any:
    transformer = diffusers.DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        sample_size=8,
        patch_size=2,
        num_embeds_ada_norm=3,
        norm_type="ada_norm_zero",
        norm_elementwise_affine=False,
    )
    return diffusers.DiTPipeline(transformer, vae(), chain())


def sd3() -> Any:
    tokenizer, text = clip_text(projection=True)
    tokenizer_2, text_2 = clip_text(projection=True)
    tokenizer_3, text_3 = t5_text(64)
    return diffusers.StableDiffusion3Pipeline(
        transformer=diffusers.SD3Transformer2DModel(
            sample_size=8,
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=64,
            caption_projection_dim=16,
            pooled_projection_dim=64,
            pos_embed_max_size=16,
        ),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False),
        text_encoder=text,
        tokenizer=tokenizer,
        text_encoder_2=text_2,
        tokenizer_2=tokenizer_2,
        text_encoder_3=text_3,
        tokenizer_3=tokenizer_3,
    )


def flux(guidance: bool = True) -> Any:
    tokenizer, text = clip_text()
    tokenizer_2, text_2 = t5_text()
    pipeline = diffusers.FluxPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(
            shift=3.0, use_dynamic_shifting=guidance
        ),
        vae=vae(scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=text,
        tokenizer=tokenizer,
        text_encoder_2=text_2,
        tokenizer_2=tokenizer_2,
        transformer=diffusers.FluxTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=32,
            guidance_embeds=guidance,
            axes_dims_rope=(4, 4, 8),
        ),
    )
    return pipeline


def flux_schnell() -> Any:
    return flux(guidance=False)


def flux2_klein() -> Any:
    tokenizer, text = qwen_text(28, causal=True)
    codec = diffusers.AutoencoderKLFlux2(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
    )
    codec.bn.running_mean.normal_()
    codec.bn.running_var.uniform_(0.5, 2.0)
    transformer = diffusers.Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=48,
        timestep_guidance_channels=16,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=False,
    )
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    return diffusers.Flux2KleinPipeline(scheduler, codec, text, tokenizer, transformer)


def z_image() -> Any:
    tokenizer, text = qwen_text()
    transformer = diffusers.ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[4, 6, 6],
        axes_lens=[1024, 64, 64],
    )
    _fill_zeros(transformer)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    codec = vae(scaling_factor=0.3611, shift_factor=0.1159)
    return diffusers.ZImagePipeline(scheduler, codec, text, tokenizer, transformer)


def qwen_image() -> Any:
    tokenizer = qwen_tokens()
    width = 16
    config = transformers.Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": width,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": 2048,
            "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]},
        },
        vision_config={
            "depth": 1,
            "hidden_size": width,
            "intermediate_size": 32,
            "num_heads": 2,
            "out_hidden_size": width,
        },
    )
    text = transformers.Qwen2_5_VLForConditionalGeneration(config)
    codec = diffusers.AutoencoderKLQwenImage(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 1],
        num_res_blocks=1,
        temperal_downsample=[False],
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[1.5, 2.0, 0.7, 1.0],
    )
    transformer = diffusers.QwenImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=width,
        axes_dims_rope=(4, 6, 6),
    )
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True, max_shift=0.9, max_image_seq_len=8192, shift_terminal=0.02
    )
    return diffusers.QwenImagePipeline(scheduler, codec, text, tokenizer, transformer)


def pixart(sigma: bool = True) -> Any:
    tokenizer, text = t5_text()
    kind = diffusers.PixArtSigmaPipeline if sigma else diffusers.PixArtAlphaPipeline
    transformer = diffusers.PixArtTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        cross_attention_dim=24,
        # diffusers tells the size to networks of this one
        sample_size=8 if sigma else 128,
        patch_size=2,
        caption_channels=32,
        use_additional_conditions=not sigma,
    )
    _fill_zeros(transformer)
    return kind(tokenizer, text, vae(), transformer, chain(beta_schedule="linear"))


def pixart_alpha() -> Any:
    return pixart(sigma=False)


class _Parts:
    """A pipeline that diffusers has no class for."""

    def __init__(self, **parts: Any) -> None:
        self.parts = parts

    def save_pretrained(self, folder: Path, **_: Any) -> None:
        index = {"_class_name": "ClipPipeline"}
        for name, part in self.parts.items():
            part.save_pretrained(folder / name)
            index[name] = [type(part).__module__.split(".")[0], type(part).__name__]
        (folder / "model_index.json").write_text(json.dumps(index))


def clip() -> Any:
    tokenizer, text = clip_text(16, length=16)
    network = ClipUNet(sample_size=8, num_frames=4, width=8, cross_attention_dim=16)
    _fill_zeros(network)
    scheduler = diffusers.DDIMScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", clip_sample=False
    )
    return _Parts(unet=network, text_encoder=text, tokenizer=tokenizer, scheduler=scheduler)


def text_to_video() -> Any:
    tokenizer, text = clip_text()
    network = diffusers.UNet3DConditionModel(
        sample_size=8,
        layers_per_block=1,
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        norm_num_groups=4,
        cross_attention_dim=32,
        attention_head_dim=4,
    )
    _fill_zeros(network)
    return diffusers.TextToVideoSDPipeline(vae(), text, tokenizer, network, chain())


def stable_video() -> Any:
    """Of 16 pixels and 3 frames, which is shown an image and so is not in `TINY`."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    seen = CLIPVisionConfig(
        image_size=224, patch_size=56, num_attention_heads=2, projection_dim=32, **small
    )
    autoencoder = diffusers.AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=4,
        scaling_factor=0.5,
    )
    network = diffusers.UNetSpatioTemporalConditionModel(
        sample_size=8,
        block_out_channels=(32, 32),
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        layers_per_block=1,
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=24,
        cross_attention_dim=32,
        num_attention_heads=(2, 2),
        num_frames=3,
    )
    _fill_zeros(network)
    scheduler = diffusers.EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        interpolation_type="linear",
        prediction_type="v_prediction",
        sigma_min=0.002,
        sigma_max=700.0,
        steps_offset=1,
        timestep_spacing="leading",
        timestep_type="continuous",
        use_karras_sigmas=True,
    )
    return diffusers.StableVideoDiffusionPipeline(
        autoencoder,
        CLIPVisionModelWithProjection(seen),
        network,
        scheduler,
        CLIPImageProcessorPil(),
    )


def animate_diff() -> Any:
    tokenizer, text = clip_text()
    motion = diffusers.MotionAdapter(
        block_out_channels=(8, 16),
        motion_layers_per_block=1,
        motion_num_attention_heads=2,
        motion_norm_num_groups=4,
        motion_max_seq_length=16,
    )
    _fill_zeros(motion)
    scheduler = chain(beta_schedule="linear")
    return diffusers.AnimateDiffPipeline(vae(), text, tokenizer, unet(), motion, scheduler)


def wan() -> Any:
    tokenizer, text = t5_text(multilingual=True)
    codec = diffusers.AutoencoderKLWan(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 1],
        num_res_blocks=1,
        temperal_downsample=[True],
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[1.5, 2.0, 0.7, 1.0],
        scale_factor_temporal=2,
        scale_factor_spatial=2,
    )
    transformer = diffusers.WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=4,
        out_channels=4,
        text_dim=32,
        freq_dim=16,
        ffn_dim=32,
        num_layers=2,
        rope_max_seq_len=16,
    )
    scheduler = diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    return diffusers.WanPipeline(tokenizer, text, codec, scheduler, transformer)


def wan_two_experts() -> Any:
    """Version 2.2: one transformer above a level, another below."""
    pipeline = wan()
    other = diffusers.WanTransformer3DModel(**dict(_public(pipeline.transformer.config)))
    pipeline.register_modules(transformer_2=other)
    pipeline.register_to_config(boundary_ratio=0.8)
    return pipeline


def wan_per_token() -> Any:
    """Version 2.2 of 5B: a timestep for each token, and patches before the autoencoder."""
    pipeline = wan()
    pipeline.register_to_config(expand_timesteps=True)
    return pipeline


def _public(config: Any) -> Any:
    return {key: value for key, value in config.items() if not key.startswith("_")}


def cog_video_x() -> Any:
    tokenizer, text = t5_text()
    codec = diffusers.AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 2,
        up_block_types=("CogVideoXUpBlock3D",) * 2,
        block_out_channels=(8, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        temporal_compression_ratio=2,
    )
    transformer = diffusers.CogVideoXTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=4,
        out_channels=4,
        time_embed_dim=8,
        text_embed_dim=32,
        num_layers=2,
        sample_width=8,
        sample_height=8,
        sample_frames=5,
        temporal_compression_ratio=2,
        max_text_seq_length=226,
        use_rotary_positional_embeddings=True,
    )
    scheduler = diffusers.CogVideoXDDIMScheduler(
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        snr_shift_scale=1.0,
        timestep_spacing="trailing",
    )
    return diffusers.CogVideoXPipeline(tokenizer, text, codec, transformer, scheduler)


def ltx() -> Any:
    tokenizer, text = t5_text()
    codec = diffusers.AutoencoderKLLTXVideo(
        latent_channels=8,
        block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        down_block_types=("LTXVideoDownBlock3D",) * 2,
        layers_per_block=(1, 1, 1),
        decoder_layers_per_block=(1, 1, 1),
        spatio_temporal_scaling=(True, False),
        decoder_spatio_temporal_scaling=(True, False),
        decoder_inject_noise=(False, False, False),
        downsample_type=("conv", "conv"),
        upsample_residual=(False, False),
        upsample_factor=(1, 1),
        patch_size=1,
    )
    codec.latents_mean.normal_()
    codec.latents_std.uniform_(0.5, 2.0)
    transformer = diffusers.LTXVideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        num_attention_heads=2,
        attention_head_dim=8,
        cross_attention_dim=16,
        num_layers=2,
        caption_channels=32,
    )
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True,
        base_shift=0.95,
        max_shift=2.05,
        base_image_seq_len=1024,
        shift_terminal=0.1,
    )
    return diffusers.LTXPipeline(scheduler, codec, text, tokenizer, transformer)


def sana() -> Any:
    letters = "abcdefghijklmnopqrstuvwxyz▁"
    marks = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
    vocab = {piece: i for i, piece in enumerate((*marks, *letters))}
    tokenizer = transformers.GemmaTokenizer(vocab=vocab, merges=[])
    text = transformers.Gemma2Model(
        transformers.Gemma2Config(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
        )
    )
    codec = diffusers.AutoencoderDC(
        latent_channels=4,
        attention_head_dim=2,
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        encoder_qkv_multiscales=((), ()),
        decoder_qkv_multiscales=((), ()),
        scaling_factor=0.41,
    )
    transformer = diffusers.SanaTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=16,
        sample_size=8,
    )
    scheduler = diffusers.DPMSolverMultistepScheduler(
        use_flow_sigmas=True, flow_shift=3.0, prediction_type="flow_prediction"
    )
    return diffusers.SanaPipeline(tokenizer, text, codec, transformer, scheduler)


def controlnet() -> Any:
    net = diffusers.ControlNetModel.from_unet(unet(), conditioning_embedding_out_channels=(4, 8))
    return net


TINY: dict[str, Callable[[], Any]] = {
    "sd": sd,
    "clip": clip,
    "text-to-video": text_to_video,
    "sdxl": sdxl,
    "if": deepfloyd,
    "ddpm": ddpm,
    "ddpm-classes": ddpm_of_classes,
    "dit": dit,
    "sd3": sd3,
    "flux": flux,
    "flux-schnell": flux_schnell,
    "animate-diff": animate_diff,
    "pixart": pixart,
    "pixart-alpha": pixart_alpha,
    "wan": wan,
    "wan-two-experts": wan_two_experts,
    "wan-per-token": wan_per_token,
    "cog-video-x": cog_video_x,
    "ltx": ltx,
    "sana": sana,
    "qwen-image": qwen_image,
    "z-image": z_image,
    "flux2-klein": flux2_klein,
}
"""Every pipeline, by a name of ours."""

# What a model does not say itself: small enough to run in tests.
SIZES: dict[str, dict[str, int]] = {
    "flux": {"image_size": 16},
    "flux-schnell": {"image_size": 16},
    "text-to-video": {"frames": 3},
    "animate-diff": {"frames": 3},
    "wan": {"image_size": 16, "frames": 5},
    "pixart-alpha": {"image_size": 16},
    "wan-two-experts": {"image_size": 16, "frames": 5},
    "wan-per-token": {"image_size": 16, "frames": 5},
    "ltx": {"image_size": 32, "frames": 5},
    "sana": {"image_size": 32},
    "qwen-image": {"image_size": 16},
    "z-image": {"image_size": 16},
    "flux2-klein": {"image_size": 32},
}


def clip_judge(folder: Path) -> Path:
    """Save a tiny CLIP, with text and vision, that judges images; the same weights every time."""
    from transformers import CLIPConfig, CLIPModel, CLIPProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    tokenizer = make_tokenizer()
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    small |= {"num_attention_heads": 2}
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = CLIPConfig(
        text_config={"vocab_size": len(tokenizer), **small, **ids},
        vision_config={"image_size": 32, "patch_size": 8, **small},
        projection_dim=8,
    )
    images = CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        CLIPModel(config).save_pretrained(folder)
    CLIPProcessor(images, tokenizer).save_pretrained(folder)
    return folder


def build(name: str, folder: Path) -> Path:
    """Save a pipeline into an empty folder; the same weights every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pipeline = TINY[name]()
    folder.mkdir(parents=True, exist_ok=True)
    pipeline.save_pretrained(folder, safe_serialization=True)
    if name == "dit":  # published models have labels, which diffusers reads but does not write
        index = json.loads((folder / "model_index.json").read_text())
        (folder / "model_index.json").write_text(json.dumps({**index, "id2label": LABELS}))
    if name == "ddpm-classes":
        (folder / "scorefield.json").write_text(json.dumps({"labels": ["circle", "box", "star"]}))
    return folder
