"""A device that is too small is told before anything is computed."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import SIZES

from scorefield.priors import codec, loading
from scorefield.priors.codec_memory import codec_memory
from scorefield.priors.features import memory
from scorefield.priors.features.memory import (
    check_room,
    memory_estimate,
    room_for_a_batch,
    rows_in_room,
)
from scorefield.priors.loading import PriorError, load_prior
from scorefield.priors.noise import keyed_noise

Tiny = Callable[[str], Path]


def test_a_device_without_room_is_refused_with_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "free_memory", lambda device: 10 * 2**20)
    with pytest.raises(PriorError, match=r"about .* GiB .*network .*0\.00977 are free.*low-memory"):
        load_prior("shapes")
    with pytest.raises(PriorError) as told:
        load_prior("shapes", low_memory=True)
    assert "--low-memory" not in str(told.value) and "encoders 0," in str(told.value)


def test_one_with_room_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "free_memory", lambda device: 4 * 2**30)
    assert load_prior("shapes").name == "shapes"


@pytest.mark.parametrize("name", ["cog-video-x", "qwen-image", "flux2-klein"])
def test_every_autoencoder_is_counted(tiny: Tiny, name: str) -> None:
    with pytest.raises(ValueError, match=r"codec [^,]*[1-9][^,]*, one image"):
        check_room(load_prior(tiny(name)), 0)


@pytest.mark.parametrize(
    ("on_gpu", "in_machine", "room"),
    [(20, 100, 10.0), (None, 100, 4.0), (None, 6, 3.0), (None, None, 4.0)],
)
def test_a_batch_takes_half_of_what_is_free_and_little_of_a_machine(
    monkeypatch: pytest.MonkeyPatch, on_gpu: int | None, in_machine: int | None, room: float
) -> None:
    def free(gib: int | None) -> int | None:
        return None if gib is None else gib * 2**30

    monkeypatch.setattr(memory, "free_memory", lambda device: free(on_gpu))
    monkeypatch.setattr(memory, "machine_memory", lambda: (free(in_machine), None))
    assert room_for_a_batch("cpu") == room * 2**30


def test_rows_follow_the_room(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    prior = load_prior(tiny("sd"))
    row = memory_estimate(prior).row
    for rows, expected in ((0.5, 1), (5, 4), (8, 8), (63, 32), (64, 64), (1000, 64)):
        monkeypatch.setattr(memory, "room_for_a_batch", lambda device, rows=rows: int(rows * row))
        assert rows_in_room(prior, 64) == expected


@pytest.mark.parametrize(
    ("name", "widest", "frames"),
    [
        ("wan", 4, 4),  # two groups of two frames
        ("cog-video-x", 8, 4),
        ("ltx", 8, 5),  # decoded whole
        ("qwen-image", 4, 1),
        ("flux2-klein", 8, 1),
        ("sana", 8, 1),
        ("text-to-video", 8, 3),  # frame by frame, all together
    ],
)
def test_a_pass_through_every_autoencoder_is_estimated(
    tiny: Tiny, name: str, widest: int, frames: int
) -> None:
    prior = load_prior(tiny(name), **SIZES.get(name, {}))
    found = memory_estimate(prior).codec
    assert found == 4 * 4 * widest * frames * prior.image_size**2
    assert memory_estimate(prior, area=0.25).codec == found // 4


@pytest.mark.parametrize(("tiles", "side", "most"), [(False, 1024, 4.0), (True, codec.TILE, 2.0)])
def test_decoding_1024_pixels_of_sdxl_is_counted(
    monkeypatch: pytest.MonkeyPatch, tiles: bool, side: int, most: float
) -> None:
    """The live bytes of the full autoencoder in float32, by tensors without values."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    memory, models = importlib.import_module("memory"), importlib.import_module("random_models")
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", memory.attention)
    with memory.META:
        vae = models.autoencoder(1, sample_size=1024)
    full = codec.LatentCodec(vae)
    full.always_in_tiles = tiles
    with torch.no_grad(), memory.Live() as live:
        assert full.decode(torch.empty(1, 4, 128, 128, device="meta")).shape[-1] == 1024
    assert 0.5 * codec_memory(full, side) < live.peak < codec_memory(full, side)
    assert live.peak < most * 2**30


@pytest.mark.parametrize(
    ("images", "seen"), [(5.5, [(5, 8)]), (2.5, [(2, 8), (2, 8), (1, 8)]), (0.5, 5 * 9 * [(1, 4)])]
)
def test_decoding_takes_what_there_is_room_for(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, images: float, seen: list[tuple[int, int]]
) -> None:
    prior = load_prior(tiny("sd"))
    each = memory_estimate(prior).codec
    monkeypatch.setattr(codec, "TILE", 8)
    monkeypatch.setattr("scorefield.priors.prior.memory_left", lambda device: int(images * each))
    vae: Any = prior.codec.vae  # type: ignore[attr-defined]
    parts: list[tuple[int, int]] = []
    vae.decoder.register_forward_pre_hook(
        lambda module, given: parts.append((len(given[0]), given[0].shape[-1]))
    )
    latents = keyed_noise(0, range(5), 0, prior.latent_shape)
    assert prior.decode_in_parts(latents).shape == (5, 3, 16, 16)
    assert [(n, max(side, seen[0][1])) for n, side in parts] == seen  # tiles at the edge are less
