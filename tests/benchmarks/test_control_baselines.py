"""The baselines' heads against closed forms, and policies of them: files, noise and training."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from baseline_heads import Head, Mixture, RecurrentMixture, SquaredError, TwoStep
from baseline_policy import BASELINES, BaselinePolicy, load_baseline
from scipy import stats
from torch import Tensor

from scorefield.control.data.episode import Episode
from scorefield.control.data.episodes import Episodes
from scorefield.control.data.normalizer import Normalizer
from scorefield.control.data.spaces import Horizons, PolicySpaces
from scorefield.control.data.windows import Windows
from scorefield.control.networks.settings import PerceptronSettings
from scorefield.control.policies.denoising import RealTime
from scorefield.control.policies.policy import ChunkRequest, Policy
from scorefield.control.policies.sharded_generator import ShardedGenerator
from scorefield.control.training.train import train_policy
from scorefield.priors.noise import noise_generator
from scorefield.training.settings import TrainingSettings

SMALL = PerceptronSettings(width=16, layers=1, frequencies=4)
SPACES = PolicySpaces(state=3, action=2, low=(-1.0, -2.0), high=(1.0, 2.0), rate=10.0)
LOOSE = PolicySpaces(state=3, action=2, low=(-2.0, -2.0), high=(2.0, 2.0))
CONDITION = torch.linspace(-1, 1, 12).reshape(2, 6)
ACTIONS = torch.linspace(-0.8, 0.7, 16).reshape(2, 4, 2)


def head(kind: type[Head]) -> Head:
    torch.manual_seed(0)
    return kind(4, 2, 6, SMALL)


def linear(steps: int = 40, episodes: int = 6) -> Windows:
    """Demonstrations of a_t = K s_t, K fixed: what any head can learn."""
    rng = np.random.default_rng(0)
    gain = np.array([[0.5, 0.2, 0.0], [0.0, -0.4, 0.9]])
    states = [rng.uniform(-1, 1, (steps, 3)) for _ in range(episodes)]
    return Windows(Episodes.of(Episode(s, s @ gain.T) for s in states), Horizons(2, 1, 2))


def test_the_mixture_is_that_density(monkeypatch: pytest.MonkeyPatch) -> None:
    mixture = head(Mixture)
    rng = np.random.default_rng(0)
    weights, means = np.array([0.3, 0.7]), rng.normal(size=(2, 4, 2))
    deviations = rng.uniform(0.5, 1, (2, 4, 2))

    def given(condition: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        tensors = (torch.from_numpy(a).float() for a in (np.log(weights), means, deviations))
        log_weights, m, d = (t.expand(len(condition), *t.shape) for t in tensors)
        return log_weights, m, d

    monkeypatch.setattr(mixture, "_mixture", given)
    densities = np.array(
        [
            sum(
                w * stats.norm.pdf(one, m, d).prod()
                for w, m, d in zip(weights, means, deviations, strict=True)
            )
            for one in ACTIONS.numpy()
        ]
    )
    loss = mixture.loss(ACTIONS, CONDITION, ShardedGenerator(noise_generator(0)))
    assert float(loss) == pytest.approx(-np.log(densities).mean() / 8, rel=1e-5)
    noise = torch.randn(4000, *mixture.noise_shape, generator=noise_generator(1))
    drawn = mixture.draw(torch.zeros(4000, 6), noise)
    first = (drawn - torch.from_numpy(means[0]).float()).abs().amax(dim=(1, 2)) < 1e-2
    assert float(first.float().mean()) == pytest.approx(0.3, abs=4 * math.sqrt(0.21 / 4000))


def test_the_recurrent_mixture_is_causal_and_draws_what_it_scores() -> None:
    recurrent = head(RecurrentMixture)
    assert isinstance(recurrent, RecurrentMixture)

    @torch.no_grad()
    def terms(actions: Tensor) -> Tensor:
        """(B, Tp): log p(a_k | a_<k, o), from losses of shorter chunks."""
        sums = []
        for steps in range(1, 5):
            recurrent.steps = steps
            each = [
                -float(
                    recurrent.loss(a[None, :steps], c[None], ShardedGenerator(noise_generator(0)))
                )
                * 2
                * steps
                for a, c in zip(actions, CONDITION, strict=True)
            ]
            sums.append(torch.tensor(each))
        recurrent.steps = 4
        return torch.stack(sums, dim=1).diff(dim=1, prepend=torch.zeros(2, 1))

    before = terms(ACTIONS)
    changed = ACTIONS.clone()
    changed[:, 2] += 0.5
    after = terms(changed)
    assert torch.allclose(before[:, :2], after[:, :2], atol=1e-4)
    assert (before[:, 2:] - after[:, 2:]).abs().min() > 1e-4
    # A drawn action lies within 1e-4 of a mean of its own step, given those before it.
    drawn = recurrent.draw(CONDITION, torch.zeros(2, *recurrent.noise_shape))
    past = torch.cat([torch.zeros(2, 1, 2), drawn[:, :-1]], dim=1)
    inside = torch.cat([past, CONDITION[:, None].expand(-1, 4, -1)], dim=2)
    means = recurrent._mixture(recurrent.lstm(inside, recurrent._begin(CONDITION))[0])[1]
    nearest = (means - drawn[:, :, None]).abs().amax(dim=3).amin(dim=2)
    assert float(nearest.detach().max()) < 1e-3


@torch.no_grad()
def test_regressions_are_the_formulas() -> None:
    squared, two = head(SquaredError), head(TwoStep)
    assert isinstance(squared, SquaredError) and isinstance(two, TwoStep)
    noise = torch.zeros(2, 0)
    mean = squared.draw(CONDITION, noise)
    loss = squared.loss(ACTIONS, CONDITION, ShardedGenerator(noise_generator(0)))
    assert float(loss) == pytest.approx(float(((mean - ACTIONS) ** 2).mean()))
    first = two.trunk(torch.zeros(2, 4, 2), torch.zeros(2), CONDITION)
    second = two.trunk(0.9 * first, torch.full((2,), 0.9), CONDITION)
    assert torch.allclose(two.draw(CONDITION, noise), second)
    z = torch.randn(ACTIONS.shape, generator=noise_generator(3))
    denoised = two.trunk(0.9 * ACTIONS + 0.1 * z, torch.full((2,), 0.9), CONDITION)
    expected = ((first - ACTIONS) ** 2).mean() + ((denoised - ACTIONS) ** 2).mean()
    found = two.loss(ACTIONS, CONDITION, ShardedGenerator(noise_generator(3)))
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("name", BASELINES)
def test_every_head_learns_a_linear_law(name: str, tmp_path: Path) -> None:
    windows = linear()
    policy = BaselinePolicy(name, LOOSE, windows.horizons, PerceptronSettings(width=32, layers=1))
    assert isinstance(policy, Policy)
    everything = windows.batch(range(len(windows)))
    executed = everything["action"][:, windows.horizons.executed]

    def error(one: BaselinePolicy) -> float:
        found = one.act(everything)
        return float((found - executed).pow(2).mean() / executed.var())

    before = error(policy)
    settings = TrainingSettings(steps=250, batch_size=64, learning_rate=3e-3, warmup=20)
    trained = train_policy(policy, windows, settings, tmp_path / "run")
    # The mixture spreads a law of one mode over eight components and is the slowest: 0.32 to 0.41
    # were found with policies of the seeds 1 to 3.
    assert error(trained) < (0.5 if name == "mixture" else 0.2) <= 0.5 < before


@pytest.mark.parametrize("name", BASELINES)
def test_a_file_holds_all_that_is_needed_to_act(name: str, tmp_path: Path) -> None:
    policy = BaselinePolicy(name, SPACES, Horizons(2, 3, 4), SMALL, seed=5)
    policy.states = Normalizer(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.5, 0.0, 0.0]))
    again = load_baseline(policy.save(tmp_path / "policy"))
    assert (again.spaces, again.horizons) == (policy.spaces, policy.horizons)
    seen = {"state": torch.linspace(-1, 1, 18).reshape(3, 2, 3)}
    request = ChunkRequest(seen, seed=1, items=[4, 5, 6], draw=2)
    mine = policy.chunk(request)[:, policy.horizons.executed]
    assert mine.shape == (3, 3, 2)
    assert torch.equal(mine, again.chunk(request)[:, again.horizons.executed])
    # Rows depend on their item, not on their place; actions are within the bounds.
    lone = ChunkRequest({"state": seen["state"][1:2]}, seed=1, items=[5], draw=2)
    one = policy.chunk(lone)[:, policy.horizons.executed]
    assert torch.allclose(mine[1:2], one, atol=1e-5)
    assert bool((mine.abs() <= torch.tensor([1.0, 2.0])).all())


def test_a_baseline_does_not_go_on_and_sees_states() -> None:
    mean = BaselinePolicy("squared-error", SPACES, Horizons(2, 2, 7), SMALL)
    seen = {"state": torch.zeros(3, 2, 3)}
    with pytest.raises(ValueError, match="does not denoise"):
        mean.chunk(ChunkRequest(seen, seed=0, items=range(3), follow=RealTime()))
    spaces = PolicySpaces(state=0, action=1, low=(0.0,), high=(1.0,), images={"top": (8, 8)})
    with pytest.raises(ValueError, match="sees states, and the environment shows none"):
        BaselinePolicy("squared-error", spaces, Horizons(), SMALL)
