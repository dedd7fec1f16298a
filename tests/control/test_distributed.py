"""Several processes that train one policy: the same numbers, whatever their number."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from launching import completed, killed_when
from safetensors.torch import load_file
from torch import Tensor

from scorefield.cli.main import main
from scorefield.control.data.episode import Episode
from scorefield.control.data.episodes import Episodes
from scorefield.control.data.spaces import Horizons, PolicySpaces
from scorefield.control.data.windows import Windows
from scorefield.control.networks.settings import PerceptronSettings, Predicts
from scorefield.control.policies.diffusion_policy import DiffusionPolicy, DiffusionSettings
from scorefield.control.policies.sharded_generator import ShardedGenerator
from scorefield.control.training.train import CHECKPOINT_EVERY, PolicyTask
from scorefield.priors.noise import noise_generator
from scorefield.training.settings import TrainingSettings

SPACES = PolicySpaces(state=3, action=2, low=(-9.0, -9.0), high=(9.0, 9.0))


def test_shares_are_the_parts_of_the_whole() -> None:
    whole = ShardedGenerator(noise_generator(0))
    parts = [ShardedGenerator(noise_generator(0), share, 3) for share in range(3)]
    for draw in (
        lambda one, n: one.normal([n, 5]),
        lambda one, n: one.uniform([n]),
        lambda one, n: one.integers(100, n),
    ):
        # Twice, for the generators must stay alike.
        for _ in range(2):
            assert torch.equal(torch.cat([draw(one, 4) for one in parts]), draw(whole, 12))


@pytest.mark.parametrize("predicts", ["eps", "x0"])
def test_the_mean_gradient_of_shares_is_that_of_the_batch(predicts: Predicts) -> None:
    """As two processes compute it, one after the other."""
    rng = np.random.default_rng(0)
    episodes = Episodes.of(
        Episode(rng.normal(size=(20, 3)), rng.normal(size=(20, 2))) for _ in range(3)
    )
    windows = Windows(episodes, Horizons(2, 1, 2))

    def gradients(share: int, shares: int) -> list[Tensor]:
        network = PerceptronSettings(width=16, layers=1, frequencies=2)
        settings = DiffusionSettings(predicts)
        policy = DiffusionPolicy(SPACES, windows.horizons, network, settings, seed=1)
        task = PolicyTask(policy, windows, TrainingSettings(4, 8, warmup=1))
        task.processes.index, task.processes.count = share, shares
        loss, _ = task.loss(0, noise_generator(0, 0))
        loss.backward()
        return [p.grad for p in policy.parameters() if p.grad is not None]

    halves = zip(gradients(0, 2), gradients(1, 2), strict=True)
    for (one, other), both in zip(halves, gradients(0, 1), strict=True):
        # Sums in another order: float32 rounds by 1e-7 of the terms.
        torch.testing.assert_close((one + other) / 2, both, rtol=1e-4, atol=1e-6)


def test_a_batch_must_be_shared_equally(monkeypatch: pytest.MonkeyPatch) -> None:
    episodes = Episodes.of([Episode(np.zeros((9, 3)), np.zeros((9, 2)))])
    windows = Windows(episodes, Horizons(2, 1, 2))
    policy = DiffusionPolicy(SPACES, windows.horizons, PerceptronSettings())
    monkeypatch.setattr("scorefield.runs.distributed._join", lambda device: None)
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "2")
    with pytest.raises(ValueError, match="8 windows cannot be shared equally by 3 processes"):
        PolicyTask(policy, windows, TrainingSettings(4, 8))


@pytest.mark.slow
def test_two_processes_train_as_one_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demos = str(tmp_path / "demos")
    assert main(["policy", "collect", "two-routes", "--episodes", "6", "--out", demos]) == 0
    words = ["policy", "train", demos, "--env", "two-routes", "--width", "16", "--layers", "1"]
    words += ["--batch-size", "16", "--device", "cpu", "--json", "--steps", "30", "--quiet"]
    assert main([*words, "--out", str(tmp_path / "one")]) == 0
    assert json.loads(completed([*words, "--out", str(tmp_path / "two")]))["steps"] == 30
    one, two = (policy_of(tmp_path / run) for run in ("one", "two"))
    for name, weights in one.items():
        # 30 updates of about 1e-3 each, that rounded otherwise; 1.5e-8 was found.
        torch.testing.assert_close(two[name], weights, rtol=0, atol=1e-6)
    rows = (tmp_path / "two" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(row)["step"] for row in rows] == list(range(30))


@pytest.mark.slow
def test_two_processes_of_which_one_is_killed_go_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    demos = str(tmp_path / "demos")
    assert main(["policy", "collect", "two-routes", "--episodes", "6", "--out", demos]) == 0
    words = ["policy", "train", demos, "--env", "two-routes", "--width", "16", "--layers", "1"]
    words += ["--batch-size", "16", "--device", "cpu", "--json", "--quiet"]
    words += ["--steps", str(CHECKPOINT_EVERY + 200)]
    completed([*words, "--out", str(tmp_path / "undisturbed")])
    run = ["--out", str(tmp_path / "killed")]
    said = killed_when((tmp_path / "killed" / "checkpoint").exists, [*words, *run])
    assert len(said) <= 1 and not (tmp_path / "killed" / "policy").exists()
    completed([*words, *run, "--resume"])
    one, two = (policy_of(tmp_path / run) for run in ("undisturbed", "killed"))
    assert all(torch.equal(two[name], weights) for name, weights in one.items())
    rows = (tmp_path / "killed" / "metrics.jsonl").read_text(encoding="utf-8")
    assert rows == (tmp_path / "undisturbed" / "metrics.jsonl").read_text(encoding="utf-8")


def policy_of(run: Path) -> dict[str, Tensor]:
    return load_file(run / "policy" / "policy.safetensors")
