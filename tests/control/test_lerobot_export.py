"""Policies trained here, as LeRobot reads them and by the names of its observations."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lerobot_policy import (
    ENVIRONMENT,
    IMAGES,
    STATE,
    LeRobotPolicy,
    noise_of,
    observations,
    settings_of,
)
from safetensors.torch import load_file

from scorefield.cli.main import main
from scorefield.control.data.episode import Episode
from scorefield.control.data.episodes import Episodes
from scorefield.control.data.formats.features import camera_names
from scorefield.control.data.normalizer import Normalizer
from scorefield.control.data.spaces import Horizons, PolicySpaces
from scorefield.control.data.windows import Windows
from scorefield.control.networks.lerobot_encoder import LeRobotEncoder
from scorefield.control.networks.settings import (
    EncoderSettings,
    LeRobotEncoderSettings,
    UNet1DSettings,
)
from scorefield.control.policies.diffusion_policy import DiffusionPolicy, DiffusionSettings
from scorefield.control.policies.lerobot_export import export_to_lerobot
from scorefield.control.policies.loading import load_policy
from scorefield.priors.noise import keyed_noise

HORIZONS = Horizons(2, 3, 8)
UNET = UNet1DSettings((16, 32), 16, frequencies=0)
SPACES = PolicySpaces(5, 2, (-1.0, -2.0), (3.0, 2.0), rate=10.0)


def policy_of(
    diffusion: DiffusionSettings,
    spaces: PolicySpaces = SPACES,
    encoder: EncoderSettings | LeRobotEncoderSettings | None = None,
) -> DiffusionPolicy:
    encoder = encoder or EncoderSettings(width=16)
    policy = DiffusionPolicy(spaces, HORIZONS, UNET, diffusion, encoder)
    low, high = torch.tensor(spaces.low), torch.tensor(spaces.high)
    policy.actions = Normalizer(2 / (high - low), -(high + low) / (high - low))
    policy.encoder.states = Normalizer(torch.rand(5) + 0.5, torch.randn(5))
    return policy.eval()


@pytest.mark.parametrize("sampler", ["reference", "ancestral"])
@pytest.mark.parametrize("predicts", ["eps", "x0"])
def test_what_is_written_is_what_lerobot_has(sampler: str, predicts: str, tmp_path: Path) -> None:
    policy = policy_of(DiffusionSettings(predicts, steps=8, sampler=sampler, weighting="uniform"))  # type: ignore[arg-type]
    assert export_to_lerobot(policy, tmp_path, environment_state=2) < 1e-5
    # its names and sizes are those of the restatement, which acts alike with the same files
    config = json.loads((tmp_path / "config.json").read_text())
    assert set(settings_of()) - {"resize_shape", "crop_shape"} <= set(config)
    theirs = restated(tmp_path)
    state = torch.rand(3, 2, 5)
    shape = policy.noise_shape if sampler == "ancestral" else (1, *policy.noise_shape)
    noise = keyed_noise(7, range(3), 0, shape)
    if sampler == "reference":
        noise = keyed_noise(7, range(3), 0, policy.noise_shape)[:, None]
    observation = {STATE: state[..., :3], ENVIRONMENT: state[..., 3:]}
    expected = policy.act({"state": state}, seed=7)
    assert float((theirs.act(observation, noise) - expected).abs().max()) < 1e-5


SEEN = PolicySpaces(5, 2, (-1.0, -2.0), (3.0, 2.0), {"top": (33, 40), "arm.left": (33, 40)})
ENCODERS = {
    "crop": LeRobotEncoderSettings(keypoints=4, crop=(30, 37)),
    "shared": LeRobotEncoderSettings(keypoints=4, shared=True),
    "frozen": LeRobotEncoderSettings(keypoints=4, norm="frozen"),
    "resized": LeRobotEncoderSettings(keypoints=4, resize=(40, 48), crop=(35, 42)),
    "resnet34": LeRobotEncoderSettings((3, 4, 6, 3), keypoints=4),
}


def restated(folder: Path) -> LeRobotPolicy:
    """LeRobot's policy of a folder; nothing is left over and nothing is missing."""
    theirs = LeRobotPolicy(json.loads((folder / "config.json").read_text()))
    theirs.load_state_dict(load_file(folder / "model.safetensors"))
    for file in folder.glob("policy_preprocessor_step_3_*.safetensors"):
        for key, tensor in load_file(file).items():
            name, _, kind = key.rpartition(".")
            theirs.stats[name][kind] = tensor
    return theirs


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)
@pytest.mark.parametrize("environment", [0, 2])
def test_images_are_seen_by_lerobot_as_here(
    encoder: LeRobotEncoderSettings, environment: int, tmp_path: Path
) -> None:
    policy = policy_of(DiffusionSettings("x0", steps=4, sampler="reference"), SEEN, encoder)
    assert isinstance(policy.encoder, LeRobotEncoder)
    for number in range(2):
        policy.encoder.images[number] = Normalizer(torch.rand(3) + 1, torch.randn(3))
    if encoder.norm == "frozen":
        for name, tensor in policy.encoder.named_buffers():
            if name.endswith((".scale", ".offset")) and name.startswith("cameras"):
                tensor.copy_(tensor + 0.1 * torch.randn_like(tensor))
    assert export_to_lerobot(policy, tmp_path, environment_state=environment) < 1e-5
    theirs = restated(tmp_path)
    state = torch.rand(3, 2, 5)
    images = {name: torch.rand(3, 2, 3, 33, 40) for name in SEEN.images}
    observation = {f"observation.images.{name}": x for name, x in images.items()}
    observation[STATE] = state[..., : 5 - environment]
    if environment:
        observation[ENVIRONMENT] = state[..., 3:]
    noise = keyed_noise(7, range(3), 0, policy.noise_shape)[:, None]
    expected = policy.act({"state": state, **images}, seed=7)
    assert float(expected.std()) > 0.01
    assert float((theirs.act(observation, noise) - expected).abs().max()) < 1e-5
    # by the names of what was recorded there, too
    torch.testing.assert_close(policy.act(observation, seed=7), expected)
    # the images matter
    assert float(
        (policy.act({"state": state, **images, "top": 1 - images["top"]}) - expected).std()
    )


