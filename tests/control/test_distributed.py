"""Several processes that train one policy: the same numbers, whatever their number."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
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
from scorefield.control.training.distributed import DistributedContext
from scorefield.control.training.train import PolicyTask
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


def test_one_process_is_by_itself_and_a_batch_must_be_shared_equally(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone = DistributedContext()
    assert (alone.index, alone.count, alone.first) == (0, 1, True)
    numbers = [torch.ones(3)]
    alone.average(numbers)
    assert numbers[0].tolist() == [1, 1, 1]
    episodes = Episodes.of([Episode(np.zeros((9, 3)), np.zeros((9, 2)))])
    windows = Windows(episodes, Horizons(2, 1, 2))
    policy = DiffusionPolicy(SPACES, windows.horizons, PerceptronSettings())
    monkeypatch.setattr(
        DistributedContext, "__init__", lambda self, device: vars(self).update(count=3)
    )
    with pytest.raises(ValueError, match="8 windows cannot be shared equally by 3 processes"):
        PolicyTask(policy, windows, TrainingSettings(4, 8))


@pytest.mark.slow
def test_two_processes_train_as_one_does_and_resume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demos = str(tmp_path / "demos")
    assert main(["policy", "collect", "two-routes", "--episodes", "6", "--out", demos]) == 0
    words = ["policy", "train", demos, "--env", "two-routes", "--width", "16", "--layers", "1"]
    words += ["--batch-size", "16", "--device", "cpu", "--json", "--steps", "30", "--quiet"]
    assert main([*words, "--out", str(tmp_path / "one")]) == 0

    def together(*more: str) -> str:
        # `accelerate launch --cpu` starts a single process, whatever the number asked for.
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]
        launch += ["2", "-m", "scorefield", *words, "--out", str(tmp_path / "two"), *more]
        done = subprocess.run(launch, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert json.loads(together())["steps"] == 30  # one of them speaks
    assert json.loads(together("--resume"))["steps"] == 30
    one, two = (
        load_file(tmp_path / run / "policy" / "policy.safetensors") for run in ("one", "two")
    )
    for name, weights in one.items():
        # 30 updates of about 1e-3 each, that rounded otherwise; 1.5e-8 was found.
        torch.testing.assert_close(two[name], weights, rtol=0, atol=1e-6)
    rows = (tmp_path / "two" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(row)["step"] for row in rows] == list(range(30))
