"""`policy train` and `policy inspect` on data of any format, with nothing else said."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demonstration_files import ACTIONS, STATES, buffer, lerobot, robomimic, with_images
from PIL import Image

from scorefield.cli.main import main
from scorefield.control.data.episode import Episode
from scorefield.control.data.episodes import write_episodes
from scorefield.control.policies.loading import load_policy

SMALL = ["--quiet", "--steps", "1", "--batch-size", "4", "--width", "16", "--layers", "1"]
SMALL += ["--n-action-steps", "1", "--n-obs-steps", "1", "--horizon", "2"]
IMAGES = ["--resnet-width", "16", "--keypoints", "4"]


def two_views(folder: Path) -> Path:
    names = ["observation.images.left.rgb", "observation.images.right.rgb"]
    return with_images(folder, {name: ["RGB", (9, 8, 7)] for name in names})


MADE: dict[str, Callable[[Path], Path]] = {
    "lerobot": lambda folder: lerobot(folder / "set"),
    "zarr": lambda folder: buffer(folder / "demos.zarr.zip"),
    "robomimic": lambda folder: robomimic(folder / "demos.hdf5"),
}


@pytest.mark.parametrize("kind", MADE)
def test_any_format_trains_with_nothing_else_said(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demos = MADE[kind](tmp_path)
    assert main(["policy", "train", str(demos), *SMALL, "--out", str(tmp_path / "x")]) == 0
    spaces = load_policy(tmp_path / "x" / "policy").spaces
    assert (spaces.state, spaces.action, spaces.images) == (3, 2, {})
    actions = np.concatenate(ACTIONS)
    assert np.allclose(spaces.low, actions.min(axis=0))
    assert np.allclose(spaces.high, actions.max(axis=0))
    told = capsys.readouterr().out
    assert "episodes of 3 to 6 steps" in told and "its actions lie between" in told
    assert "not taken" in told and "images are not looked at; --observe both does" in told


def test_what_is_chosen_is_what_is_trained_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["policy", "train", str(robomimic(tmp_path / "demos.hdf5")), *SMALL]
    chosen = ["--state", "object", "--action", "robot0_eef_pos", "actions", "--episodes", "train"]
    assert main([*words, *chosen, "9:11", "--json", "--out", str(tmp_path / "a")]) == 0
    told = capsys.readouterr()
    assert "5 of 11 episodes" in told.err and "not taken: obs/robot0" not in told.err
    assert json.loads(told.out)["out"] == str(tmp_path / "a" / "policy")
    spaces = load_policy(tmp_path / "a" / "policy").spaces
    assert (spaces.state, spaces.action, spaces.rate) == (2, 3, 20.0)
    for wrong, message in (
        (["--state", "pose"], "state lacks ['pose']; there are ["),
        (["--episodes", "11"], "--episodes 11: "),
        (["--episodes", "5:5"], "has episodes 0 to 10"),
        (["--episodes", "test"], "the parts ['train'] of"),
        (["--rate", "30"], "recorded at 20 steps per second, and not at 30"),
        (["--tolerance", "0.1"], "leave the tolerance out"),
        (["--observe", "state", "--cameras", "agentview_image"], "--cameras is not used"),
        (["--observe", "image", "--state", "object"], "--state is not used by --observe image"),
    ):
        assert main([*words, *wrong, "--out", str(tmp_path / "b")]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1, error
        assert not (tmp_path / "b").exists()


def test_cameras_of_any_name_and_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["policy", "train", str(two_views(tmp_path / "set")), *SMALL, *IMAGES]
    assert main([*words, "--observe", "both", "--out", str(tmp_path / "a")]) == 0
    size = (16, 24)
    policy = load_policy(tmp_path / "a" / "policy")
    assert policy.spaces.images == {"left.rgb": size, "right.rgb": size, "top": size}
    assert main([*words, "--cameras", "right.rgb", "--out", str(tmp_path / "b")]) == 0
    policy = load_policy(tmp_path / "b" / "policy")
    assert (policy.spaces.state, policy.spaces.images) == (3, {"right.rgb": size})
    seen = {"state": np.zeros((1, 3)), "right.rgb": np.zeros((1, 3, *size))}
    assert policy.act(seen).shape == (1, 2)


def test_cameras_called_state_and_action_and_no_state(tmp_path: Path) -> None:
    names = ("state", "action", "train", "keys", "a/b.c")
    images = {name: np.zeros((6, 16, 24, 3), np.uint8) for name in names}
    episode = Episode(np.zeros((6, 0)), ACTIONS[1], images)
    folder = write_episodes(tmp_path / "demos", [episode])
    words = ["policy", "train", str(folder), *SMALL, *IMAGES, "--held-out", "0"]
    assert main([*words, "--out", str(tmp_path / "a")]) == 0
    spaces = load_policy(tmp_path / "a" / "policy").spaces
    assert set(spaces.images) == {"state_camera", "action_camera", "train", "keys", "a.b.c"}
    assert spaces.state == 0


def test_damage_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = lerobot(tmp_path / "set")
    file = folder / "data" / "chunk-000" / "file-001.parquet"
    file.write_bytes(file.read_bytes()[:-50])
    words = ["policy", "train", str(folder), *SMALL, "--out", str(tmp_path / "x")]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert str(file) in error and error.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_a_folder_of_ours_is_taken_in_part(tmp_path: Path) -> None:
    episodes = [Episode(s, a, {}, 10.0) for s, a in zip(STATES, ACTIONS, strict=True)]
    folder = write_episodes(tmp_path / "demos", episodes)
    words = ["policy", "train", str(folder), *SMALL, "--episodes", "1", "--held-out", "0"]
    assert main([*words, "--out", str(tmp_path / "x")]) == 0
    assert np.allclose(load_policy(tmp_path / "x" / "policy").spaces.low, ACTIONS[1].min(axis=0))


def test_inspect_shows_what_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["policy", "inspect", str(two_views(tmp_path / "set"))]
    sheet = tmp_path / "sheet.png"
    assert main([*words, "--out", str(sheet), "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert metrics["lengths"] == [4, 6, 3] and metrics["rate"] == 10
    assert metrics["taken"]["state"] == ["observation.state"]
    assert np.allclose(metrics["features"]["action"]["low"], np.concatenate(ACTIONS).min(axis=0))
    with Image.open(sheet) as image:
        assert image.width == 5 * 162 + 2 and image.height > 9 * 100  # 3 cameras, 3 episodes
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "camera left.rgb: observation.images.left.rgb" in told and "episodes are few" in told


def test_inspect_tells_what_training_would_refuse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = buffer(tmp_path / "a.zarr", **{"data/action": None, "data/pose": np.zeros((13, 2))})
    assert main(["policy", "inspect", str(path)]) == 1
    assert "name the ones that make the action" in capsys.readouterr().out
    bad = np.concatenate(STATES)
    bad[5] = np.nan
    path = buffer(tmp_path / "b.zarr", **{"data/state": bad})
    assert main(["policy", "inspect", str(path), "--out", str(tmp_path / "b.png")]) == 1
    told = capsys.readouterr()
    assert "cannot be trained on:" in told.out and "episode 1: state is not finite" in told.out
    assert "1 of 3 episodes cannot be trained on" in told.err
    assert main(["policy", "inspect", str(path), "--episodes", "0", "2"]) == 0
    (path / "meta" / "episode_ends" / ".zarray").write_text("{")
    assert main(["policy", "inspect", str(path)]) == 2


def test_a_camera_that_cannot_be_read_hides_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = buffer(tmp_path / "demos.zarr")
    about = path / "data" / "img" / ".zarray"
    content = json.loads(about.read_text(encoding="utf-8")) | {"compressor": {"id": "of_nobody"}}
    about.write_text(json.dumps(content), encoding="utf-8")
    assert main(["policy", "inspect", str(path)]) == 0
    told = capsys.readouterr().out
    assert "look at: " in told and "its codec 'of_nobody' is not registered" in told
    assert "state: state (3)" in told and "action: action (2)" in told
    (path / "data" / "action").rename(path / "data" / "moves")
    assert main(["policy", "inspect", str(path)]) == 1
    told = capsys.readouterr().out
    assert "'of_nobody' is not registered" in told and "no feature is called action" in told


def test_a_part_that_names_what_is_not_there_is_said_when_it_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def lose(file: Any) -> None:
        file["mask/valid"] = np.array([b"demo_3", b"demo_99"])

    words = ["policy", "inspect", str(robomimic(tmp_path / "a.hdf5", lose)), "--episodes", "valid"]
    assert main(words) == 2
    told = capsys.readouterr().err
    assert "parts ['train'] of" in told and "mask/valid names ['demo_99'], which are not" in told


def test_greys_without_a_channel_and_opacity(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 255, (9, 16, 24), dtype=np.uint8)
    both = {"grey": grey, "rgba": np.stack([grey] * 4, axis=-1)}
    np.savez(tmp_path / "a.npz", action=rng.random((9, 2)), **both)
    words = ["policy", "train", str(tmp_path / "a.npz"), *SMALL, *IMAGES, "--held-out", "0"]
    words += ["--cameras", "grey", "rgba", "--out", str(tmp_path / "x")]
    assert main(words) == 0
    assert load_policy(tmp_path / "x" / "policy").spaces.images == dict.fromkeys(both, (16, 24))
    told = capsys.readouterr().out
    assert "camera rgba: rgba, without its opacity" in told and "camera grey: grey\n" in told
