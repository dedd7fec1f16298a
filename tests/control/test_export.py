"""Exported policies against the policies: the same actions, without torch."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from scorefield.cli.main import main
from scorefield.control.data.normalizer import Normalizer
from scorefield.control.data.spaces import Horizons, PolicySpaces
from scorefield.control.networks.settings import (
    EncoderSettings,
    PerceptronSettings,
    TransformerSettings,
    UNet1DSettings,
)
from scorefield.control.policies.diffusion_policy import (
    DiffusionPolicy,
    DiffusionSettings,
    NetworkSettings,
)
from scorefield.control.policies.export import export_policy
from scorefield.control.policies.loading import load_policy
from scorefield.control.policies.runner import ExportedPolicy
from scorefield.files import part_path
from scorefield.priors.noise import keyed_noise

SPACES = PolicySpaces(state=3, action=2, low=(-1.0, -2.0), high=(1.0, 2.0), rate=10.0)
HORIZONS = Horizons(2, 3, 4)
PERCEPTRON = PerceptronSettings(width=16, layers=1, frequencies=4)
UNET = UNet1DSettings(widths=(8, 16), time_features=8)
STATES = torch.linspace(-1, 1, 30).reshape(5, 2, 3)


def noise(items: range) -> Tensor:
    return keyed_noise(1, items, 2, (4, 2))


def with_limits() -> DiffusionPolicy:
    policy = DiffusionPolicy(SPACES, HORIZONS, PERCEPTRON, DiffusionSettings("x0"), seed=3)
    policy.encoder.states = Normalizer(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.5, 0.0, 0.0]))
    policy.actions = Normalizer(torch.tensor([0.9, 0.4]), torch.tensor([0.1, -0.1]))
    return policy.eval()


def test_it_acts_the_same_in_batches_of_any_size(tmp_path: Path) -> None:
    policy = with_limits()
    assert export_policy(policy, tmp_path) < 1e-5
    exported = ExportedPolicy(tmp_path)
    expected = policy.act({"state": STATES}, seed=1, draw=2).numpy()
    found = exported.act({"state": STATES.numpy()}, noise=noise(range(5)).numpy())
    assert found.dtype == np.float32 and np.ptp(expected) > 0.01
    np.testing.assert_allclose(found, expected, atol=1e-5)
    one = exported.act({"state": STATES[:1].numpy()}, noise=noise(range(1)).numpy())
    np.testing.assert_allclose(one, expected[:1], atol=1e-5)


@pytest.mark.parametrize(
    ("network", "settings"),
    [
        (UNET, DiffusionSettings("eps")),
        (UNET, DiffusionSettings("v", order=2, steps=6)),
        (TransformerSettings(width=16, layers=1, heads=2), DiffusionSettings("velocity", steps=5)),
        (PERCEPTRON, DiffusionSettings("x0", normalizer="gaussian")),
    ],
)
def test_networks_and_solvers_act_the_same(
    network: NetworkSettings, settings: DiffusionSettings, tmp_path: Path
) -> None:
    policy = DiffusionPolicy(SPACES, HORIZONS, network, settings, seed=3)
    policy = load_policy(policy.save(tmp_path / "policy"))
    # Of whole chunks: the early steps divide by alpha, which enlarges what a step rounds, and eps
    # of untrained weights most of all.
    assert export_policy(policy, tmp_path) < 2e-4
    expected = policy.act({"state": STATES}, seed=1, draw=2).numpy()
    found = ExportedPolicy(tmp_path).act({"state": STATES.numpy()}, noise=noise(range(5)).numpy())
    np.testing.assert_allclose(found, expected, atol=1e-4)
    # What is a matrix product in torch on a CPU is a convolution there.
    convolutions = sum(isinstance(module, nn.Conv1d) for module in policy.network.modules())
    nodes = onnx.load(tmp_path / "denoiser.onnx").graph.node
    assert [node.op_type for node in nodes].count("Conv") == convolutions


def test_a_policy_that_sees_images(tmp_path: Path) -> None:
    spaces = PolicySpaces(3, 2, (-1.0, -2.0), (1.0, 2.0), images={"top": (36, 40)})
    encoder = EncoderSettings(width=16, keypoints=4)
    policy = DiffusionPolicy(spaces, HORIZONS, UNET, DiffusionSettings("eps"), encoder).eval()
    assert export_policy(policy, tmp_path) < 1e-5
    seen = {"state": STATES[:2].numpy(), "top": np.zeros((2, 2, 3, 36, 40), dtype=np.float32)}
    dark = ExportedPolicy(tmp_path).act(seen, seed=5)
    seen["top"][:, 1, 0, 10:, 10:] = 1
    light = ExportedPolicy(tmp_path).act(seen, seed=5)
    assert dark.shape == (2, 3, 2) and np.abs(dark - light).max() > 1e-5
    exported = ExportedPolicy(tmp_path)
    with pytest.raises(ValueError, match=r"'top' is uint8; images are floats in \[0, 1\]"):
        exported.act({**seen, "top": (255 * seen["top"]).astype(np.uint8)})
    for one in (exported, policy):
        with pytest.raises(ValueError, match="'top' has values from 0 to 255; images are"):
            one.act({**seen, "top": 255 * seen["top"]})
    with pytest.raises(ValueError, match=r"'top' must have shape \(2, 3, 36, 40\) or"):
        exported.act({"state": seen["state"][0], "top": seen["top"][0, :, 0]})
    with pytest.raises(ValueError, match="must be of one batch, got 'state'"):
        exported.act({"state": seen["state"][0], "top": seen["top"]})


def test_it_acts_without_torch_or_this_library(tmp_path: Path) -> None:
    export_policy(with_limits(), tmp_path)
    code = """
