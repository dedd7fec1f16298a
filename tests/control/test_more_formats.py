"""What other people's programs write: read as it is meant, or refused by name."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demonstration_files import ACTIONS, FRAMES, LENGTHS, STATES, png, robomimic
from PIL import Image

from scorefield.control.data.formats import open_demonstrations, read_episodes
from scorefield.control.data.inspection import inspect

h5py = pytest.importorskip("h5py")


def grown(add: Callable[[Any, int], None], path: Path) -> Path:
    """Robomimic's file, with something added to every demo: its group and its number of steps."""

    def change(file: Any) -> None:
        for demo in file["data"].values():
            add(demo, len(demo["actions"]))

    return robomimic(path, change)


@pytest.mark.parametrize(
    "name", ["terminated", "truncated", "is_first", "is_last", "discount", "timestep", "returns"]
)
def test_records_of_a_step_are_no_state(name: str, tmp_path: Path) -> None:
    for i, (state, action) in enumerate(zip(STATES, ACTIONS, strict=True)):
        mark = np.zeros(len(state), bool)
        mark[0 if name == "is_first" else -1] = True
        np.savez(tmp_path / f"{i}.npz", state=state, action=action, **{name: mark})
    data = open_demonstrations(tmp_path)
    assert data.choose().state == ("state",)
    assert data.choose().left == {name: "a record of the step, no observation"}


