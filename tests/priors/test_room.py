"""A device that is too small is told before anything is computed."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_models import SIZES

from scorefield.priors import loading
from scorefield.priors.features import memory
from scorefield.priors.features.memory import (
    check_room,
    memory_estimate,
    room_for_a_batch,
    rows_in_room,
)
from scorefield.priors.loading import PriorError, load_prior

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
