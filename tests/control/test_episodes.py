"""Episodes: what is refused, and what a folder holds whose writer was killed."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scorefield.control.data.episode import Episode
from scorefield.control.data.episodes import INDEX, Episodes, EpisodeWriter, write_episodes
from scorefield.files import part_path


def episode(number: int, steps: int = 5, *, camera: bool = False) -> Episode:
    rng = np.random.default_rng(number)
    images = {"top": rng.integers(0, 256, (steps, 4, 6, 3), dtype=np.uint8)} if camera else {}
    return Episode(
        rng.normal(size=(steps, 3)),
        rng.normal(size=(steps, 2)),
        images,
        10.0,
        f"made, episode {number}",
        number,
    )


def same(one: Episode, other: Episode) -> bool:
    mine, theirs = one.checked().arrays(), other.checked().arrays()
    return list(mine) == list(theirs) and all(
        np.array_equal(mine[name], theirs[name]) for name in mine
    )


def test_episodes_in_memory_lie_one_after_another() -> None:
    given = [episode(0, 5), episode(1, 1), episode(2, 3)]
    episodes = Episodes.of(given)
    assert len(episodes) == 3 and episodes.ends.tolist() == [5, 6, 9]
    assert episodes.begins.tolist() == [0, 5, 6]
    assert episodes.state.dtype == episodes.action.dtype == np.float32
    assert episodes.state.shape == (9, 3) and episodes.action.shape == (9, 2)
    assert episodes.keys == [0, 1, 2] and episodes.rate == 10.0
    assert all(same(episodes[i], given[i]) for i in range(3))
    assert same(episodes.select([2, 0])[1], given[0])
    with pytest.raises(IndexError, match="episode 3 of 3"):
        episodes[3]


def test_a_folder_is_mapped_and_holds_what_was_written(tmp_path: Path) -> None:
    given = [episode(i, i + 1, camera=True) for i in range(12)]
    folder = write_episodes(tmp_path / "demos", given)
    episodes = Episodes.open(folder)
    assert isinstance(episodes.cameras["top"], np.memmap)
    assert len(episodes) == 12 and episodes.rate == 10.0
    assert all(same(episodes[i], given[i]) for i in range(12))


def test_a_killed_writer_leaves_what_it_had_added(tmp_path: Path) -> None:
    writer = EpisodeWriter(tmp_path / "demos", {"environment": "x"})
    writer.add(episode(0))
    writer.add(episode(1))
    index = (writer.folder / INDEX).read_text(encoding="utf-8")
    writer.add(episode(2))
    # As if it had been killed after the arrays had grown, and before the index had.
    (writer.folder / INDEX).write_text(index, encoding="utf-8")
    with (writer.folder / "state.npy").open("ab") as file:
        file.write(b"half a row")
    assert len(Episodes.open(writer.folder)) == 2
    again = EpisodeWriter(tmp_path / "demos", {"environment": "x"})
    assert len(again) == 2 and again.keys == [0, 1]
    again.add(episode(3))
    episodes = Episodes.open(again.folder)
    assert [same(episodes[i], episode(n)) for i, n in enumerate([0, 1, 3])] == [True] * 3


def test_a_writer_killed_in_its_first_episode_begins_again(tmp_path: Path) -> None:
    writer = EpisodeWriter(tmp_path / "demos", {})
    (writer.folder / "state.npy").write_bytes(b"\x93NUMPY")
    again = EpisodeWriter(tmp_path / "demos", {})
    again.add(episode(0))
    assert same(Episodes.open(again.folder)[0], episode(0))


def test_a_writer_killed_before_its_first_index_begins_again(tmp_path: Path) -> None:
    (tmp_path / part_path(INDEX).name).write_text('{"about"', encoding="utf-8")
    EpisodeWriter(tmp_path, {}).add(episode(0))
    assert same(Episodes.open(tmp_path)[0], episode(0))
    assert not (tmp_path / part_path(INDEX).name).exists()


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ValueError, match=r"not empty and holds no episodes.json"):
        EpisodeWriter(tmp_path, {})
    with pytest.raises(ValueError, match="not empty"):
        write_episodes(tmp_path, [episode(0)])
    with pytest.raises(ValueError, match="name a folder of episodes"):
        Episodes.open(tmp_path)
    EpisodeWriter(tmp_path / "a", {"seed": 1})
    with pytest.raises(ValueError, match=r"collected with \{'seed': 1\}, now \{'seed': 2\}"):
        EpisodeWriter(tmp_path / "a", {"seed": 2})
    with pytest.raises(ValueError, match="lists no episodes"):
        Episodes.open(tmp_path / "a")


def spoiled(value: float) -> Episode:
    made = episode(3)
    made.state[2, 1] = value
    return made


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda: spoiled(float("nan")), r"made, episode 3: state .* 1 of 5 steps, first in step 2"),
        (lambda: spoiled(float("inf")), r"made, episode 3: state is not finite"),
        (lambda: replace(episode(3), action=np.full((5, 2), np.nan)), "action is not finite in 5"),
        (lambda: replace(episode(3), state=np.zeros(5)), r"state is float64 of shape \(5,\)"),
        (lambda: replace(episode(3), state=np.full((5, 3), "a")), "state is <U1"),
        (lambda: replace(episode(3), action=np.zeros((4, 2))), "arrays differ in steps"),
        (lambda: episode(3, 0), "holds no steps"),
        (lambda: replace(episode(3), rate=0.0), "rate is 0.0"),
        (
            lambda: replace(episode(3), cameras={"top": np.zeros((5, 4, 6, 3))}),
            "camera top is float64",
        ),
        (lambda: replace(episode(3), state=np.zeros((5, 4))), r"made, episode 3: has .*\(4,\)"),
        (lambda: replace(episode(3), rate=20.0), "at 20.0 steps per second; made, episode 0 at"),
        (lambda: episode(3, camera=True), "made, episode 3: has .*camera.top"),
    ],
)
def test_bad_episodes_are_refused_by_name(
    bad: Callable[[], Episode], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        Episodes.of([episode(0), bad()])
    with pytest.raises(ValueError, match=message):
        write_episodes(tmp_path / "demos", [episode(0), bad()])


def test_no_episodes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no episodes"):
        Episodes.of([])
    with pytest.raises(ValueError, match="no episodes"):
        write_episodes(tmp_path / "demos", [])


def edited(folder: Path, **changes: Any) -> None:
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    (folder / INDEX).write_text(json.dumps({**index, **changes}), encoding="utf-8")


def with_nan(folder: Path) -> None:
    state = np.load(folder / "state.npy")
    state[7, 0] = np.nan
    np.save(folder / "state.npy", state)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "state.npy").unlink(), r"state.npy cannot be read"),
        (lambda f: (f / "state.npy").write_bytes(b"x"), r"state.npy cannot be read"),
        (lambda f: np.save(f / "state.npy", np.zeros((9, 3), np.float32)), "state.npy holds"),
        (lambda f: np.save(f / "state.npy", np.zeros((10, 3))), "state.npy holds float64"),
        (lambda f: np.save(f / "action.npy", np.zeros((10, 7), np.float32)), "action.npy holds"),
        (with_nan, r"state.npy, episode 1: state is not finite .* step 2"),
        (lambda f: edited(f, ends=[5, 5]), "do not increase"),
        (lambda f: edited(f, shapes={"state": [3]}), "no 'action'"),
        (lambda f: (f / INDEX).write_text("{}", encoding="utf-8"), r"lacks \['about'"),
        (lambda f: (f / INDEX).write_text("{", encoding="utf-8"), "cannot be read"),
    ],
)
def test_damaged_folders_are_refused(
    damage: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    folder = write_episodes(tmp_path / "demos", [episode(0), episode(1)])
    damage(folder)
    with pytest.raises(ValueError, match=message):
        Episodes.open(folder)
