"""Small files in every format are read back, and each of their defects is refused by name."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demonstration_files import (
    ACTIONS,
    FRAMES,
    LENGTHS,
    STATES,
    buffer,
    lerobot,
    numpy_files,
    png,
    robomimic,
    with_images,
)

from scorefield.control.data.episode import Episode
from scorefield.control.data.episodes import Episodes, write_episodes
from scorefield.control.data.formats import (
    open_demonstrations,
    read_episodes,
    read_lerobot,
    read_replay_buffer,
    read_robomimic,
)


def agree(read: list[Episode], camera: str, tolerance: float = 0) -> None:
    assert [len(one) for one in read] == list(LENGTHS)
    for one, state, action, frames in zip(read, STATES, ACTIONS, FRAMES, strict=True):
        assert np.array_equal(one.state, state) and np.array_equal(one.action, action)
        assert one.cameras[camera].dtype == np.uint8
        off = np.abs(one.cameras[camera].astype(float) - frames)
        assert off.max() <= tolerance


# zarr ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["demos.zarr", "demos.zarr.zip"])
def test_replay_buffers_are_read(name: str, tmp_path: Path) -> None:
    path = buffer(tmp_path / name)
    agree(list(read_episodes(path)), "img")
    assert Episodes.of(read_replay_buffer(path, cameras=(), rate=10.0)).rate == 10.0
    wide = next(iter(read_replay_buffer(path, state=("state", "action"), cameras=())))
    assert wide.state.shape == (4, 5) and not wide.cameras


@pytest.mark.parametrize("layout", ["folder", "named zip", "no suffix", "zip within", "format 3"])
def test_replay_buffers_are_found_by_what_is_in_them(layout: str, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    path = tmp_path / {"named zip": "x.zarr.zip", "no suffix": "x"}.get(layout, "x.zarr")
    if layout == "named zip":  # a folder that is called so
        buffer(tmp_path / "x.zarr").rename(path)
    elif layout == "format 3":
        path = tmp_path / "x"
        root = zarr.open_group(str(path), mode="w", zarr_format=3)
        old = zarr.open_group(str(buffer(tmp_path / "old.zarr")), mode="r")
        for name in ("data/state", "data/action", "data/img", "meta/episode_ends"):
            root.create_array(name, data=old[name][:])
    else:
        buffer(tmp_path / "made.zarr").rename(path)
    if layout == "zip within":
        path = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "x.zarr"))
        with zipfile.ZipFile(path, "a") as archive:  # as macOS adds to what it packs
            archive.writestr("__MACOSX/x.zarr/._data", b"")
    agree(list(read_episodes(path)), "img")


def test_only_what_is_asked_for_is_opened(tmp_path: Path) -> None:
    path = buffer(tmp_path / "demos.zarr")
    about = json.loads((path / "data" / "img" / ".zarray").read_text(encoding="utf-8"))
    about["compressor"] = {"id": "imagecodecs_jpegxl", "level": 99}
    (path / "data" / "img" / ".zarray").write_text(json.dumps(about), encoding="utf-8")
    assert [len(one) for one in read_episodes(path, cameras=())] == list(LENGTHS)
    with pytest.raises(ValueError, match=r"img .*'imagecodecs_jpegxl' is not registered.*_codecs"):
        read_episodes(path)


def test_absent_chunks_are_told(tmp_path: Path) -> None:
    path = buffer(tmp_path / "demos.zarr")
    data = open_demonstrations(path)
    list(data.read(data.choose()))
    assert data.notes == []
    (path / "data" / "action" / "1.0").unlink()
    data = open_demonstrations(path)
    list(data.read(data.choose()))
    assert "action: 1 of 3 chunks are absent, and read as 0.0" in data.notes[0]


def test_keys_of_one_s_own(tmp_path: Path) -> None:
    """As in UMI's buffers: vectors of a robot, and no actions."""
    arrays = {
        "data/state": None,
        "data/action": None,
        "data/robot0_eef_pos": np.concatenate(ACTIONS),
        "data/robot0_gripper_width": np.concatenate(STATES)[:, :1],
        "data/keypoint": np.zeros((13, 9, 2)),
        "data/timestamp": np.arange(13.0),
    }
    path = buffer(tmp_path / "umi.zarr", **arrays)
    names = ["robot0_eef_pos", "robot0_gripper_width"]
    with pytest.raises(ValueError, match=r"name the ones that make the action.*robot0_eef_pos"):
        read_episodes(path)
    data = open_demonstrations(path, rate=20.0)
    choice = data.choose(action=names)
    assert choice.action == choice.state == tuple(names) and choice.cameras == {"img": "img"}
    assert set(choice.left) == {"keypoint", "timestamp"}
    read = list(data.read(choice, [2, 0]))
    assert [len(one) for one in read] == [3, 4] and read[0].rate == 20.0
    whole = np.concatenate([ACTIONS[2], STATES[2][:, :1]], axis=1)
    assert np.array_equal(read[0].action, whole) and np.array_equal(read[0].state, whole)
    points = next(iter(read_episodes(path, action=names, state=["keypoint"], cameras=())))
    assert points.state.shape == (4, 18)
    for wrong, message in (
        ({"state": ["img"]}, "state names img, which is images"),
        ({"cameras": ["keypoint"]}, "cameras names keypoint, which is an array"),
        ({"cameras": ["top"]}, r"cameras lacks \['top'\]"),
    ):
        with pytest.raises(ValueError, match=message):
            data.choose(action=names, **wrong)
    with pytest.raises(ValueError, match="there is no episode 3; they are numbered from 0 to 2"):
        list(data.read(choice, [3]))


