"""Policies of LeRobot, restated, against ours read from their files."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lerobot_policy import (
    ACTION,
    IMAGES,
    ROWS,
    STATE,
    LeRobotPolicy,
    camera,
    noise_of,
    observations,
    settings_of,
)

from scorefield.control.policies.export import export_policy
from scorefield.control.policies.lerobot_export import export_to_lerobot
from scorefield.control.policies.loading import load_policy
from scorefield.control.policies.policy import ChunkRequest


def differences(reference: LeRobotPolicy, folder: Path) -> float:
    theirs, ours = observations(reference)
    expected = reference.act(theirs, noise_of(reference))
    assert float(expected.std()) > 0.01
    found = load_policy(folder).act(ours, seed=4)
    return float((found - expected).abs().max())


CONFIGS: dict[str, dict[str, Any]] = {
    "ddpm": {},
    "ddim": {"noise_scheduler_type": "DDIM"},
    "every-step": {"num_inference_steps": None},
    "sample": {"prediction_type": "sample", "noise_scheduler_type": "DDIM"},
    "bias-alone": {"use_film_scale_modulation": False},
    "groups": {"n_groups": 4, "kernel_size": 3},
    "mean-std": {
        "normalization_mapping": {"STATE": "MEAN_STD", "ACTION": "MEAN_STD", "VISUAL": "IDENTITY"}
    },
}


@pytest.mark.parametrize("changed", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("buffers", [False, True])
def test_a_policy_of_lerobot_acts_as_it_does_there(
    changed: dict[str, Any], buffers: bool, tmp_path: Path
) -> None:
    reference = LeRobotPolicy(settings_of(**changed))
    folder = reference.save(tmp_path / "theirs", buffers=buffers)
    assert differences(reference, folder) < 1e-5
    # and from our own files
    ours = load_policy(folder).save(tmp_path / "ours")
    assert differences(reference, ours) < 1e-5


@pytest.mark.parametrize("changed", IMAGES.values(), ids=IMAGES)
def test_it_sees_images_as_it_does_there(changed: dict[str, Any], tmp_path: Path) -> None:
    reference = LeRobotPolicy(settings_of(**changed))
    folder = reference.save(tmp_path / "theirs")
    assert differences(reference, folder) < 1e-5
    ours = load_policy(folder).save(tmp_path / "ours")
    assert differences(reference, ours) < 1e-5


def test_ddpm_is_exported(tmp_path: Path) -> None:
    folder = LeRobotPolicy(settings_of()).save(tmp_path / "theirs")
    assert export_policy(load_policy(folder), tmp_path / "out") < 1e-5


def test_what_never_varied_is_seen_and_done_as_it_was(tmp_path: Path) -> None:
    reference = LeRobotPolicy(settings_of())
    for name in (STATE, ACTION):
        reference.stats[name]["max"][0] = reference.stats[name]["min"][0]
    policy = load_policy(reference.save(tmp_path / "theirs"))
    _, ours = observations(reference)
    request = ChunkRequest(ours, seed=0, items=range(ROWS))
    done = policy.chunk(request)[..., 0]
    torch.testing.assert_close(done, reference.stats[ACTION]["min"][0].expand_as(done))
    moved = {"state": ours["state"] + torch.tensor([0.01, 0, 0, 0, 0])}
    assert policy.act(moved).equal(policy.act(ours))
    # and survives both exports
    assert export_policy(policy, tmp_path / "onnx") < 1e-3
    assert export_to_lerobot(policy, tmp_path / "lerobot", environment_state=2) < 1e-3


def test_what_is_not_followed_is_refused_with_its_name(tmp_path: Path) -> None:
    def refused(words: str, **changed: Any) -> None:
        folder = LeRobotPolicy(settings_of()).save(tmp_path)
        (folder / "config.json").write_text(json.dumps(settings_of(**changed)))
        with pytest.raises(ValueError, match=words):
            load_policy(folder)

    refused("its type is 'act'", type="act")
    refused("clip_sample is False", clip_sample=False)
    refused("beta_schedule is 'linear'", beta_schedule="linear")
    refused("no weights of", down_dims=[16, 64])
    images = camera("observation.image")
    refused("vision_backbone is 'resnet50'", vision_backbone="resnet50", **images)
    mapping = {"STATE": "QUANTILES", "ACTION": "MIN_MAX"}
    refused("observation.state: QUANTILES needs", normalization_mapping=mapping)


def test_a_pipeline_with_another_step_is_refused(tmp_path: Path) -> None:
    folder = LeRobotPolicy(settings_of()).save(tmp_path)
    file = folder / "policy_preprocessor.json"
    pipeline = json.loads(file.read_text())
    pipeline["steps"].append({"registry_name": "delta_action_processor", "config": {}})
    file.write_text(json.dumps(pipeline))
    with pytest.raises(ValueError, match="the step 'delta_action_processor'"):
        load_policy(folder)
    for name in ("policy_preprocessor.json", "policy_postprocessor.json"):
        (folder / name).unlink()
    with pytest.raises(ValueError, match="no statistics to normalise by"):
        load_policy(folder)
