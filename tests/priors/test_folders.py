"""Folders as people have them: variants, other pipelines' names, and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import tiny_models
import torch
from ldm_names import as_one_file
from safetensors.torch import load_file, save_file

from scorefield.priors import codec
from scorefield.priors.families.base import few_steps_named
from scorefield.priors.features.network_cost import network_cost
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.loading import PriorError, check_folder, load_prior
from scorefield.priors.noise import keyed_noise, noise_generator

Tiny = Callable[[str], Path]


@pytest.fixture
def folder(tiny: Tiny, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny("sd"), tmp_path / "copy"))


def change(path: Path, **keys: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


def refusal(folder: Path | str, **options: Any) -> str:
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


def test_configs_that_do_not_say_what_most_say(folder: Path) -> None:
    """A size that is a pair or null, and a tokenizer without the number of its tokens."""
    for size, side in (([8, 8], 8), (None, 64)):
        change(folder / "unet" / "config.json", sample_size=size)
        assert load_prior(folder).latent_shape == (4, side, side)
    change(folder / "unet" / "config.json", sample_size=[8, 4])
    assert "sample_size is [8, 4], which is no side of a square" in refusal(folder)
    change(folder / "unet" / "config.json", sample_size=8)
    config = folder / "tokenizer" / "tokenizer_config.json"
    content = json.loads(config.read_text())
    content.pop("model_max_length")
    config.write_text(json.dumps(content))
    hidden = load_prior(folder).condition("a cup").condition.tensors["encoder_hidden_states"]
    assert hidden.shape[1] == 77


def test_a_tiny_autoencoder(tiny: Tiny, folder: Path) -> None:
    vae = diffusers.AutoencoderTiny(
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    )
    shutil.rmtree(folder / "vae")
    vae.save_pretrained(folder / "vae")
    change(folder / "model_index.json", vae=["diffusers", "AutoencoderTiny"])
    prior = load_prior(folder)
    images = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        latents = vae.encode(2 * images - 1).latents
        decoded = (vae.decode(latents).sample / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(prior.encode(images), latents)
    torch.testing.assert_close(prior.decode(latents), decoded)
    assert not bool(prior.codec.posterior(images)[1].any())  # type: ignore[attr-defined]
    assert network_cost(prior).encode is not None


# diffusers converts tensors in a way numpy 2 means to drop
@pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")
@pytest.mark.parametrize("kind", ["LCMScheduler", "EulerAncestralDiscreteScheduler"])
def test_few_step_models_are_sampled_as_in_their_pipeline(folder: Path, kind: str) -> None:
    """The steps, spacing, scale and, for LCM, the guidance that the network is told."""
    steps = 4 if kind == "LCMScheduler" else 1
    options = {"time_cond_proj_dim": 16} if kind == "LCMScheduler" else {}
    torch.manual_seed(0)
    unet = tiny_models.unet(**options)
    unet.save_pretrained(folder / "unet")
    scheduler = getattr(diffusers, kind)(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1,
        timestep_spacing="leading" if kind == "LCMScheduler" else "trailing",
    )  # fmt: skip
    scheduler.save_pretrained(folder / "scheduler")
    name = "LatentConsistencyModelPipeline" if steps == 4 else "StableDiffusionPipeline"
    change(folder / "model_index.json", _class_name=name, scheduler=["diffusers", kind])
    prior = load_prior(folder)
    assert (prior.guidance_scale, prior.steps) == (1.0, steps)
    pipeline = getattr(diffusers, name).from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    start = keyed_noise(3, range(1), 0, prior.latent_shape)
    theirs = pipeline(
        "a cup",
        latents=start,
        num_inference_steps=steps,
        generator=[noise_generator(3, 0, 1)],
        output_type="pt",
        **({} if steps == 4 else {"guidance_scale": 0.0}),
    ).images
    torch.testing.assert_close(prior.generate("a cup", seed=3), theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("owner/sdxl-turbo", 4),
        ("SDXL-Lightning-8step", 8),
        ("hyper_sd", 8),
        ("FLUX.1-schnell", 4),
        ("sd-turbulence", None),
        ("stable-diffusion-v1-5", None),
    ],
)
def test_names_of_few_step_models(name: str, steps: int | None) -> None:
    assert few_steps_named(name) == steps


@pytest.fixture
def one_file(tiny: Tiny, tmp_path: Path) -> Path:
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(tiny("sd"))
    path = tmp_path / "mine.safetensors"
    save_file(as_one_file(pipeline), path)
    return path


def test_a_checkpoint_in_one_file(tiny: Tiny, folder: Path, one_file: Path) -> None:
    """With the configs and tokenizers of a folder, which needs no weights."""
    for path in folder.rglob("*.safetensors"):
        path.unlink()
    prior = load_prior(one_file, configs=folder)
    assert prior.name == "mine"
    # weights that lie elsewhere in memory are rounded otherwise by some CPUs
    torch.testing.assert_close(value(prior), value(load_prior(tiny("sd"))), rtol=1e-4, atol=1e-5)
    message = refusal(one_file)
    assert f"{one_file}: is one file" in message and "--configs FOLDER" in message
    assert "configs go with a checkpoint in one file" in refusal(folder / "gone", configs=folder)
    one_file.rename(one_file.with_suffix(".ckpt"))
    assert "pickled weights can run code" in refusal(one_file.with_suffix(".ckpt"), configs=folder)


def test_a_file_that_lacks_something(folder: Path, one_file: Path) -> None:
    tensors = load_file(one_file)
    middle = "model.diffusion_model.middle_block.0.in_layers.2.weight"
    save_file({n: t for n, t in tensors.items() if n != middle}, one_file)
    assert "(tensors of a network are missing)" in refusal(one_file, configs=folder)
    save_file({n: t for n, t in tensors.items() if not n.startswith("cond")}, one_file)
    assert "does not hold the networks of" in refusal(one_file, configs=folder)


def test_configs_beside_a_prior_that_has_its_own_are_refused(folder: Path, tiny: Tiny) -> None:
    for source in (folder, "shapes"):
        told = refusal(source, configs=tiny("sd"))
        assert str(source) in told and "leave them out" in told


def test_a_file_keeps_the_precise_parts_precise(tiny: Tiny, tmp_path: Path, one_file: Path) -> None:
    half = load_prior(one_file, configs=tiny("sd"), dtype=torch.bfloat16)
    whole = load_prior(tiny("sd"), dtype=torch.bfloat16)
    for ours, theirs in ((half.codec, whole.codec), (half.network, whole.network)):
        ours, theirs = getattr(ours, "vae", ours), getattr(theirs, "vae", theirs)
        held = theirs.state_dict()
        for name, tensor in ours.state_dict().items():
            assert tensor.dtype == held[name].dtype and torch.equal(tensor, held[name])


@pytest.mark.parametrize(
    ("own", "loads"),
    [("DDPMScheduler", True), ("EDMEulerScheduler", False), ("KarrasVeScheduler", False)],
)
def test_a_scheduler_of_another_class_than_the_index_names(
    folder: Path, own: str, loads: bool
) -> None:
    """diffusers would make the class of the index of it, and say nothing."""
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "_class_name": own}))
    if loads:
        load_prior(folder)
        return
    with pytest.raises(PriorError, match=f"is of {own} and model_index.json names DDIMScheduler"):
        check_folder(folder)


def test_a_shift_that_the_scheduler_does_not_follow_is_refused(folder: Path) -> None:
    change(folder / "scheduler" / "scheduler_config.json", snr_shift_scale=3.0)
    with pytest.raises(PriorError, match=r"DDIMScheduler has snr_shift_scale = 3.0, which only"):
        load_prior(folder)


def test_low_memory_changes_where_and_not_what(folder: Path) -> None:
    plain, spare = load_prior(folder), load_prior(folder, low_memory=True)
    torch.testing.assert_close(value(spare), value(plain))
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    gradients = []
    for prior in (plain, spare):
        leaf = images.clone().requires_grad_()
        prior.encode(leaf).square().sum().backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients)
    vae: Any = spare.codec.vae  # type: ignore[attr-defined]
    assert vae.use_slicing and vae.encoder.gradient_checkpointing
    assert spare.codec.always_in_tiles  # type: ignore[attr-defined]
    moved = spare.text.to("meta")  # where there is nothing to compute with
    assert next(spare.text.modules()[0].parameters()).device.type == "cpu"  # type: ignore[attr-defined]
    assert moved.encode(["a cup"]).tensors["encoder_hidden_states"].device.type == "meta"


def test_what_cannot_be_decoded_whole_is_decoded_in_tiles(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prior = load_prior(folder)
    vae: Any = prior.codec.vae  # type: ignore[attr-defined]
    monkeypatch.setattr(codec, "TILE", 8)
    latents = keyed_noise(0, range(2), 0, prior.latent_shape)
    whole, tiles = prior.decode(latents), []
    decode = vae.decoder.forward

    def short_of_memory(z: torch.Tensor, *rest: Any) -> torch.Tensor:
        if z.shape[-1] > 4:  # 8 pixels
            raise torch.OutOfMemoryError("no")
        tiles.append(len(z))
        return decode(z, *rest)

    monkeypatch.setattr(vae.decoder, "forward", short_of_memory)
    found = prior.decode_in_parts(latents)
    assert len(tiles) == 2 * 9  # with an overlap of a quarter
    assert found.shape == whole.shape and not vae.use_tiling
    # tiles see less around them
    assert float((found - whole).abs().mean()) < 0.1


def test_an_encoder_that_would_keep_too_much_for_its_gradient_computes_it_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prior = load_prior(folder)
    vae: Any = prior.codec.vae  # type: ignore[attr-defined]
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    passes, gradients = [0, 0], []
    for i, room in enumerate((2**30, 0)):
        monkeypatch.setattr(codec, "_ROOM_FOR_ENCODER", room)

        def count(*_: Any, i: int = i) -> None:
            passes[i] += 1

        hook = vae.encoder.mid_block.resnets[0].register_forward_hook(count)
        leaf = images.clone().requires_grad_()
        prior.encode(leaf).square().sum().backward()
        gradients.append(leaf.grad)
        hook.remove()
    assert passes == [1, 2] and not vae.is_gradient_checkpointing
    torch.testing.assert_close(*gradients, rtol=0, atol=0)


def test_decoding_takes_fewer_at_a_time_when_memory_asks(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prior = load_prior(folder)
    latents = keyed_noise(0, range(5), 0, prior.latent_shape)
    whole = prior.decode(latents)
    seen: list[int] = []
    decode = prior.codec.decode

    def short_of_memory(part: torch.Tensor) -> torch.Tensor:
        seen.append(len(part))
        if len(part) > 2:
            raise torch.OutOfMemoryError("no")
        return decode(part)

    monkeypatch.setattr(prior.codec, "decode", short_of_memory)
    torch.testing.assert_close(prior.decode_in_parts(latents), whole, rtol=1e-4, atol=1e-5)
    assert seen == [5, 3, 2, 2, 1]


def test_sd3_without_t5(tiny: Tiny, tmp_path: Path) -> None:
    """Its index has two nulls for a part, as diffusers writes what is left out."""
    folder = Path(shutil.copytree(tiny("sd3"), tmp_path / "copy"))
    for part in ("text_encoder_3", "tokenizer_3"):
        shutil.rmtree(folder / part)
    change(folder / "model_index.json", text_encoder_3=[None, None], tokenizer_3=[None, None])
    hidden = load_prior(folder).condition("a cup").condition.tensors["encoder_hidden_states"]
    assert hidden.shape == (1, 77 + 256, 64)
    assert not bool(hidden[:, 77:].any())
    shutil.rmtree(folder / "text_encoder")
    change(folder / "model_index.json", text_encoder=[None, None])
    assert "names no text_encoder" in refusal(folder)