def test_times_in_groups_are_no_state_nor_what_lies_deeper_than_the_action(tmp_path: Path) -> None:
    """As in DROID's files."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["action/joint_velocity"], file["action/gripper"] = np.zeros((9, 7)), np.zeros(9)
        file["action/robot_state/joint_positions"] = np.zeros((9, 7))
        file["observation/robot_state/joint_positions"] = np.zeros((9, 7))
        file["observation/timestamp/robot_state/read_start"] = 1_700_000_000_000 + np.arange(9)
    choice = open_demonstrations(tmp_path / "a.h5").choose()
    assert choice.state == ("observation/robot_state/joint_positions",)
    assert set(choice.action) == {"action/joint_velocity", "action/gripper"}
    assert choice.left["action/robot_state/joint_positions"] == "in a group of its own"


MARKS = ["is_first", "is_last", "episode_starts", "truncated", "episode_ids", "episode_ends"]


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("suffix", [".npz", ".hdf5"])
def test_episodes_one_after_another_are_taken_apart(mark: str, suffix: str, tmp_path: Path) -> None:
    last = np.isin(np.arange(13), np.cumsum(LENGTHS) - 1)
    first = np.roll(last, 1)
    marks = {"episode_ends": np.cumsum(LENGTHS), "episode_ids": 7 - np.cumsum(first)}
    marks |= {"is_first": first, "episode_starts": first, "is_last": last, "truncated": last}
    arrays = {"obs": np.concatenate(STATES), "action": np.concatenate(ACTIONS), mark: marks[mark]}
    path = tmp_path / f"all{suffix}"
    written(path, arrays)
    data = open_demonstrations(path)
    assert data.notes == [f"all{suffix}: 13 steps, taken apart at their marks into 3 episodes"]
    assert data.lengths == list(LENGTHS)
    episodes = list(data.read(data.choose(), None))
    for episode, state, action in zip(episodes, STATES, ACTIONS, strict=True):
        np.testing.assert_array_equal(episode.state, state)
        np.testing.assert_array_equal(episode.action, action)


def written(path: Path, arrays: dict[str, np.ndarray]) -> None:
    if path.suffix == ".npz":
        np.savez(path, **arrays)
        return
    with pytest.importorskip("h5py").File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


def test_d4rl(tmp_path: Path) -> None:
    """Terminals and timeouts both end episodes, and neither is a state."""
    n, rng = 30, np.random.default_rng(0)
    observations = rng.normal(size=(n, 4)).astype(np.float32)
    arrays = {
        "observations": observations,
        "next_observations": np.roll(observations, -1, 0),
        "actions": rng.normal(size=(n, 2)).astype(np.float32),
        "rewards": rng.normal(size=n),
        "terminals": np.arange(n) == 7,
        "timeouts": np.isin(np.arange(n), [19, 29]),
        "infos/qpos": rng.normal(size=(n, 5)),
        "metadata/version": np.array(2),
    }
    written(tmp_path / "hopper.hdf5", arrays)
    data = open_demonstrations(tmp_path / "hopper.hdf5")
    choice = data.choose()
    assert choice.state == ("observations",)
    assert choice.action == ("actions",)
    assert data.lengths == [8, 12, 10]
    second = [*data.read(choice, None)][1]
    np.testing.assert_array_equal(second.state, observations[8:20])
    np.testing.assert_array_equal(second.action, arrays["actions"][8:20])


@pytest.mark.parametrize("suffix", [".npz", ".hdf5"])
def test_marks_that_would_make_episodes_of_one_step_are_refused(
    suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a{suffix}"
    arrays = {"obs": np.concatenate(STATES), "action": np.concatenate(ACTIONS)}
    written(path, {**arrays, "dones": np.arange(13) >= 9})
    with pytest.raises(ValueError, match=rf"{path.name}: dones would make episodes of one step"):
        open_demonstrations(path)
    path.unlink()
    written(path, {**arrays, "terminals": np.arange(12) % 4 == 3})
    with pytest.raises(ValueError, match="terminals has 12 rows, and there are 13 steps"):
        open_demonstrations(path)
    path.unlink()
    written(path, {**arrays, "episode_ends": np.array([5, 12])})
    with pytest.raises(ValueError, match="episode_ends ends at 12 of 13 steps"):
        open_demonstrations(path)


def test_one_step_per_file_is_refused(tmp_path: Path) -> None:
    for i in range(3):
        image = np.zeros((20, 20, 3), np.uint8)
        np.savez(tmp_path / f"episode_{i}.npz", rgb=image, actions=np.zeros(7), obs=np.zeros(15))
    with pytest.raises(ValueError, match=r"episode_0.npz: rgb is one image, so this is one step"):
        open_demonstrations(tmp_path)


def test_python_objects_are_called_so_where_nothing_else_is_seen(tmp_path: Path) -> None:
    obs = np.array([{"a": 1}] * 9, object)
    np.savez(tmp_path / "a.npz", action=np.zeros((9, 2)), obs=obs)
    with pytest.raises(ValueError, match=r"cannot be read: obs \(it holds Python objects"):
        read_episodes(tmp_path / "a.npz")


def test_small_arrays_of_three_axes_are_no_images(tmp_path: Path) -> None:
    def add(demo: Any, steps: int) -> None:
        demo["obs/rotations"] = np.zeros((steps, 1, 3, 3))
        demo["obs/hands"] = np.random.default_rng(0).random((steps, 2, 21, 3))

    data = open_demonstrations(grown(add, tmp_path / "a.hdf5"))
    assert set(data.choose().cameras) == {"agentview_image"}
    assert data.choose().left["obs/hands"].startswith("an array (float64")


def test_opacity_greys_and_masks_as_cameras(tmp_path: Path) -> None:
    def add(demo: Any, steps: int) -> None:
        frames = FRAMES[LENGTHS.index(steps)]
        demo["obs/rgba"] = np.concatenate([frames, frames[..., :1] // 2], axis=-1)
        demo["obs/grey"], demo["obs/mask"] = frames[..., 0], frames > 60

    path = grown(add, tmp_path / "a.hdf5")
    data = open_demonstrations(path)
    assert set(data.choose().cameras) == {"agentview_image", "rgba", "mask"}
    for name in ("rgba", "grey"):  # greys without a channel if they are named
        for one, frames in zip(read_episodes(path, cameras=[name]), FRAMES, strict=False):
            assert np.array_equal(one.cameras[name], frames)
    one = next(iter(read_episodes(path, cameras=["mask"])))
    assert np.array_equal(one.cameras["mask"], (FRAMES[0] > 60) * np.uint8(255))


@pytest.mark.parametrize("name", ["depth_images/top", "images/far"])
def test_files_of_depth_are_no_colours(name: str, tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(np.full((16, 24), 900, np.uint16)).save(stream, format="png")
    file = np.frombuffer(stream.getvalue() if name == "images/far" else png(FRAMES[0][0]), np.uint8)

    def add(demo: Any, steps: int) -> None:
        rows = demo.create_dataset(f"obs/{name}", (steps,), dtype=h5py.vlen_dtype(np.uint8))
        for step in range(steps):
            rows[step] = file

    data = open_demonstrations(grown(add, tmp_path / "a.hdf5"))
    assert data.choose().left[f"obs/{name}"] == "depth, and a camera shows colours"
    assert len(next(iter(data.read(data.choose())))) == LENGTHS[0]


def test_references_are_left_out(tmp_path: Path) -> None:
    def add(demo: Any, steps: int) -> None:
        demo.create_dataset("obs/to", data=[demo["actions"].ref] * steps, dtype=h5py.ref_dtype)

    data = open_demonstrations(grown(add, tmp_path / "a.hdf5"))
    assert "obs/to" in data.choose().left


@pytest.mark.parametrize("lost", ["file", "array", "nothing"])
def test_virtual_arrays_are_read_only_where_all_of_them_is_there(lost: str, tmp_path: Path) -> None:
    def add(demo: Any, steps: int) -> None:
        source = tmp_path / f"{demo.name.split('/')[-1]}.bin"
        with h5py.File(source, "w") as file:
            file["a"] = np.ones((steps, 3))
        layout = h5py.VirtualLayout((steps, 3), "f8")
        layout[:] = h5py.VirtualSource(source.name, "a", (steps, 3))
        demo.create_virtual_dataset("obs/robot0_far", layout, fillvalue=0)

    path = grown(add, tmp_path / "a.hdf5")
    if lost == "file":
        (tmp_path / "demo_1.bin").unlink()
    elif lost == "array":
        with h5py.File(tmp_path / "demo_1.bin", "a") as file:
            del file["a"]
    read = read_episodes(path, state=["robot0_far"], cameras=())
    assert (next(read).state == 1).all()
    if lost == "nothing":
        assert (next(read).state == 1).all()
    else:
        with pytest.raises(ValueError, match=r"demo_1: obs/robot0_far takes rows from .*demo_1"):
            next(read)


def test_an_episode_without_steps_can_be_left_out(tmp_path: Path) -> None:
    def change(file: Any) -> None:
        demo = file["data/demo_0"]
        demo.attrs["num_samples"] = 0
        for name in ("actions", "obs/robot0_eef_pos", "obs/object", "obs/agentview_image"):
            rows = demo[name][:0]
            del demo[name]
            demo[name] = rows

    data = open_demonstrations(robomimic(tmp_path / "a.hdf5", change))
    choice = data.choose()
    assert len(list(data.read(choice, range(1, 11)))) == 10
    with pytest.raises(ValueError, match="demo_0: has no steps; leave the episode out"):
        list(data.read(choice))
    assert list(inspect(data, choice, range(11)).broken) == [0]


def test_an_episode_that_never_began_can_be_left_out(tmp_path: Path) -> None:
    def change(file: Any) -> None:
        del file["data/demo_9"]
        file["data"].create_group("demo_9")

    folder = tmp_path / "episodes"
    folder.mkdir()
    for number, steps in enumerate((0, 6, 6)):
        rows = np.random.default_rng(number).normal(size=(steps, 3)).astype(np.float32)
        np.savez(folder / f"{number}.npz", action=rows, state=rows)
    for path, empty in ((folder, 0), (robomimic(tmp_path / "a.hdf5", change), 9)):
        data = open_demonstrations(path)
        assert data.lengths[empty] == 0
        others = [number for number in range(len(data.lengths)) if number != empty]
        assert len(list(data.read(data.choose(), others))) == len(others)
        with pytest.raises(ValueError, match="has no steps; leave the episode out"):
            list(data.read(data.choose()))


@pytest.mark.parametrize("names", [("pick", "place"), ("train/ep_0", "train/ep_1", "val/ep_0")])
def test_groups_of_any_name_hold_episodes(names: tuple[str, ...], tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, state, action in zip(names, STATES, ACTIONS, strict=False):
            file[f"{name}/actions"], file[f"{name}/obs/q"] = action, state
    data = open_demonstrations(tmp_path / "a.h5")
    assert data.lengths == list(LENGTHS[: len(names)])
    assert data.parts == ({"train": [0, 1], "val": [2]} if len(names) == 3 else {})
    for one, state in zip(data.read(data.choose()), STATES, strict=False):
        assert np.array_equal(one.state, state)


def test_a_group_beside_others_is_no_episode(tmp_path: Path) -> None:
    """Else the camera would be lost."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["robot/actions"], file["robot/q"] = ACTIONS[0], STATES[0]
        file["camera/rgb"] = FRAMES[0]
    choice = open_demonstrations(tmp_path / "a.h5").choose(action=["robot/actions"])
    assert (choice.state, set(choice.cameras)) == (("robot/q",), {"camera.rgb"})