@pytest.mark.parametrize("changed", IMAGES.values(), ids=IMAGES)
def test_what_came_from_lerobot_goes_back(changed: dict[str, Any], tmp_path: Path) -> None:
    reference = LeRobotPolicy(settings_of(**changed))
    policy = load_policy(reference.save(tmp_path / "theirs"))
    assert export_to_lerobot(policy, tmp_path / "back") < 1e-5
    theirs, _ = observations(reference)
    images = [name for name in theirs if name.startswith("observation.image")]
    config = json.loads((tmp_path / "back" / "config.json").read_text(encoding="utf-8"))
    assert {name for name in config["input_features"] if "image" in name} == set(images)
    expected, noise = reference.act(theirs, noise_of(reference)), noise_of(reference)
    found = restated(tmp_path / "back").act(theirs, noise)
    assert float((found - expected).abs().max()) < 1e-5


def test_states_as_a_unet_is_trained_on_them_go_to_lerobot(tmp_path: Path) -> None:
    policy = policy_of(DiffusionSettings("x0", steps=4, sampler="reference"))
    generator = np.random.default_rng(0)
    state = generator.normal([5, 0, -3, 0, 100], 1, (40, 5)).astype(np.float32)
    actions = generator.uniform(SPACES.low, SPACES.high, (40, 2)).astype(np.float32)
    episode = Episode(state, actions, rate=SPACES.rate)
    policy.fit(Windows(Episodes.of([episode]), HORIZONS))
    assert export_to_lerobot(policy, tmp_path, environment_state=2) < 1e-4
    seen = torch.from_numpy(state[:24]).reshape(12, 2, 5)
    noise = keyed_noise(7, range(12), 0, policy.noise_shape)[:, None]
    expected = policy.act({"state": seen}, seed=7)
    found = restated(tmp_path).act({STATE: seen[..., :3], ENVIRONMENT: seen[..., 3:]}, noise)
    assert float((found - expected).abs().max()) < 1e-4


def test_an_action_that_never_varied_stays_within_its_bounds(tmp_path: Path) -> None:
    spaces = replace(SPACES, low=(-1.0, 1.998), high=(3.0, 2.002))
    policy = policy_of(DiffusionSettings("x0", steps=4), spaces)
    policy.actions = Normalizer(torch.tensor([0.5, 1.0]), torch.tensor([-0.5, -2.0]))
    export_to_lerobot(policy, tmp_path, environment_state=2)
    observation = {STATE: 50 * torch.randn(9, 2, 3), ENVIRONMENT: 50 * torch.randn(9, 2, 2)}
    found = restated(tmp_path).act(observation, torch.randn(9, 1, 8, 2))
    assert float((found[..., 1] - 2).abs().max()) <= 0.002 + 1e-6
    assert float(found[..., 0].std()) > 0.3


def test_our_own_sampler_differs_and_that_is_measured(tmp_path: Path) -> None:
    policy = policy_of(DiffusionSettings("eps", steps=8))
    assert 1e-3 < export_to_lerobot(policy, tmp_path, environment_state=2) < 2


