"""Each oddity of demonstrations is told, and only where it is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demonstration_files import STATES, buffer, robomimic
from numpy.typing import NDArray

from scorefield.control.data.episode import Episode
from scorefield.control.data.episodes import write_episodes
from scorefield.control.data.formats import open_demonstrations
from scorefield.control.data.inspection import (
    Inspection,
    _of_numbers,
    inspect,
    of_images,
    of_ranges,
)

Arrays = tuple[NDArray[np.float64], NDArray[np.float64]]


def arrays(number: int, steps: int = 400) -> Arrays:
    rng = np.random.default_rng(number)
    return rng.uniform(-1, 1, (steps, 4)), rng.uniform(-1, 1, (steps, 2))


def inspected(folder: Path, change: Callable[[int, Arrays], Arrays]) -> Inspection:
    made = [change(i, arrays(i)) for i in range(26)]
    data = open_demonstrations(write_episodes(folder, [Episode(s, a, {}, 10.0) for s, a in made]))
    return inspect(data, data.choose(), range(len(data.lengths)))


def test_sound_demonstrations_need_no_advice(tmp_path: Path) -> None:
    found = inspected(tmp_path / "demos", lambda i, made: made)
    assert found.advice == [] and found.broken == {}
    states = np.concatenate([arrays(i)[0] for i in range(26)])
    assert np.allclose(found.low["state"], states.min(axis=0))
    assert np.allclose(found.high["state"], states.max(axis=0))


def constant(i: int, made: Arrays) -> Arrays:
    made[0][:, [1, 3]] = 7
    return made


def outlier(i: int, made: Arrays) -> Arrays:
    made[1][5, 1] = 50 if i == 3 else made[1][5, 1]
    return made


def wrapped(i: int, made: Arrays) -> Arrays:
    made[0][:, 2] = (np.arange(400) * 0.1 + np.pi) % (2 * np.pi) - np.pi
    return made


def recorded(i: int, made: Arrays) -> Arrays:
    return made[0], made[0].copy()


def paused(i: int, made: Arrays) -> Arrays:
    made[1][100:300] = made[1][100]
    return made


def measured(i: int, made: Arrays) -> Arrays:
    made[0][:] = 300 + 100 * made[0]  # millimetres, whose steps are some 6.28 now and then
    made[0][1::2, 0] = made[0][::2, 0][: len(made[0][1::2])] + 6.28
    return made


def repeated(i: int, made: Arrays) -> Arrays:
    return arrays(min(i, 24))


def short(i: int, made: Arrays) -> Arrays:
    return arrays(i, 30) if i == 4 else made


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        (constant, "state: numbers 1, 3 never change"),
        (outlier, "action: number 1 lies in"),
        (measured, None),
        (wrapped, "state: number 2 jumps by a full turn"),
        (recorded, "the action begins with state of the same step"),
        (paused, "the action stays as it was in 50% of the steps"),
        (repeated, "episode 25 has the actions of an earlier one"),
        (short, "episode 4 has less than a tenth"),
    ],
)
def test_what_is_odd_is_told(
    change: Callable[[int, Arrays], Arrays], advice: str | None, tmp_path: Path
) -> None:
    found = inspected(tmp_path / "demos", change).advice
    if advice is None:
        assert not found
    else:
        assert len(found) == 1 and found[0].startswith(advice), found


def test_few_episodes_of_unknown_rate_and_quaternions(tmp_path: Path) -> None:
    def turning(file: object) -> None:
        del file["data"].attrs["env_args"]  # type: ignore[index]
        for demo in file["data"].values():  # type: ignore[index]
            steps = len(demo["actions"])
            demo["obs/robot0_eef_quat"] = (
                np.array([[1.0, 0, 0, 0]]) * (-1) ** np.arange(steps)[:, None]
            )

    data = open_demonstrations(robomimic(tmp_path / "demos.hdf5", turning))
    found = "\n".join(inspect(data, data.choose(), range(3)).advice)
    assert "3 episodes are few" in found and "steps per second are not known" in found
    assert "obs/robot0_eef_quat: changes its sign 10 times" in found  # 3 + 5 + 2


def test_episodes_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    def lost(file: object) -> None:
        file["data/demo_1/actions"][2] = np.nan  # type: ignore[index]
        del file["data/demo_4/obs/object"]  # type: ignore[attr-defined]

    data = open_demonstrations(robomimic(tmp_path / "demos.hdf5", lost))
    found = inspect(data, data.choose(), range(11))
    assert sorted(found.broken) == [1, 4]
    assert "demo_1: action is not finite in 1 of 6 steps" in found.broken[1]
    assert np.isfinite(found.high["actions"]).all()


def test_what_is_named_is_shown_and_what_is_not_taken_breaks_nothing(tmp_path: Path) -> None:
    points = np.concatenate([np.stack([state] * 2, axis=2) for state in STATES])
    data = open_demonstrations(buffer(tmp_path / "a.zarr", **{"data/points": points}))
    found = inspect(data, data.choose(state=["points"]), range(3))
    assert not found.broken and found.low["points"].shape == (6,)

    def shorter(file: Any) -> None:
        for name, demo in file["data"].items():
            demo["rewards"] = np.zeros(2 if name == "demo_2" else len(demo["actions"]))

    data = open_demonstrations(robomimic(tmp_path / "a.hdf5", shorter))
    found = inspect(data, data.choose(), range(4))
    assert not found.broken and "rewards" not in found.low and "actions" in found.low
    assert any(line.startswith("rewards is not shown: ") for line in found.advice)


def test_what_hardly_varies_is_told() -> None:
    least, most = np.array([1.0, 0.0, -1e-6]), np.array([1.0, 1.0, 3e-5])
    still, tiny = of_ranges("action", least, most)
    assert still == "action: number 0 never changes"
    assert tiny.startswith("action: number 2 changes by less than 0.0001, which a policy takes")


def test_black_and_standing_images() -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    assert list(of_images("top", frames)) == []
    assert "all the same" in next(iter(of_images("top", np.repeat(frames[:1], 4, axis=0))))
    assert "black" in next(iter(of_images("top", frames // 128)))


def test_numbers_that_float32_cannot_tell_apart_are_told() -> None:
    rows = np.random.default_rng(0).uniform(-1, 1, (400, 3)) * [1, 500, 1] + [1.7e9, 1e5, 0]
    (said,) = _of_numbers("state", [rows])
    assert said.startswith("state: number 0 lies so far from zero that float32")