import sys
sys.modules["torch"] = sys.modules["scorefield"] = None
import numpy as np
from runner import ExportedPolicy
policy = ExportedPolicy(".")
states = np.linspace(-1, 1, 12).reshape(2, 2, 3)
first, second = (policy.act({"state": states}, seed=seed) for seed in (0, 0))
assert (first == second).all() and first.shape == (2, 3, 2)
assert (first != policy.act({"state": states}, seed=1)).any()
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=60)


def test_bad_observations_are_refused(tmp_path: Path) -> None:
    policy = with_limits()
    policy.actions = Normalizer(torch.tensor([0.01, 0.01]), torch.tensor([0.0, 0.0]))
    export_policy(policy, tmp_path)
    exported = ExportedPolicy(tmp_path)
    with pytest.raises(ValueError, match=r"observations must be \['state'\], got \['top'\]"):
        exported.act({"top": STATES.numpy()})
    wanted = r"'state' must have shape \(2, 3\) or \(batch, 2, 3\), got \(5, 3\)"
    with pytest.raises(ValueError, match=wanted):
        exported.act({"state": STATES[:, 0].numpy()})
    with pytest.raises(ValueError, match="'state' is not finite"):
        exported.act({"state": STATES.numpy() * np.nan})
    with pytest.raises(ValueError, match=r"noise must have shape \(5, 4, 2\)"):
        exported.act({"state": STATES.numpy()}, noise=np.zeros((5, 4)))
    # A normalizer that blows actions up by 100 meets the bounds of the environment.
    actions = np.abs(exported.act({"state": STATES.numpy()}))
    assert actions[..., 0].max() == 1 and actions[..., 1].max() == 2


def test_what_cannot_be_exported_is_refused(tmp_path: Path) -> None:
    spaces = PolicySpaces(3, 2, (-1.0, -2.0), (1.0, 2.0), images={"top": (32, 32)})
    policy = DiffusionPolicy(spaces, HORIZONS, UNET, encoder=EncoderSettings(prior="digits"))
    with pytest.raises(ValueError, match="the frozen prior 'digits', which cannot be exported"):
        export_policy(policy, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = with_limits().save(tmp_path / "policy")
    out = tmp_path / "exported"
    assert main(["policy", "export", str(saved), "--out", str(out), "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert metrics["difference"] < 1e-5
    assert {p.name for p in out.iterdir()} == {
        "encoder.onnx",
        "denoiser.onnx",
        "policy.json",
        "runner.py",
        "scorefield.sha256",
    }
    assert main(["policy", "export", str(saved), "--out", str(out)]) == 2
    assert "is not empty; choose another folder\n" in capsys.readouterr().err
    seal = out / "scorefield.sha256"
    seal.rename(part_path(seal))  # as a kill before the last file operation leaves it
    assert main(["policy", "export", str(saved), "--out", str(out)]) == 0 and seal.exists()
    of_training = ["policy", "export", str(tmp_path), "--out", str(tmp_path / "other")]
    assert main(of_training) == 0, "a training's folder stands for its policy"


def test_a_changed_export_is_refused_unless_it_is_asked_for(tmp_path: Path) -> None:
    export_policy(with_limits(), tmp_path)
    state = {"state": STATES.numpy()}
    expected = ExportedPolicy(tmp_path).act(state)
    file = tmp_path / "denoiser.onnx"
    whole = file.read_bytes()
    for place in np.random.default_rng(0).integers(len(whole), size=20):
        data = bytearray(whole)
        data[place] ^= 1
        file.write_bytes(data)
        with pytest.raises(ValueError, match=r"denoiser\.onnx: is not the file that was exported"):
            ExportedPolicy(tmp_path)
    file.write_bytes(whole[:100])
    with pytest.raises(ValueError, match=r"denoiser\.onnx: cannot be read"):
        ExportedPolicy(tmp_path, unverified=True)
    file.write_bytes(whole)
    np.testing.assert_array_equal(ExportedPolicy(tmp_path, unverified=True).act(state), expected)
    file.unlink()
    with pytest.raises(ValueError, match=r"denoiser\.onnx: is missing"):
        ExportedPolicy(tmp_path)


def test_an_export_that_was_killed_is_made_again(tmp_path: Path) -> None:
    saved, out = with_limits().save(tmp_path / "policy"), tmp_path / "exported"
    out.mkdir()
    (out / "encoder.onnx").write_bytes(b"of a killed run")
    (out / ".denoiser.part.onnx").write_bytes(b"its part")
    words = ["policy", "export", str(saved), "--out", str(out)]
    (out / "notes.txt").touch()
    assert main(words) == 2
    (out / "notes.txt").unlink()
    assert main(words) == 0
    assert len(list(out.iterdir())) == 5
    ExportedPolicy(out)
