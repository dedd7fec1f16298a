"""LoRA files of other code bases: all of a file arrives at its own strength, or it is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from scorefield.integrity import write_seal
from scorefield.priors.loading import PriorError, load_prior

Tiny = Callable[[str], Path]
BLOCK = "down_blocks.0.attentions.0.transformer_blocks.0"
MODULES = {f"{BLOCK}.attn1.to_q": 2, f"{BLOCK}.attn1.to_v": 4, f"{BLOCK}.attn2.to_k": 3}
CONV = "down_blocks.0.resnets.0.conv1"
ATTENTION = "text_model.encoder.layers.0.self_attn"
WORDS = f"{ATTENTION}.q_proj"


def pair(weight: Tensor, rank: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    down = 0.3 * torch.randn(rank, *weight.shape[1:], generator=generator)
    up = torch.randn(len(weight), rank, *[1] * (weight.ndim - 2), generator=generator)
    return down, up


def product(down: Tensor, up: Tensor) -> Tensor:
    return (up.flatten(1) @ down.flatten(1)).reshape(len(up), *down.shape[1:])


def text_name(model: nn.Module, name: str) -> str:
    """With or without the prefix that transformers has dropped."""
    known = dict(model.named_modules())
    return name if name in known else name.removeprefix("text_model.")


def weights_of(folder: Path) -> tuple[dict[str, Tensor], dict[str, Tensor], str]:
    prior = load_prior(folder)
    text: nn.Module = prior.text.modules()[0]  # type: ignore[attr-defined]
    return prior.model.state_dict(), text.state_dict(), text_name(text, WORDS)


def kohya(folder: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A file as kohya's trainer writes it, and the weights that it means."""
    network, text, words = weights_of(folder)
    tensors, meant = {}, {}
    modules = {name: (f"lora_unet_{name}", network, name) for name in (*MODULES, CONV)}
    for one in ("q_proj", "k_proj", "v_proj", "out_proj"):
        inner = words.replace("q_proj", one)
        modules[f"{ATTENTION}.{one}"] = (f"lora_te_{ATTENTION}.{one}", text, inner)
    for seed, (name, (kept, held, inner)) in enumerate(modules.items()):
        base = held[f"{inner}.weight"]
        rank, alpha = MODULES.get(name, 2), (1.0, 4.0, 2.0, 8.0, 0.5)[seed % 5]
        down, up = pair(base, rank, seed)
        kept = kept.replace(".", "_")
        tensors |= {f"{kept}.lora_down.weight": down, f"{kept}.lora_up.weight": up}
        tensors[f"{kept}.alpha"] = torch.tensor(alpha)
        meant[name] = base + alpha / rank * product(down, up)
    return tensors, meant


def check(folder: Path, lora: Path, meant: dict[str, Tensor]) -> None:
    """The weights are those that are meant, and no others have changed."""
    before, words_before, words = weights_of(folder)
    prior = load_prior(folder, lora=lora)
    after = prior.model.state_dict()
    text = prior.text.modules()[0].state_dict()  # type: ignore[attr-defined]
    for name, expected in meant.items():
        inner = words.replace("q_proj", name.rsplit(".", 1)[-1])
        held = text[f"{inner}.weight"] if name.startswith(ATTENTION) else after[f"{name}.weight"]
        torch.testing.assert_close(held, expected, rtol=1e-4, atol=1e-5)
    changed = sum(not torch.equal(before[n], after[n]) for n in before)
    changed += sum(not torch.equal(words_before[n], text[n]) for n in text)
    assert changed == len(meant)


def test_every_module_has_its_own_alpha_and_rank(tiny: Tiny, tmp_path: Path) -> None:
    tensors, meant = kohya(tiny("sd"))
    save_file(tensors, tmp_path / "lora.safetensors")
    check(tiny("sd"), tmp_path / "lora.safetensors", meant)


def test_magnitudes_that_do_not_arrive_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    """kohya's dora_scale was dropped, and the rest applied."""
    tensors, _ = kohya(tiny("sd"))
    tensors = {name: tensor for name, tensor in tensors.items() if "blocks_0_attn1_to_q" in name}
    (down,) = (name for name in tensors if "lora_down" in name)
    tensors[down.replace("lora_down.weight", "dora_scale")] = torch.ones(8, 1)
    save_file(tensors, tmp_path / "lora.safetensors")
    with pytest.raises(PriorError, match="0 of its 1 DoRA magnitudes fit this prior; convert it"):
        load_prior(tiny("sd"), lora=tmp_path)


