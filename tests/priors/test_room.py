"""A device that is too small is told before anything is computed."""

import pytest

from scorefield.priors import loading
from scorefield.priors.loading import PriorError, load_prior


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
