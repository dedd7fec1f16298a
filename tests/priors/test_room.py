"""A device that is too small is told before anything is computed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from scorefield.priors import loading
from scorefield.priors.features.memory import check_room
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
