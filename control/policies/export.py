"""Policies for robots that have no torch: two ONNX graphs, JSON, and a runner in numpy.

One graph encodes the observations, once per chunk; the other is one step of the network. The loop
stands outside of both, as a table of numbers in policy.json, so that its length may be changed
without exporting anew, and the graphs stay as large as the network.
"""

import copy
import importlib
import os
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scorefield.control.networks.unet1d import UNet1D
from scorefield.control.policies.diffusion_policy import DiffusionPolicy
from scorefield.control.policies.solver import SolverStep
from scorefield.files import whole_file, write_json, write_text
from scorefield.integrity import SEAL, write_seal
from scorefield.priors.noise import keyed_noise, noise_generator

_OPSET = 17
_TOLERANCE = 1e-3  # of the parity check, over the half range of an action


def export_policy(
    policy: DiffusionPolicy, folder: str | os.PathLike[str], *, seed: int = 0
) -> float:
    """Writes encoder.onnx, denoiser.onnx, policy.json and runner.py, tries and seals them.

    runner.py is a copy of `scorefield.control.policies.runner`; with it the folder needs numpy and
    onnxruntime alone. Batches may have any size.

    Args:
        policy: one that does not see with a frozen prior.
        folder: made if need be; these files in it are replaced.
        seed: of the observations that it is tried on.

    Returns:
        The largest difference between the actions of the runner and of the policy on 8 random
        observations, over the half range of the action.

    Raises:
        ValueError: the policy sees with a frozen prior, or onnx or onnxruntime is not installed.
        RuntimeError: the difference is above 1e-3; the files are not to be used.
    """
    prior = getattr(policy.encoder.settings, "prior", None)
    if policy.spaces.images and prior is not None:
        raise ValueError(
            f"this policy sees with the frozen prior {prior!r}, which "
            "cannot be exported; train it with the ResNet"
        )
    try:
        importlib.import_module("onnx")
        from scorefield.control.policies.runner import ExportedPolicy
    except ImportError as error:
        raise ValueError(
            f"exporting needs onnx and onnxruntime ({error}); pip install 'scorefield[control]'"
        ) from error
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    observations = random_observations(policy, seed)
    seen = tuple(observations.values())
    n, horizons, spaces = len(seen[0]), policy.horizons, policy.spaces
    network, actions = _still(policy.network), _still(policy.actions)
    encoder = _Encoder(_still(policy.encoder), network, list(observations))
    (folder / SEAL).unlink(missing_ok=True)  # of an earlier export
    with whole_file(folder / "encoder.onnx") as part:
        _to_onnx(encoder, seen, list(observations), "prepared", part)
    chunk = torch.zeros(n, horizons.horizon, spaces.action)
    with torch.no_grad():
        inputs = (chunk, torch.zeros(n), encoder(*seen))
    names = ["chunk", "time", "prepared"]
    with whole_file(folder / "denoiser.onnx") as part:
        _to_onnx(_Denoiser(network), inputs, names, "out", part)
    config = {
        "spaces": spaces.as_json(),
        "horizons": asdict(horizons),
        "observations": {name: list(tensor.shape[1:]) for name, tensor in observations.items()},
        "actions": {
            "scale": actions.scale.tolist(),
            "offset": actions.offset.tolist(),
        },
        "noise": list(policy.noise_shape),
        "bound": policy.bound,
        "steps": [_numbers(step) for step in policy.table()],
    }
    write_json(folder / "policy.json", config)
    write_text(folder / "runner.py", Path(__file__).with_name("runner.py").read_text("utf-8"))
    noise = keyed_noise(seed, range(n), 0, policy.noise_shape)
    expected = policy.act(observations, seed=seed).cpu()
    arrays = {name: tensor.numpy() for name, tensor in observations.items()}
    found = torch.from_numpy(ExportedPolicy(folder).act(arrays, noise=noise.numpy()))
    half = (torch.tensor(spaces.high) - torch.tensor(spaces.low)) / 2
    difference = float(((found - expected) / half).abs().max())
    if not difference <= _TOLERANCE:
        raise RuntimeError(
            f"the exported policy's actions differ by {difference:.2g} of their half range from "
            f"the policy's; do not use {folder}"
        )
    write_seal(folder)
    return difference


def _still(module: Any) -> Any:
    """A frozen copy on the CPU."""
    return copy.deepcopy(module).cpu().float().eval().requires_grad_(False)


class _Encoder(nn.Module):
    """Observations, one after another, -> prepared condition."""

    def __init__(self, condition: nn.Module, network: Any, names: Sequence[str]) -> None:
        super().__init__()
        self.condition, self.network, self._names = condition, network, names

    def forward(self, *seen: Tensor) -> Tensor:
        observations = dict(zip(self._names, seen, strict=True))
        prepared: Tensor = self.network.prepare(self.condition(observations))
        return prepared


class _Denoiser(nn.Module):
    """The network with its condition prepared."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, chunk: Tensor, time: Tensor, prepared: Tensor) -> Tensor:
        out: Tensor = self.network.denoise(chunk, time, prepared)
        return out


def random_observations(policy: DiffusionPolicy, seed: int) -> dict[str, Tensor]:
    """8 random ones, states within the range of the data or, for a U-Net, also around it."""
    generator, seen = noise_generator(seed, 0), policy.horizons.n_obs_steps
    observations = {}
    if policy.spaces.state:
        limits = policy.encoder.states
        # a U-Net's states lie in [1, 3], and those of one that was read from elsewhere in [-1, 1]
        most = 3 if isinstance(policy.network, UNet1D) else 1
        ends = (most + 1) * torch.rand(8, seen, policy.spaces.state, generator=generator) - 1
        scale = limits.scale.cpu()
        # a scale of 0 is of a number that never varied
        observations["state"] = (ends - limits.offset.cpu()) / torch.where(scale == 0, 1, scale)
    for name, size in policy.spaces.images.items():
        observations[name] = torch.rand(8, seen, 3, *size, generator=generator)
    return observations


def _to_onnx(
    module: nn.Module, inputs: tuple[Tensor, ...], names: Sequence[str], out: str, path: Path
) -> None:
    # torch's exporter by tracing: on these networks the one by torch.export takes 20 times as long
    # for the same graph. It warns that it will go, and of every shape that it takes for constant;
    # what is written is tried.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            inputs,
            str(path),
            input_names=list(names),
            output_names=[out],
            dynamic_axes={name: {0: "batch"} for name in (*names, out)},
            opset_version=_OPSET,
            dynamo=False,
        )


def _numbers(step: SolverStep) -> dict[str, float]:
    values = {name: getattr(step, name) for name in SolverStep.__dataclass_fields__}
    return {name: value for name, value in values.items() if name != "level"}