def test_what_lerobot_has_not_is_refused(tmp_path: Path) -> None:
    def refused(words: str, policy: DiffusionPolicy, environment: int = 2) -> None:
        with pytest.raises(ValueError, match=words):
            export_to_lerobot(policy, tmp_path / "out", environment_state=environment)
        assert not (tmp_path / "out").exists()

    x0 = DiffusionSettings("x0")
    good, wide = policy_of(x0), replace(UNET, frequencies=None)
    refused(r"without an observation.environment_state.*1 to 4; got 0", good, 0)
    refused("knows no velocity", policy_of(DiffusionSettings("velocity")))
    refused("--normalizer minmax", policy_of(DiffusionSettings("x0", normalizer="gaussian")))
    refused("--network unet", DiffusionPolicy(SPACES, HORIZONS))
    refused("no Fourier features.*--frequencies 0", DiffusionPolicy(SPACES, HORIZONS, wide))
    odd = DiffusionPolicy(SPACES, Horizons(2, 3, 6), UNET)
    refused("multiple of 4 .* and this one is 6; train with --horizon 8", odd)
    seen = PolicySpaces(5, 2, (-1.0, -1.0), (1.0, 1.0), {"top": (24, 24)})
    refused("a linear layer and a ReLU.*--image-encoder lerobot", policy_of(x0, seen))
    encoder = LeRobotEncoderSettings(keypoints=4)
    unlike = replace(seen, images={"top": (24, 24), "arm": (24, 32)})
    refused("in one size, and they are arm 24 x 32, top 24 x 24", policy_of(x0, unlike, encoder))
    blind = replace(seen, state=0)
    refused("--observe both", DiffusionPolicy(blind, HORIZONS, UNET, x0, encoder))
    refused("0 to 4 can be", policy_of(x0, seen, encoder), 5)
    odd_ratio = LeRobotEncoderSettings(keypoints=4, resize=(40, 40), crop=(30, 36))
    refused("no one makes \\(30, 36\\)", policy_of(x0, seen, odd_ratio))


def test_a_policy_acts_on_lerobots_observations() -> None:
    spaces = PolicySpaces(5, 2, (-1.0, -1.0), (1.0, 1.0), {"top": (24, 24), "image": (24, 24)})
    policy = policy_of(DiffusionSettings("x0", steps=2), spaces)
    state, top = torch.rand(2, 5), np.random.default_rng(0).integers(0, 256, (2, 24, 24, 3))
    frames = top.astype(np.uint8)
    images = torch.from_numpy(frames).movedim(-1, -3).float() / 255
    expected = policy.act({"state": state, "top": images, "image": images.flip(0)})
    theirs = {
        "observation.state": state[:, :3],
        "observation.environment_state": state[:, 3:].numpy(),
        "observation.images.top": frames,
        "observation.image": images.flip(0),
        "task": "go there",
    }
    torch.testing.assert_close(policy.act(theirs), expected)
    whole = {**theirs, "observation.state": state}
    torch.testing.assert_close(policy.act(whole), expected)
    with pytest.raises(ValueError, match=r"sees 'top' of shape \(2, 3, 24, 24\)"):
        policy.act({name: x for name, x in theirs.items() if "top" not in name})
    with pytest.raises(ValueError, match=r"'state' has shape \(2, 3\); the policy wants \(2, 5\)"):
        policy.act({name: x for name, x in theirs.items() if "environment" not in name})


@pytest.mark.parametrize("feature", ["observation.image", "observation.images.image"])
def test_a_lone_camera_is_called_as_it_was_recorded(feature: str, tmp_path: Path) -> None:
    (name,) = camera_names([feature])
    spaces = PolicySpaces(5, 2, (-1.0, -1.0), (1.0, 1.0), {name: (24, 24)})
    settings = DiffusionSettings("x0", steps=2, sampler="reference")
    policy = policy_of(settings, spaces, LeRobotEncoderSettings(keypoints=4))
    export_to_lerobot(policy, tmp_path)
    written = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert set(written["input_features"]) == {STATE, feature}
    assert set(load_policy(tmp_path).spaces.images) == {name}
    state, image = torch.rand(2, 5), torch.rand(2, 3, 24, 24)
    expected = policy.act({"state": state, name: image})
    others = {"observation.images.image2": 1 - image}
    torch.testing.assert_close(policy.act({STATE: state, feature: image, **others}), expected)


def test_a_lone_camera_image_of_before_sees_liberos() -> None:
    spaces = PolicySpaces(5, 2, (-1.0, -1.0), (1.0, 1.0), {"image": (24, 24)})
    policy = policy_of(DiffusionSettings("x0", steps=2), spaces)
    state, image = torch.rand(2, 5), torch.rand(2, 3, 24, 24)
    expected = policy.act({"state": state, "image": image})
    seen = {STATE: state, "observation.images.image": image}
    torch.testing.assert_close(policy.act(seen), expected)


def test_the_command_writes_and_reads_lerobots_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = policy_of(DiffusionSettings("x0", steps=4, sampler="reference", weighting="uniform"))
    folder, out = policy.save(tmp_path / "policy"), tmp_path / "lerobot"
    words = ["policy", "export", str(folder), "--out", str(out), "--json"]
    assert main([*words, "--environment-state", "2"]) == 2
    assert (
        "--environment-state is not used by policy export --format onnx" in capsys.readouterr().err
    )
    assert main([*words, "--format", "lerobot"]) == 2
    assert "observation.environment_state" in capsys.readouterr().err
    assert main([*words, "--format", "lerobot", "--environment-state", "2"]) == 0
    assert json.loads(capsys.readouterr().out)["difference"] < 1e-5
    read = load_policy(out)
    assert read.horizons == HORIZONS and read.diffusion == policy.diffusion
    assert math.isclose(read.spaces.high[0], 3.0, rel_tol=1e-6)
    again = ["policy", "export", str(out), "--out", str(tmp_path / "onnx"), "--json"]
    assert main(again) == 0
