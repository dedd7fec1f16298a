"""The policy commands: collect, train and evaluate, resumed and refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from scorefield.cli.main import main
from scorefield.control.data.episode import Episode
from scorefield.control.data.episodes import Episodes, write_episodes
from scorefield.control.data.spaces import Horizons
from scorefield.control.networks.settings import LeRobotEncoderSettings
from scorefield.control.policies.loading import load_policy

TRAIN = ["--env", "two-routes", "--width", "16", "--layers", "1", "--quiet", "--batch-size", "16"]


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("policy") / "demos"
    words = ["policy", "collect", "two-routes", "--out", str(folder), "--quiet"]
    assert main([*words, "--episodes", "6"]) == 0
    return folder


def test_collect_goes_on_with_resume(
    demonstrations: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["policy", "collect", "two-routes", "--out", str(demonstrations), "--quiet", "--json"]
    assert main([*words, "--episodes", "8"]) == 2
    assert "--resume goes on" in capsys.readouterr().err
    assert main([*words, "--episodes", "8", "--resume"]) == 0
    assert json.loads(capsys.readouterr().out)["episodes"] == 8
    assert Episodes.open(demonstrations).keys == list(range(8))
    assert main(["policy", "collect", "nowhere", "--out", "x"]) == 2
    assert "there are two-routes, avoiding, push-t" in capsys.readouterr().err
    assert main([*words, "--episodes", "9", "--resume", "--seed", "1"]) == 2
    assert "was collected with" in capsys.readouterr().err
    assert main([*words, "--device", "cpu", "--resume"]) == 2
    assert "--device is not used by policy collect" in capsys.readouterr().err


def test_collect_refuses_a_folder_of_something_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("all of it")
    for more in ([], ["--resume"]):
        assert main(["policy", "collect", "two-routes", "--out", str(tmp_path), *more]) == 2
        assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_train_and_evaluate(
    demonstrations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = ["policy", "train", str(demonstrations), *TRAIN, "--steps", "4"]
    assert main([*train, "--out", str(tmp_path / "a")]) == 0
    assert main([*train, "--out", str(tmp_path / "a"), "--resume"]) == 0
    assert main([*train, "--out", str(tmp_path / "a")]) == 2
    capsys.readouterr()
    assert main([*train, "--batch-size", "8", "--out", str(tmp_path / "a"), "--resume"]) == 2
    assert 'was made with batch_size = "16", now' in capsys.readouterr().err
    assert main([*train, "--out", str(tmp_path / "b")]) == 0
    first, second = (load_file(tmp_path / x / "policy" / "policy.safetensors") for x in "ab")
    assert all(np.array_equal(first[name], second[name]) for name in first)
    capsys.readouterr()
    words = ["policy", "evaluate", str(tmp_path / "a" / "policy"), "--quiet", "--json"]
    words += ["--env", "two-routes", "--episodes", "4", "--out"]
    assert main([*words, str(tmp_path / "e"), "--videos", "1"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert metrics["episodes"] == 4 and metrics["latency"] > 0
    names = {path.name for path in (tmp_path / "e").iterdir()}
    assert names == {"results.json", "episodes.json", "paths.png", "episodes.gif"}
    assert main([*words, str(tmp_path / "f"), "--batch", "1"]) == 0
    one = json.loads((tmp_path / "e" / "episodes.json").read_text(encoding="utf-8"))
    assert one == json.loads((tmp_path / "f" / "episodes.json").read_text(encoding="utf-8"))


def test_evaluate_with_a_delay(
    demonstrations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = ["policy", "train", str(demonstrations), *TRAIN, "--steps", "2"]
    assert main([*train, "--out", str(tmp_path / "a")]) == 0
    words = ["policy", "evaluate", str(tmp_path / "a" / "policy"), "--env", "two-routes", "--quiet"]
    words += ["--episodes", "2", "--delay", "2", "--out"]
    assert main([*words, str(tmp_path / "b")]) == 2
    assert "delay must lie in [0, 0]" in capsys.readouterr().err
    words += [str(tmp_path / "b"), "--n-action-steps", "4", "--follow", "real-time"]
    assert main(words) == 0


@pytest.mark.parametrize(
    ("observe", "more"),
    [
        ("image", ["--resnet-width", "16"]),
        pytest.param("both", ["--prior", "digits"], marks=pytest.mark.slow),
    ],
)
def test_images_from_demonstrations_to_rollouts(
    observe: str, more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demos, quiet = str(tmp_path / "demos"), ["--env", "two-routes", "--quiet"]
    collect = ["policy", "collect", "two-routes", "--episodes", "2", "--quiet", "--out", demos]
    assert main([*collect, "--images", "32"]) == 0
    episodes = Episodes.open(demos)
    assert episodes.cameras["view"].shape[1:] == (32, 32, 3) and episodes.state.shape[1] == 2
    words = ["policy", "train", demos, *quiet, "--steps", "2", "--batch-size", "4"]
    out = str(tmp_path / observe)
    seen = [*words, "--observe", observe, "--network", "unet", "--keypoints", "4", *more]
    assert main([*seen, "--out", out]) == 0
    spaces = load_policy(f"{out}/policy").spaces
    assert spaces.images == {"view": (32, 32)} and spaces.state == (observe == "both") * 2
    evaluate = ["policy", "evaluate", f"{out}/policy", *quiet, "--episodes", "1"]
    assert main([*evaluate, "--out", str(tmp_path / "evaluated")]) == 0
    assert main([*words, "--network", "unet", "--out", str(tmp_path / "state")]) == 0
    policy = load_policy(tmp_path / "state" / "policy")
    assert not policy.spaces.images and policy.horizons == Horizons(2, 8, 12)


def test_diffusion_policy_s_own_networks(
    demonstrations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["policy", "train", str(demonstrations), "--env", "two-routes", "--quiet"]
    words += ["--steps", "2", "--batch-size", "4", "--n-action-steps", "7", "--horizon", "8"]
    own = [*words, "--network", "transformer", "--predicts", "velocity"]
    assert main([*own, "--normalizer", "gaussian", "--out", str(tmp_path / "a")]) == 0
    config = json.loads((tmp_path / "a" / "policy" / "policy.json").read_text(encoding="utf-8"))
    assert config["network"]["kind"] == "transformer"
    assert config["diffusion"]["predicts"] == "velocity"
    evaluate = ["policy", "evaluate", str(tmp_path / "a" / "policy"), "--quiet", "--episodes", "2"]
    assert main([*evaluate, "--env", "two-routes", "--out", str(tmp_path / "e")]) == 0
    assert main([*evaluate, "--env", "avoiding", "--out", str(tmp_path / "f")]) == 2
    assert "differ in low, high" in capsys.readouterr().err
    for refused, why in (
        (["--network", "unet", "--predicted", "9"], "a multiple of 2 steps"),
        (["--predicts", "eps", "--normalizer", "gaussian"], "predict x0"),
        (["--network", "unet", "--track", "paper"], "there is no tracker"),
        (["--held-out", "1"], "share that is held out must lie in [0, 1)"),
        (["--network", "unet", "--layers", "7"], "--layers is not used by --network unet"),
        (["--network", "unet", "--prior", "x"], "--prior is not used by --observe state"),
        (
            ["--network", "unet", "--observe", "image", "--layer", "mid"],
            "--layer is not used by the ResNet, without --prior",
        ),
    ):
        assert main([*words, *refused, "--out", str(tmp_path / "b")]) == 2
        assert why in capsys.readouterr().err
        assert not (tmp_path / "b").exists()


def test_what_does_not_fit_is_refused(
    demonstrations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = ["policy", "train", str(demonstrations), *TRAIN, "--steps", "1", "--out"]
    assert main([*train, str(tmp_path / "a"), "--n-action-steps", "9", "--horizon", "9"]) == 2
    assert "only 9 are predicted" in capsys.readouterr().err
    assert main([*train, str(tmp_path / "a")]) == 0
    capsys.readouterr()
    policy = str(tmp_path / "a" / "policy")
    words = ["policy", "evaluate", policy, "--env", "two-routes", "--dtype", "float16"]
    assert main([*words, "--out", str(tmp_path / "e")]) == 2
    assert "--dtype is not used by policy evaluate" in capsys.readouterr().err
    words = ["policy", "evaluate", policy, "--env", "avoiding", "--out", str(tmp_path / "e")]
    assert main(words) == 2
    assert "differ in low, high: the policy has" in capsys.readouterr().err
    assert not (tmp_path / "e").exists()
    words = ["policy", "evaluate", str(tmp_path), "--env", "avoiding", "--out", "x"]
    assert main(words) == 2
    assert "cannot be read as a policy" in capsys.readouterr().err


def own_robot(folder: Path) -> Path:
    steps = np.linspace(0, 1, 12, dtype=np.float32)
    pictures = np.zeros((12, 24, 32, 3), dtype=np.uint8)
    episode = Episode(
        np.stack([steps] * 5, axis=1),
        np.stack([steps - 1, 0 * steps + 2], axis=1),
        {"wrist": pictures, "top": pictures[:, :, :24]},
        rate=20.0,
    )
    return write_episodes(folder, [episode, episode])


def test_a_policy_of_images_is_trained_for_lerobot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demos = str(own_robot(tmp_path / "demos"))
    words = ["policy", "train", demos, "--quiet", "--steps", "2", "--batch-size", "4"]
    words += ["--network", "unet", "--horizon", "16", "--n-action-steps", "4", "--observe", "both"]
    words += ["--image-encoder", "lerobot", "--keypoints", "4"]
    for wrong, message in (
        (["--resnet-width", "16"], "--resnet-width is not used by --image-encoder lerobot"),
        (["--prior", "shapes"], "--prior is not used by --image-encoder lerobot"),
        ([], "in one size, and "),
    ):
        assert main([*words, *wrong, "--out", str(tmp_path / "no")]) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "no").exists()
    trained = tmp_path / "trained"
    assert main([*words, "--cameras", "wrist", "--out", str(trained)]) == 0
    policy = load_policy(trained)
    assert policy.encoder.settings == LeRobotEncoderSettings(keypoints=4, crop=(21, 28))
    capsys.readouterr()
    export = ["policy", "export", str(trained), "--format", "lerobot", "--json"]
    assert main([*export, "--out", str(tmp_path / "lerobot")]) == 0
    assert json.loads(capsys.readouterr().out)["difference"] < 2
    # LeRobot's rule from then on, wherever it is read
    read = load_policy(tmp_path / "lerobot")
    assert read.spaces.images == policy.spaces.images == {"wrist": (24, 32)}
    assert read.encoder.settings == policy.encoder.settings


def test_a_robot_of_one_s_own_needs_no_environment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demos = str(own_robot(tmp_path / "demos"))
    words = ["policy", "train", demos, "--quiet", "--steps", "2", "--batch-size", "4"]
    assert main([*words, "--out", str(tmp_path / "a")]) == 0
    told = capsys.readouterr().out
    assert "its actions lie between [-1.0, 1.998] and [0.0, 2.002]" in told
    assert "no episode is held out: 0.1 of 2 is less than one" in told
    assert main([*words, "--held-out", "0.5", "--out", str(tmp_path / "half")]) == 0
    assert "held-out loss" in capsys.readouterr().out
    spaces = load_policy(tmp_path / "a" / "policy").spaces
    assert (spaces.state, spaces.action, spaces.rate, spaces.images) == (5, 2, 20.0, {})
    seen = ["--observe", "both", "--network", "unet", "--resnet-width", "16", "--keypoints", "4"]
    seen += ["--n-action-steps", "7", "--horizon", "8", "--low", "-3", "--high", "1", "3"]
    assert main([*words, *seen, "--out", str(tmp_path / "b")]) == 0
    spaces = load_policy(tmp_path / "b" / "policy").spaces
    assert spaces.images == {"top": (24, 24), "wrist": (24, 32)}
    assert (spaces.low, spaces.high) == ((-3, -3), (1, 3))
    capsys.readouterr()
    assert main([*words, "--low", "1", "2", "3", "--out", str(tmp_path / "c")]) == 2
    assert "low has 3 numbers, an action 2" in capsys.readouterr().err
    assert main([*words, "--env", "two-routes", "--low", "0", "--out", str(tmp_path / "c")]) == 2
    assert "--low is not used" in capsys.readouterr().err