def nan_in(arrays: list[np.ndarray]) -> np.ndarray:
    joined = np.concatenate(arrays).copy()
    joined[5] = np.nan
    return joined


def test_a_stale_summary_of_the_metadata_is_not_believed(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    path = buffer(tmp_path / "demos.zarr", **{"meta/episode_ends": np.array([4])})
    for name in ("state", "action", "img"):
        zarr.open_array(str(path / "data" / name), mode="r+").resize(
            (4, *zarr.open_array(str(path / "data" / name)).shape[1:])
        )
    zarr.consolidate_metadata(str(path), zarr_format=2)
    grown = buffer(tmp_path / "grown.zarr")
    shutil.copy(path / ".zmetadata", grown / ".zmetadata")
    agree(list(read_replay_buffer(grown)), "img")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data/state": nan_in(STATES)}, r"demos.zarr, episode 1: state is not finite .* step 1"),
        ({"data/action": np.zeros((12, 2))}, r"meta/episode_ends: .* ends at 13.*'action': 12"),
        ({"meta/episode_ends": np.array([4, 4, 13])}, "episode 1: has no steps; leave the ep"),
        ({"meta/episode_ends": np.array([4, 13, 10])}, "episode 2 ends at 10 and has -3"),
        ({"meta/episode_ends": np.array([4.0, 13.0])}, "is float64"),
        ({"meta/episode_ends": None}, "cannot be read as a replay buffer"),
        ({"data/action": None}, r"no feature is called action or .* there are \['state'\]"),
        ({"data/img": np.concatenate(FRAMES) - 50.0}, r"img: is float64 in \[-10, 20\]"),
        ({"data/img": np.concatenate([FRAMES[0] / 255, *FRAMES[1:]])}, r"\[0, 1\] in all"),
    ],
)
def test_defects_of_replay_buffers(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = buffer(tmp_path / "demos.zarr", **changes)
    with pytest.raises(ValueError, match=message):
        Episodes.of(read_replay_buffer(path))


# robomimic ----------------------------------------------------------------------------------------


def test_robomimic_files_are_read(tmp_path: Path) -> None:
    path = robomimic(tmp_path / "low_dim.hdf5")
    read = list(read_episodes(path))
    agree(read[:3], "agentview_image")
    assert [len(one) for one in read] == [LENGTHS[i % 3] for i in range(11)]
    assert read[0].rate == 20.0 and read[10].name.endswith("demo_10")
    assert len(list(read_robomimic(path, part="train"))) == 3


def test_all_vectors_of_all_arms_make_the_state(tmp_path: Path) -> None:
    def second_arm(file: Any) -> None:
        for i in range(11):
            obs = file[f"data/demo_{i}/obs"]
            obs["robot1_eef_pos"] = 7 + STATES[i % 3][:, :1]
            obs["robot1_joint_vel"] = STATES[i % 3][:, :2]
            obs["agentview_depth"] = np.zeros((LENGTHS[i % 3], 16, 24, 1), np.float32)
            obs["datagen_info/eef_pose"] = np.zeros((LENGTHS[i % 3], 4, 4))

    first = next(iter(read_episodes(robomimic(tmp_path / "two.hdf5", second_arm))))
    state = STATES[0]
    whole = np.concatenate([state[:, :1], 7 + state[:, :1], state[:, :2], state[:, 1:]], axis=1)
    assert np.array_equal(first.state, whole) and set(first.cameras) == {"agentview_image"}


def test_env_kwargs_may_be_null(tmp_path: Path) -> None:
    text = json.dumps({"env_kwargs": None})
    path = robomimic(tmp_path / "a.hdf5", lambda f: f["data"].attrs.modify("env_args", text))
    assert next(iter(read_episodes(path))).rate is None
    assert next(iter(read_episodes(path, rate=15.0))).rate == 15.0
    with pytest.raises(ValueError, match="recorded at 20 steps per second, and not at 15"):
        read_episodes(robomimic(tmp_path / "b.hdf5"), rate=15.0)


def test_groups_of_observations(tmp_path: Path) -> None:
    def grouped(file: Any) -> None:
        for i in range(11):
            obs = file[f"data/demo_{i}/obs"]
            obs["actions"] = np.zeros((LENGTHS[i % 3], 2))
            obs["datagen_info/object"] = STATES[i % 3]

    path = robomimic(tmp_path / "isaac.hdf5", grouped)
    data = open_demonstrations(path)
    choice = data.choose()
    assert choice.state == ("obs/robot0_eef_pos", "obs/object") and choice.action == ("actions",)
    assert choice.left == {
        "obs/actions": "an action",
        "obs/datagen_info/object": "in a group of its own",
    }
    named = next(iter(read_episodes(path, state=["datagen_info/object"], cameras=())))
    assert np.array_equal(named.state, STATES[0])
    with pytest.raises(ValueError, match=r"lacks \['object'\]; there are .*datagen_info/object"):
        read_episodes(path, state=["object"])


def test_a_file_per_episode(tmp_path: Path) -> None:
    """As ALOHA's recordings, with images as files of JPEG padded to one length."""
    h5py = pytest.importorskip("h5py")
    for i in (10, 9, 2):
        k = {2: 0, 9: 1, 10: 2}[i]
        with h5py.File(tmp_path / f"episode_{i}.hdf5", "w") as file:
            file["action"] = ACTIONS[k]
            file["observations/qpos"] = STATES[k]
            files = [np.frombuffer(png(one), np.uint8) for one in FRAMES[k]]
            padded = np.zeros((len(files), 4000), dtype=np.uint8)
            for row, one in zip(padded, files, strict=True):
                row[: len(one)] = one
            file["observations/images/cam_high"] = padded
    agree(list(read_episodes(tmp_path)), "cam_high")


def test_the_observation_after_the_last_action_is_left_out(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "trajectories.h5"
    with h5py.File(path, "w") as file:
        for i, (state, action) in enumerate(zip(STATES, ACTIONS, strict=True)):
            file[f"traj_{i}/actions"] = action
            file[f"traj_{i}/obs"] = np.concatenate([state, 0 * state[:1]])
        file["meta/anything"] = 1.0
    for one, state in zip(read_episodes(path), STATES, strict=True):
        assert np.array_equal(one.state, state)


def test_files_without_a_group_of_observations(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    for i, (state, action, frames) in enumerate(zip(STATES, ACTIONS, FRAMES, strict=True)):
        with h5py.File(tmp_path / f"episode_{i}.hdf5", "w") as file:
            file["qpos"], file["action"], file["images/top"] = state, action, frames
            file["env_states/cube"] = np.zeros((len(state), 7))
            file["compress_len"], file["rewards"] = np.zeros((2, 9)), np.zeros(len(state))
    data = open_demonstrations(tmp_path)
    choice = data.choose()
    assert (choice.state, choice.cameras) == (("qpos",), {"top": "images/top"})
    assert choice.left["env_states/cube"] == "a state of the simulator"
    assert choice.left["compress_len"].startswith("of shape (2, 9), and of ")
    agree(list(data.read(choice)), "top")


def test_actions_of_another_name_and_images_as_text(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    for i, (state, action, frames) in enumerate(zip(STATES, ACTIONS, FRAMES, strict=True)):
        with h5py.File(tmp_path / f"episode{i}.hdf5", "w") as file:
            file["joint_action/vector"], file["joint_action/arm"] = action, state
            pictures = [png(frame) for frame in frames]
            file["observation/head/rgb"] = np.array(pictures, dtype=f"S{max(map(len, pictures))}")
    with pytest.raises(ValueError, match="no feature is called action or actions"):
        read_episodes(tmp_path)
    found = read_episodes(tmp_path, action=["joint_action/vector"], state=["joint_action/arm"])
    agree(list(found), "head.rgb")


@pytest.mark.parametrize("layout", ["hdf5", "npz", "lerobot"])
def test_parts_of_an_action_are_put_side_by_side(layout: str, tmp_path: Path) -> None:
    """`action.arm` beside `action.gripper`, in the order of the data."""
    if layout == "lerobot":
        folder = lerobot(tmp_path / "set", video=False)
        renamed(folder, {"action": "action.arm", "observation.state": "action.gripper"})
        names, state = ("action.gripper", "action.arm"), ()
    else:
        folder, names, state = tmp_path, ("action/arm", "action/gripper"), ("qpos",)
        for i, (seen, action) in enumerate(zip(STATES, ACTIONS, strict=True)):
            arrays = {"action/arm": action, "action/gripper": action[:, :1], "qpos": seen}
            if layout == "npz":
                np.savez(tmp_path / f"episode_{i}.npz", **arrays)
            else:
                h5py = pytest.importorskip("h5py")
                with h5py.File(tmp_path / f"episode_{i}.hdf5", "w") as file:
                    for name, rows in arrays.items():
                        file[name] = rows
    choice = open_demonstrations(folder).choose()
    assert (choice.action, choice.state) == (names, state)
    one = next(iter(read_episodes(folder)))
    rows = {"arm": ACTIONS[0], "gripper": STATES[0] if layout == "lerobot" else ACTIONS[0][:, :1]}
    wanted = np.concatenate([rows[name[7:]] for name in names], axis=1)
    np.testing.assert_allclose(one.action, wanted, atol=1e-6)


def test_the_parts_of_an_action_lie_beside_the_whole(tmp_path: Path) -> None:
    for i, (state, action) in enumerate(zip(STATES, ACTIONS, strict=True)):
        arrays = {"action": action, "action.joints": action, "state": state}
        np.savez(tmp_path / f"{i}.npz", **arrays)
    choice = open_demonstrations(tmp_path).choose()
    assert choice.action == ("action",)
    assert choice.left == {"action.joints": "beside the whole action"}
    choice = open_demonstrations(tmp_path).choose(action=["joints"])
    assert (choice.action, choice.left) == (("action.joints",), {"action": "not named"})


def test_an_action_that_is_no_vector_is_named(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")

    def ragged(file: Any) -> None:
        for name in file["data"]:
            steps = len(file[f"data/{name}/actions"])
            del file[f"data/{name}/actions"]
            kind = h5py.vlen_dtype(np.float32)
            rows = file.create_dataset(f"data/{name}/actions", (steps,), dtype=kind)
            for step in range(steps):
                rows[step] = np.zeros(1 + step % 2, np.float32)

    with pytest.raises(
        ValueError, match=r"actions is an array \(object, .*name what makes the act"
    ):
        read_episodes(robomimic(tmp_path / "ragged.hdf5", ragged))


def test_links_to_nowhere(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")

    def linked(file: Any) -> None:
        file["data/demo_0/obs/gone"] = h5py.SoftLink("/gone")
        file["data/demo_0/obs/elsewhere"] = h5py.ExternalLink("other.hdf5", "/x")

    agree(list(read_episodes(robomimic(tmp_path / "a.hdf5", linked)))[:3], "agentview_image")


def spoil(key: str, value: Any) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        del file[key]
        if value is not None:
            file[key] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (spoil("data/demo_1/actions", np.full((6, 2), np.nan)), "demo_1: action is not finite"),
        (spoil("data/demo_1/actions", np.zeros((5, 2))), "demo_1: num_samples is 6, .* 5 actions"),
        (spoil("data/demo_1/actions", None), "demo_1: lacks 'obs' or 'actions'"),
        (spoil("data/demo_1/obs/object", np.zeros((5, 2))), "demo_1: arrays differ in steps"),
        (
            spoil("data/demo_1/obs/object", np.zeros((6, 2, 2))),
            r"demo_1: obs/object has rows of .*\(2, 2\)",
        ),
        (spoil("data/demo_1/obs/object", None), "demo_1: lacks 'obs/object'"),
        (spoil("data", None), "holds no group 'data'"),
        (lambda file: file["data"].attrs.modify("env_args", "{"), "env_args is not JSON"),
    ],
)
def test_defects_of_robomimic_files(
    change: Callable[[Any], None], message: str, tmp_path: Path
) -> None:
    path = robomimic(tmp_path / "low_dim.hdf5", change)
    with pytest.raises(ValueError, match=message):
        Episodes.of(read_robomimic(path))


def test_robomimic_keys_are_named(tmp_path: Path) -> None:
    path = robomimic(tmp_path / "low_dim.hdf5")
    with pytest.raises(ValueError, match=r"part lacks \['test'\]; there are \['train'\]"):
        list(read_robomimic(path, part="test"))
    with pytest.raises(ValueError, match=r"state lacks \['pose'\]"):
        list(read_robomimic(path, state=("pose",)))
    (tmp_path / "text.hdf5").write_text("no", encoding="utf-8")
    with pytest.raises(ValueError, match="cannot be read as HDF5"):
        read_robomimic(tmp_path / "text.hdf5")


# LeRobot ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("video", [True, False])
def test_lerobot_folders_are_read(video: bool, tmp_path: Path) -> None:
    folder = lerobot(tmp_path / "set", video=video)
    # Frames of an episode differ by 10 grey levels, and the codec by a few.
    agree(list(read_episodes(folder)), "top", tolerance=4 if video else 0)
    episodes = Episodes.of(read_lerobot(folder, cameras=()))
    assert episodes.rate == 10.0 and not episodes.cameras


def test_a_video_is_found_again_for_an_earlier_episode(tmp_path: Path) -> None:
    key = "videos/observation.images.top/from_timestamp"
    folder = lerobot(tmp_path / "set", rows={key: [0.4, 0.1, 0.0]})
    first, second, third = (one.cameras["top"].mean() for one in read_lerobot(folder))
    assert first > second > third


def test_cameras_whose_names_end_alike_stay_apart(tmp_path: Path) -> None:
    names = ["observation.images.left.rgb", "observation.images.right.rgb", "observation.image"]
    folder = with_images(tmp_path / "set", {key: ["RGB", (9, 8, 7)] for key in names})
    first = next(iter(read_lerobot(folder)))
    assert set(first.cameras) == {"left.rgb", "right.rgb", "image", "top"}
    chosen = next(iter(read_lerobot(folder, cameras=names[:2])))
    assert set(chosen.cameras) == {"left.rgb", "right.rgb"}
    alike = {"observation.top": ["RGB", (9, 8, 7)]}
    folder = with_images(tmp_path / "alike", alike)
    names = ["observation.images.top", "observation.top"]
    assert set(next(iter(read_lerobot(folder))).cameras) == set(names)


def test_one_camera_of_liberos_keeps_its_name(tmp_path: Path) -> None:
    names = ["observation.images.image", "observation.images.image2"]
    folder = with_images(tmp_path / "set", {key: ["RGB", (9, 8, 7)] for key in names})
    both = next(iter(read_lerobot(folder, cameras=names)))
    assert set(both.cameras) == {"image", "image2"}
    for name in (names[0], "image"):
        assert set(next(iter(read_lerobot(folder, cameras=[name]))).cameras) == {names[0]}


def test_other_names_than_lerobot_s_own(tmp_path: Path) -> None:
    """As in sets that were converted for openpi: state, image and actions."""
    folder = with_images(tmp_path / "set", {"wrist_image": ["RGB", (9, 8, 7)]})
    renamed(folder, {"observation.state": "state", "action": "actions", "timestamp": "time"})
    renamed(folder, {"observation.images.top": "image"})
    data = open_demonstrations(folder)
    choice = data.choose()
    assert (choice.state, choice.action) == (("state",), ("actions",))
    assert set(choice.cameras) == {"image", "wrist_image"}
    agree(list(data.read(choice)), "image")
    assert (
        next(iter(read_episodes(folder, action=["state"], cameras=["image"]))).action.shape[1] == 3
    )


def renamed(folder: Path, names: dict[str, str]) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for path in (folder / "data" / "chunk-000").glob("*.parquet"):
        table = parquet.read_table(path)
        parquet.write_table(
            table.rename_columns([names.get(name, name) for name in table.column_names]), path
        )
    file = folder / "meta" / "info.json"
    info = json.loads(file.read_text(encoding="utf-8"))
    info["features"] = {names.get(key, key): value for key, value in info["features"].items()}
    file.write_text(json.dumps(info), encoding="utf-8")


def test_episodes_of_a_task_are_a_part(tmp_path: Path) -> None:
    texts = [["push the T"], ["lift the cube"], ["push the T"]]
    data = open_demonstrations(lerobot(tmp_path / "set", rows={"tasks": texts}))
    assert data.parts == {"push the T": [0, 2], "lift the cube": [1]}
    assert "2 tasks" in data.notes[0] and "--episodes 'lift the cube'" in data.notes[0]
    read = list(data.read(data.choose(cameras=()), data.parts["push the T"]))
    assert [len(one) for one in read] == [4, 3]
    assert open_demonstrations(lerobot(tmp_path / "plain")).notes == []


def test_times_may_jitter(tmp_path: Path) -> None:
    times = [(step + (0.3 if step % 2 else 0)) / 10 for n in LENGTHS[:2] for step in range(n)]
    folder = lerobot(tmp_path / "set", columns={"timestamp": times})
    assert len(list(read_episodes(folder))) == 3
    assert len(list(read_lerobot(folder, tolerance=0.031))) == 3
    with pytest.raises(ValueError, match=r"timestamp is 0.13 s in step 1.*off by 0.02 s"):
        list(read_episodes(folder, tolerance=0.02))
    with pytest.raises(ValueError, match="without time stamps; leave the tolerance out"):
        read_episodes(buffer(tmp_path / "demos.zarr"), tolerance=0.1)


def test_a_video_of_another_rate_is_refused(tmp_path: Path) -> None:
    folder = lerobot(tmp_path / "set", info={"fps": 20}, columns={"timestamp": None})
    with pytest.raises(ValueError, match="the video has another frame rate than the data"):
        list(read_episodes(folder))


@pytest.mark.parametrize("mark", ["is_depth_map", "video.is_depth_map"])
def test_depth_is_no_camera(mark: str, tmp_path: Path) -> None:
    folder = with_images(tmp_path / "set", {"observation.images.far": ["I;16", 500]})
    with pytest.raises(ValueError, match=r"observation.images.far, step 0: .*mode I;16: depth"):
        list(read_lerobot(folder))
    file = folder / "meta" / "info.json"
    info = json.loads(file.read_text(encoding="utf-8"))
    info["features"]["observation.images.far"]["info"] = {mark: True}
    file.write_text(json.dumps(info), encoding="utf-8")
    assert set(next(iter(read_lerobot(folder))).cameras) == {"top"}
    with pytest.raises(ValueError, match=r"names observation.images.far, which is depth"):
        read_lerobot(folder, cameras=["observation.images.far"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": {"action": [[float("nan")] * 2] * 10}}, "episode 0: action is not finite"),
        ({"columns": {"action": [[0.0]] * 10}}, "episode 0: action: has 1 numbers in a step"),
        ({"columns": {"action": [[0.0] * 2] * 9 + [[0.0]]}}, "of one size: .* in step 5"),
        ({"columns": {"action": [[0.0] * 2] * 5 + [None] * 5}}, "action: is null in step 1"),
        ({"columns": {"action": [[0.0, None]] * 10}}, "action: holds a null in step 0"),
        ({"columns": {"action": None}}, r"file-000.parquet, episode 0: lacks .*'action'"),
        ({"columns": {"frame_index": [0, 1, 3, 4] + [0] * 6}}, "episode 0: frame_index is 3 in"),
        ({"columns": {"timestamp": [0, 0.1, 0.3, 0.4] + [0.0] * 6}}, r"timestamp is 0.3 s in step"),
        ({"rows": {"length": [4, 5, 3]}}, "episode 1: has 6 steps, but meta/episodes says 5"),
        ({"rows": {"length": None}}, r"an episode lacks \['length'\]"),
        ({"rows": {"data/file_index": [0, 0, 7]}}, "file-007.parquet: the file is missing"),
        (
            {"rows": {"videos/observation.images.top/file_index": [0, 0, 3]}},
            "file-003.mp4, episode 2: the file is missing",
        ),
        ({"rows": {"videos/observation.images.top/from_timestamp": None}}, "where its video is"),
        ({"frames": 8}, "file-000.mp4, episode 1: ends after 4 of its 6 frames"),
        ({"info": {"codebase_version": "v2.1"}}, "version v2.1"),
        ({"info": {"total_episodes": 4}}, "total_episodes is 4, but meta/episodes lists 3"),
        ({"info": {"total_frames": 99}}, "total_frames is 99, but meta/episodes lists 13"),
        ({"rows": {"episode_index": [0, 1, 1]}}, "lists episode 1 twice"),
        ({"info": {"fps": 20}}, "timestamp is 0.1 s in step 1; at fps 20"),
        ({"info": {"features": {}}}, "no feature is called action"),
    ],
)
def test_defects_of_lerobot_folders(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = lerobot(tmp_path / "set", **change)
    with pytest.raises(ValueError, match=message):
        Episodes.of(read_lerobot(folder))


# all ----------------------------------------------------------------------------------------------


def test_files_of_numpy_are_read(tmp_path: Path) -> None:
    folder = numpy_files(tmp_path / "demos")
    agree(list(read_episodes(folder)), "top")
    assert len(list(read_episodes(folder / "1.npz"))) == 1
    data = open_demonstrations(folder, rate=30.0)
    assert (data.rate, data.lengths) == (30, list(LENGTHS))

    def refused(words: str, **arrays: Any) -> None:
        file = tmp_path / "odd.npz"
        np.savez(file, **arrays)
        with pytest.raises(ValueError, match=words) as error:
            list(read_episodes(file))
        assert str(file) in str(error.value)

    state, action = STATES[1], ACTIONS[1]
    refused(r"state is of shape \(5, 3\), and there are 6 actions", state=state[:5], action=action)
    refused("no feature is called action or actions", state=state)
    refused("no arrays with a row per step", state=state, action=action[:0])
    refused(r"action is an array \(object", state=state[:2], action=np.array([None, {}]))
    numbers = [0, 0, 1, 1, 1, 2]
    refused("episode_index would make", state=state, action=action, episode_index=numbers)
    np.savez(folder / "2.npz", action=ACTIONS[2], pose=STATES[2])
    with pytest.raises(ValueError, match=r"2.npz: lacks 'state', which the first episode has"):
        list(read_episodes(folder))


def test_any_format_becomes_a_mapped_folder(tmp_path: Path) -> None:
    folder = write_episodes(tmp_path / "mapped", read_episodes(buffer(tmp_path / "demos.zarr")))
    agree(list(read_episodes(folder)), "img")


def test_what_is_of_no_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        read_episodes(tmp_path / "nothing")
    with pytest.raises(ValueError, match="no known format"):
        read_episodes(tmp_path)
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "info.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="cannot be read"):
        read_episodes(tmp_path)
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(ValueError, match="cannot be read as a replay buffer"):
        read_episodes(tmp_path / "empty.zarr")


def test_links_that_lead_nowhere_are_named(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")

    def link(file: Any) -> None:
        file["data/demo_0/obs/far"] = h5py.ExternalLink("gone.h5", "/x")
        file["data/demo_0/obs/near/gone"] = h5py.SoftLink("/nothing")
        file["data/demo_0/obs/again"] = h5py.SoftLink("/data/demo_0/obs/object")

    data = open_demonstrations(robomimic(tmp_path / "a.hdf5", link))
    assert data.notes == [
        "['obs/far', 'obs/near/gone'] are links to other files or to nothing: not followed"
    ]
    assert "obs/again" in data.features


def test_actions_of_two_axes_are_taken_by_their_name(tmp_path: Path) -> None:
    path = robomimic(tmp_path / "a.hdf5", two_axes)
    with pytest.raises(ValueError, match=r"actions is .* shape \(1, 2\)\), .*, or it, whose rows"):
        open_demonstrations(path).choose()
    first = next(iter(read_episodes(path, action=["actions"], cameras=())))
    np.testing.assert_array_equal(first.action, ACTIONS[0])


def two_axes(file: Any) -> None:
    for demo in file["data"].values():
        actions = demo["actions"][:]
        del demo["actions"]
        demo["actions"] = actions[:, None]


def test_versions_and_frames_per_second_of_lerobot_are_told(tmp_path: Path) -> None:
    newer = lerobot(tmp_path / "newer", video=False, info={"codebase_version": "v3.1"})
    assert open_demonstrations(newer).format == "LeRobot v3.1"
    for number, (change, words) in enumerate(
        [
            ({"fps": None}, "info.json: fps is None; frames per second are positive"),
            ({"codebase_version": "v2.1"}, "version v2.1; convert .*convert_dataset_v21_to_v30"),
        ]
    ):
        with pytest.raises(ValueError, match=words):
            open_demonstrations(lerobot(tmp_path / str(number), video=False, info=change))


def test_what_is_packed_is_to_be_unpacked(tmp_path: Path) -> None:
    file = tmp_path / "buffer.zarr.tar.gz"
    file.write_bytes(b"x")
    with pytest.raises(ValueError, match=r"buffer.zarr.tar.gz is packed; unpack it"):
        open_demonstrations(file)