@pytest.mark.parametrize("where", ["peft's config", "diffusers' metadata"])
def test_strengths_beside_the_tensors(tiny: Tiny, tmp_path: Path, where: str) -> None:
    network, _, _ = weights_of(tiny("sd"))
    tensors, meant = {}, {}
    for seed, (name, rank) in enumerate(MODULES.items()):
        down, up = pair(network[f"{name}.weight"], rank, seed)
        start = "base_model.model." if where == "peft's config" else "unet."
        tensors |= {f"{start}{name}.lora_A.weight": down, f"{start}{name}.lora_B.weight": up}
        alpha = 6.0 if name.endswith("to_v") else 3.0
        meant[name] = network[f"{name}.weight"] + alpha / rank * product(down, up)
    config = {"r": 2, "lora_alpha": 3.0, "alpha_pattern": {"attn1.to_v": 6.0}}
    metadata = {"format": "pt"}
    if where == "peft's config":
        (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    else:
        given = {f"unet.{key}": value for key, value in config.items()}
        metadata["lora_adapter_metadata"] = json.dumps(given)
    save_file(tensors, tmp_path / "adapter_model.safetensors", metadata)
    check(tiny("sd"), tmp_path, meant)


def test_what_fits_in_part_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    """One of four modules was applied, and nothing said."""
    tensors, _ = kohya(tiny("sd"))
    moved = {
        name.replace("attentions_0", "attentions_7") if "attn" in name else name: tensor
        for name, tensor in tensors.items()
    }
    save_file(moved, tmp_path / "lora.safetensors")
    with pytest.raises(PriorError, match=r"lora.safetensors: (does not fit|\d of its 8 updates)"):
        load_prior(tiny("sd"), lora=tmp_path)


def test_what_found_no_place_is_named(tiny: Tiny, tmp_path: Path) -> None:
    network, _, _ = weights_of(tiny("sd"))
    tensors = {}
    for seed, name in enumerate(MODULES):
        down, up = pair(network[f"{name}.weight"], 2, seed)
        # the U-Net has no block 7, and diffusers would leave its update out
        place = name.replace("down_blocks.0", "down_blocks.7") if name.endswith("to_k") else name
        tensors |= {f"unet.{place}.lora_A.weight": down, f"unet.{place}.lora_B.weight": up}
    save_file(tensors, tmp_path / "lora.safetensors")
    words = r"2 of its 3 updates fit this prior, with \d+% of their size \(without a place: unet\."
    with pytest.raises(PriorError, match=f"{words}down_blocks.7.*attn2.to_k\\)"):
        load_prior(tiny("sd"), lora=tmp_path)


def test_other_kinds_of_updates_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    tensors = {"lora_unet_mid_block.hada_w1_a": torch.zeros(2, 2)}
    save_file(tensors, tmp_path / "lora.safetensors")
    with pytest.raises(PriorError, match="hada_w1_a belongs to no pair of a low-rank update"):
        load_prior(tiny("sd"), lora=tmp_path)


def test_the_text_encoder_of_flux(tiny: Tiny, tmp_path: Path) -> None:
    """diffusers fuses the transformer alone unless it is told."""
    plain = load_prior(tiny("flux"), image_size=16)
    text = plain.text.modules()[0]  # type: ignore[attr-defined]
    name = text_name(text, WORDS)
    base = text.state_dict()[f"{name}.weight"]
    down, up = pair(base, 2, 0)
    start = f"text_encoder.{WORDS}"
    tensors = {f"{start}.lora_A.weight": down, f"{start}.lora_B.weight": up}
    network = "transformer.single_transformer_blocks.0.attn.to_q"
    held = plain.model.state_dict()["single_transformer_blocks.0.attn.to_q.weight"]
    more = pair(held, 2, 1)
    tensors |= {f"{network}.lora_A.weight": more[0], f"{network}.lora_B.weight": more[1]}
    save_file(tensors, tmp_path / "lora.safetensors")
    prior = load_prior(tiny("flux"), image_size=16, lora=tmp_path)
    after = prior.text.modules()[0].state_dict()  # type: ignore[attr-defined]
    torch.testing.assert_close(after[f"{name}.weight"], base + product(down, up))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda tensor: tensor * float("nan"), "the weights .* are not finite"),
        (lambda tensor: tensor * 1e30, "its updates are too large|fit this prior"),
        (lambda tensor: tensor.sum(), "cannot be read as a LoRA"),
    ],
    ids=["not finite", "too large", "no matrix"],
)
def test_a_damaged_file_is_named(
    change: Callable[[Tensor], Tensor], told: str, tiny: Tiny, tmp_path: Path
) -> None:
    tensors, _ = kohya(tiny("sd"))
    path = tmp_path / "lora.safetensors"
    changed = {n: t if n.endswith("alpha") else change(t) for n, t in tensors.items()}
    save_file(changed, path)
    with pytest.raises(PriorError, match=told) as error:
        load_prior(tiny("sd"), lora=path)
    assert str(path) in str(error.value)


def test_a_sealed_folder_of_a_lora_is_compared(tiny: Tiny, tmp_path: Path) -> None:
    tensors, _ = kohya(tiny("sd"))
    path = tmp_path / "lora.safetensors"
    save_file(tensors, path)
    write_seal(tmp_path)
    load_prior(tiny("sd"), lora=path)
    save_file({n: 2 * t for n, t in tensors.items()}, path)
    with pytest.raises(PriorError, match=r"lora\.safetensors: is not the file that was sealed"):
        load_prior(tiny("sd"), lora=path)