@pytest.mark.parametrize("suffix", [".hdf5", ".npz"])
def test_files_lie_deeper_and_beside_those_of_the_system(suffix: str, tmp_path: Path) -> None:
    for i, (state, action) in enumerate(zip(STATES, ACTIONS, strict=True)):
        folder = tmp_path / f"{i}" / "data"
        folder.mkdir(parents=True)
        (folder / f"._trajectory{suffix}").write_bytes(b"\0\5\x16\7")  # as macOS leaves them
        if suffix == ".npz":
            np.savez(folder / "trajectory.npz", state=state, action=action)
            continue
        with h5py.File(folder / "trajectory.hdf5", "w") as file:
            file["action"], file["observations/qpos"] = action, state
    read = list(read_episodes(tmp_path))
    assert [len(one) for one in read] == list(LENGTHS)
    assert all(np.array_equal(one.action, a) for one, a in zip(read, ACTIONS, strict=True))


def test_other_actions_are_no_state_and_an_action_camera_sees(tmp_path: Path) -> None:
    for i, (state, action, frames) in enumerate(zip(STATES, ACTIONS, FRAMES, strict=True)):
        others = {"rel_actions": action, "action_abs": action, "last_action": action}
        seen = {"interaction_force": state, "action_camera": frames}
        np.savez(tmp_path / f"{i}.npz", state=state, actions=action, **others, **seen)
    choice = open_demonstrations(tmp_path).choose()
    assert choice.state == ("state", "interaction_force")
    assert set(choice.cameras) == {"action_camera"}
    assert set(choice.left) == {"rel_actions", "action_abs", "last_action"}
