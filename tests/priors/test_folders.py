"""Folders as people have them: variants, other pipelines' names, and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from scorefield.priors.loading import PriorError, check_folder, load_prior
from scorefield.priors.noise import keyed_noise
from scorefield.priors.prior import FrozenPrior

Tiny = Callable[[str], Path]


@pytest.fixture
def folder(tiny: Tiny, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny("sd"), tmp_path / "copy"))


def change(path: Path, **keys: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


def refusal(folder: Path, **options: Any) -> str:
    with pytest.raises(PriorError) as caught:
        load_prior(folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def value(prior: FrozenPrior) -> torch.Tensor:
    z = keyed_noise(0, range(1), 0, prior.latent_shape)
    return prior.condition("a cup")(z, prior.schedule.at_timestep(400)).eps


def to_variant(folder: Path, *parts: str, keep: bool = False) -> None:
    for part in parts:
        (plain,) = (folder / part).glob("*.safetensors")
        new = plain.with_name(f"{plain.stem}.fp16.safetensors")
        shutil.copy(plain, new)
        if not keep:
            plain.unlink()


def test_weights_of_a_variant_alone_load(tiny: Tiny, folder: Path) -> None:
    """The usual small download has fp16 files and no others."""
    to_variant(folder, "unet", "vae", "text_encoder")
    assert torch.equal(value(load_prior(folder)), value(load_prior(tiny("sd"))))
    assert "no weights of variant 'bf16', only fp16" in refusal(folder, variant="bf16")


def test_a_variant_beside_plain_weights_is_chosen(folder: Path) -> None:
    to_variant(folder, "unet", keep=True)
    path = folder / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    load_prior(folder)
    assert f"{path}: has" in refusal(folder, variant="fp16")
    assert "no part has weights of variant 'bf16'" in refusal(folder, variant="bf16")


def test_a_second_file_hides_no_missing_tensor(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    to_variant(folder, "unet", keep=True)
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, path, metadata={"format": "pt"})
    assert "unet: the weights hold" in refusal(folder)


@pytest.mark.parametrize(
    "entry",
    [["os", "system"], ["unet", "UNet2DConditionModel"], ["diffusers", "AutoencoderKL"], [1, "a"]],
)
def test_only_known_classes_are_imported(folder: Path, entry: list[Any]) -> None:
    change(folder / "model_index.json", unet=entry)
    message = refusal(folder)
    assert "model_index.json: unet is" in message or "names no unet" in message


def test_parts_that_no_pipeline_has_are_refused(folder: Path) -> None:
    change(folder / "model_index.json", extra=["os", "system"])
    assert "model_index.json: extra is ['os', 'system']" in refusal(folder)
    change(folder / "model_index.json", extra=[None, None], mirror=2)
    assert "mirror is 2, which a StableDiffusionPipeline is not known to have" in refusal(folder)


@pytest.mark.parametrize(
    ("part", "keys", "why"),
    [
        ("unet", {"spiral": 3}, "has spiral = 3, which UNet2DConditionModel of diffusers"),
        ("vae", {"latents_power": 0.5}, "has latents_power = 0.5, which AutoencoderKL"),
        ("unet", {"num_class_embeds": 1000}, "num_class_embeds = 1000, and what loads has None"),
        ("text_encoder", {"use_attention_mask": True}, "use_attention_mask = True, and what"),
        ("unet", {"quantization_config": {"quant_method": "bitsandbytes"}}, "are quantised"),
    ],
)
def test_keys_that_are_not_understood_are_refused(
    folder: Path, part: str, keys: dict[str, Any], why: str
) -> None:
    change(folder / part / "config.json", **keys)
    assert why in refusal(folder)
    with pytest.raises(PriorError):  # before any weights are read
        check_folder(folder)


def test_other_pipelines_of_the_same_parts(tiny: Tiny, folder: Path) -> None:
    change(
        folder / "model_index.json",
        _class_name="StableDiffusionControlNetPipeline",
        controlnet=["diffusers", "ControlNetModel"],
    )
    assert torch.equal(value(load_prior(folder)), value(load_prior(tiny("sd"))))
