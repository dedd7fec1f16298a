"""Spaces and horizons: files, and what does not fit."""

import json
from typing import Any

import pytest

from scorefield.control.data.spaces import Horizons, PolicySpaces

SPACES = PolicySpaces(state=2, action=1, low=(0.0,), high=(2.0,), images={"b": (3, 4), "a": (5, 6)})


def test_spaces_survive_json() -> None:
    again = PolicySpaces.from_json(json.loads(json.dumps(SPACES.as_json())))
    assert again == SPACES and list(again.images) == ["a", "b"]
    with pytest.raises(ValueError, match="cannot be read"):
        PolicySpaces.from_json({"state": 2})


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"state": 3}, "state"),
        ({"high": (1.5,)}, "high"),
        ({"low": (0.5,)}, "low"),
        ({"images": {"a": (5, 6)}}, "images"),
        ({"action": 2, "low": (0.0, 0.0), "high": (2.0, 2.0)}, "action, low, high"),
    ],
)
def test_other_spaces_are_refused(change: dict[str, Any], names: str) -> None:
    given = {**vars(SPACES), **change}
    with pytest.raises(ValueError, match=f"differ in {names}: the policy has .*the environment"):
        SPACES.check(PolicySpaces(**given))


def test_an_environment_may_show_and_take_more() -> None:
    SPACES.check(PolicySpaces(2, 1, (-1.0,), (3.0,), {**SPACES.images, "c": (8, 8)}))
    blind = PolicySpaces(0, 1, (0.0,), (2.0 + 1e-6,), {"a": (5, 6)})
    blind.check(SPACES)


def test_rates_must_agree_where_both_are_known() -> None:
    ten, twenty = (PolicySpaces(**{**vars(SPACES), "rate": rate}) for rate in (10.0, 20.0))
    ten.check(SPACES)
    SPACES.check(ten)
    with pytest.raises(ValueError, match="differ in rate"):
        ten.check(twenty)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state": 0, "images": {}}, "something to see"),
        ({"low": (0.0, 1.0)}, "low 2, high 1"),
        ({"high": (float("inf"),)}, "must be finite"),
        ({"low": (3.0,)}, "low < high"),
    ],
)
def test_impossible_spaces_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PolicySpaces(**{**vars(SPACES), **change})


def test_horizons() -> None:
    assert Horizons(2, 8, 16).executed == slice(1, 9)
    assert Horizons(2, 8, 9).executed.stop == 9
    with pytest.raises(ValueError, match="actions 1 to 9 are executed, but only 8"):
        Horizons(2, 8, 8)
    with pytest.raises(ValueError, match="n_action_steps is 0"):
        Horizons(2, 0, 8)
