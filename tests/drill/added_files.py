"""What is added to a prior, or judges what it made: LoRA, ControlNet, CLIP."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from formats import Format

_MODULE = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"


@cache
def _prior(material: Path) -> Any:
    """The parts of the prior of the material that a LoRA or a ControlNet is brought to."""
    from diffusers import StableDiffusionPipeline

    options = dict.fromkeys(("safety_checker", "feature_extractor", "image_encoder"))
    return StableDiffusionPipeline.from_pretrained(
        material / "prior", requires_safety_checker=False, **options
    )


def _lora(kind: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import torch
        from safetensors.torch import save_file

        unet = _prior(folder.parents[1] / "material").unet
        rows, columns = unet.get_submodule(_MODULE).weight.shape
        generator = torch.Generator().manual_seed(0)
        down, up = (torch.randn(n, generator=generator) for n in ((2, columns), (rows, 2)))
        flat = f"lora_unet_{_MODULE.replace('.', '_')}"
        names = {
            "lora": (f"unet.{_MODULE}.lora_A.weight", f"unet.{_MODULE}.lora_B.weight"),
            "kohya": (f"{flat}.lora_down.weight", f"{flat}.lora_up.weight"),
            "peft": (
                f"base_model.model.{_MODULE}.lora_A.weight",
                f"base_model.model.{_MODULE}.lora_B.weight",
            ),
        }[kind]
        tensors = dict(zip(names, (down, up), strict=True))
        if kind == "kohya":
            tensors[f"{flat}.alpha"] = torch.tensor(1.0)
        if kind != "peft":
            save_file(tensors, folder / "lora.safetensors")
            return folder / "lora.safetensors"
        made = folder / "adapter"
        made.mkdir()
        save_file(tensors, made / "adapter_model.safetensors")
        about = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "alpha_pattern": {"to_k": 8}}
        (made / "adapter_config.json").write_text(json.dumps(about))
        return made

    return make


def _read_lora(path: Path) -> None:
    import copy

    from scorefield.priors.families.lora import attach_loras, find_loras

    # As `load_prior` does, without what has nothing to do with the file.
    pipeline = copy.deepcopy(_prior(path.parents[2] / "material"))
    attach_loras(pipeline, find_loras(path))


def _make_controlnet(folder: Path) -> Path:
    import tiny_models

    tiny_models.controlnet().save_pretrained(folder / "controlnet", safe_serialization=True)
    return folder / "controlnet"


def _read_controlnet(path: Path) -> object:
    import torch

    from scorefield.priors.families.control import check_controlnet, load_controlnet

    check_controlnet(path, "StableDiffusionPipeline")
    unet = _prior(path.parents[2] / "material").unet
    return load_controlnet(path, unet, torch.float32)


def _make_clip(folder: Path) -> Path:
    import tiny_models

    return tiny_models.clip_judge(folder / "clip")


def _read_clip(path: Path) -> object:
    from scorefield.sds.judges import ClipJudge

    return ClipJudge.load(path, ["a red cup"])


FORMATS = {
    "lora": Format(_lora("lora"), _read_lora, 3),
    "lora of kohya": Format(_lora("kohya"), _read_lora, 3),
    "lora of peft": Format(_lora("peft"), _read_lora, 3),
    "controlnet": Format(_make_controlnet, _read_controlnet, 4),
    "clip": Format(_make_clip, _read_clip, 4),
}
