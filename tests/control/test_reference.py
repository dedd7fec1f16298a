"""Policies of diffusion_policy, restated, against ours with their weights and by their rule."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from reference_networks import ReferenceTransformer, ReferenceUnet
from torch import Tensor, nn

from scorefield.control.data.spaces import Horizons
from scorefield.control.networks.settings import TransformerSettings, UNet1DSettings
from scorefield.control.policies.diffusion_policy import DiffusionPolicy, DiffusionSettings
from scorefield.control.policies.export import export_policy
from scorefield.control.policies.loading import load_policy
from scorefield.control.policies.policy import ChunkRequest
from scorefield.control.policies.reference import policy_of_reference
from scorefield.control.policies.runner import ExportedPolicy
from scorefield.priors.noise import keyed_noise

HORIZONS = Horizons(2, 3, 8)
STATE, ACTION = 3, 2
LOW, HIGH = (-50.0, -50.0), (50.0, 50.0)
UNET = UNet1DSettings((16, 32), 16, frequencies=0)
TRANSFORMER = TransformerSettings(width=16, layers=2, heads=4, causal=True, frequencies=0)
KINDS = ("unet", "transformer")


class ReferencePolicy(nn.Module):
    """`DiffusionUnetLowdimPolicy` or `DiffusionTransformerLowdimPolicy`, conditioned globally."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.kind = kind
        self.model: nn.Module
        if kind == "unet":
            self.model = ReferenceUnet(ACTION, 2 * STATE, UNET)
        else:
            self.model = ReferenceTransformer(8, ACTION, STATE, TRANSFORMER)
        for weights in self.model.parameters():
            weights.data.add_(0.1 * torch.randn_like(weights))
        self.normalizer = nn.ParameterDict()
        self.scales = {"obs": torch.rand(STATE) + 0.5, "action": torch.rand(ACTION) + 0.5}
        self.offsets = {"obs": torch.randn(STATE), "action": torch.randn(ACTION)}

    def state(self) -> dict[str, Tensor]:
        state = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for name, scale in self.scales.items():
            state[f"normalizer.params_dict.{name}.scale"] = scale
            state[f"normalizer.params_dict.{name}.offset"] = self.offsets[name]
            state[f"normalizer.params_dict.{name}.input_stats.min"] = -scale
        return state

    @torch.no_grad()
    def predict(self, obs: Tensor, noise: Tensor, steps: int) -> Tensor:
        """action_pred of its `predict_action`, from given noise."""
        seen = obs * self.scales["obs"] + self.offsets["obs"]
        scheduler = DDIMScheduler(
            num_train_timesteps=100,
            beta_schedule="squaredcos_cap_v2",
            clip_sample=True,
            set_alpha_to_one=True,
            steps_offset=0,
            prediction_type="epsilon",
        )
        scheduler.set_timesteps(steps)
        z = noise
        for timestep in scheduler.timesteps:
            condition = seen.flatten(1) if self.kind == "unet" else seen
            out = self.model(z, timestep.expand(len(z)), condition)
            z = scheduler.step(out, timestep, z).prev_sample
        return (z - self.offsets["action"]) / self.scales["action"]


def read(reference: ReferencePolicy, steps: int = 8) -> DiffusionPolicy:
    state = reference.state()
    return policy_of_reference(state, HORIZONS, low=LOW, high=HIGH, steps=steps)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [8, 10, 100])
def test_a_policy_that_was_trained_there_acts_as_it_did(
    kind: str, steps: int, tmp_path: Path
) -> None:
    reference = ReferencePolicy(kind).eval()
    obs, noise = torch.randn(5, 2, STATE), keyed_noise(1, range(5), 0, (8, ACTION))
    expected = reference.predict(obs, noise, steps)
    policy = read(reference, steps)
    request = ChunkRequest({"state": obs}, seed=1, items=range(5))
    torch.testing.assert_close(policy.chunk(request), expected, rtol=0, atol=1e-4)
    # The rule is in its file, and matters: by our own the same weights act otherwise.
    loaded = load_policy(policy.save(tmp_path))
    torch.testing.assert_close(loaded.chunk(request), expected, rtol=0, atol=1e-4)
    loaded.diffusion = DiffusionSettings("eps", steps=steps)
    assert float((loaded.chunk(request) - expected).abs().max()) > 0.01


def test_the_rule_is_exported(tmp_path: Path) -> None:
    policy = read(ReferencePolicy("unet"))
    assert export_policy(policy, tmp_path) < 1e-5
    obs = np.zeros((1, 2, STATE), dtype=np.float32)
    assert ExportedPolicy(tmp_path).act({"state": obs}).shape == (1, 3, ACTION)
    table = json.loads((tmp_path / "policy.json").read_text())["steps"]
    assert [round(100 * step["time"]) for step in table] == [84, 72, 60, 48, 36, 24, 12, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_such_policy_is_refused(kind: str) -> None:
    state = ReferencePolicy(kind).state()
    lacking = {name: tensor for name, tensor in state.items() if "params_dict.obs" not in name}
    with pytest.raises(ValueError, match=r"lacks 'normalizer.params_dict.obs.scale'"):
        policy_of_reference(lacking, HORIZONS, low=LOW, high=HIGH)
    with pytest.raises(ValueError, match="left over"):
        policy_of_reference({**state, "model.x": torch.ones(1)}, HORIZONS, low=LOW, high=HIGH)
    longer = Horizons(3, 3, 8)
    with pytest.raises(ValueError, match=r"no weights of|cannot be cut"):
        policy_of_reference(state, longer, low=LOW, high=HIGH)
    with pytest.raises(ValueError, match="sampler 'reference' is not for velocity"):
        DiffusionSettings("velocity", sampler="reference")
