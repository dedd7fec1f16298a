"""Diffusion policies against closed forms: sampling, going on, training, files, resuming."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from scorefield.control.data.episode import Episode
from scorefield.control.data.episodes import Episodes
from scorefield.control.data.spaces import Horizons, PolicySpaces
from scorefield.control.data.windows import Windows
from scorefield.control.networks.network import ChunkNetwork
from scorefield.control.networks.settings import (
    EncoderSettings,
    PerceptronSettings,
    TransformerSettings,
    UNet1DSettings,
)
from scorefield.control.policies.denoising import Continuation, RealTime, WarmStart
from scorefield.control.policies.diffusion_policy import (
    DiffusionPolicy,
    DiffusionSettings,
    NetworkSettings,
)
from scorefield.control.policies.loading import load_policy
from scorefield.control.policies.policy import ChunkRequest, Policy, check_named
from scorefield.control.policies.sharded_generator import ShardedGenerator
from scorefield.control.training.train import PolicyTask, power_decay, train_policy
from scorefield.integrity import unverified
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import keyed_noise, noise_generator
from scorefield.priors.sampling import sample
from scorefield.runs.folder import RunFolder
from scorefield.runs.loop import NonFiniteError, optimise
from scorefield.training.settings import TrainingSettings

SPACES = PolicySpaces(state=3, action=2, low=(-1.0, -2.0), high=(1.0, 2.0), rate=10.0)
HORIZONS = Horizons(2, 3, 8)
SMALL: dict[str, NetworkSettings] = {
    "perceptron": PerceptronSettings(width=16, layers=1, frequencies=4),
    "unet": UNet1DSettings(widths=(8, 16), time_features=8),
    "transformer": TransformerSettings(width=16, layers=1, heads=2),
}
MEAN, DEVIATION = 0.3, 0.2


def _normalizer(predicts: str) -> str:
    return "minmax" if predicts == "eps" else "gaussian"


def observations(batch: int = 3) -> dict[str, Tensor]:
    return {"state": torch.rand(batch, 2, 3, generator=noise_generator(1))}


def policy_of(network: str = "perceptron", **settings: object) -> DiffusionPolicy:
    diffusion = DiffusionSettings(**settings)  # type: ignore[arg-type]
    return DiffusionPolicy(SPACES, HORIZONS, SMALL[network], diffusion).eval()


class Gaussian(ChunkNetwork):
    """The network of a policy whose chunks are N(mean, covariance) over their steps."""

    def __init__(self, policy: DiffusionPolicy, covariance: Tensor, mean: float = MEAN) -> None:
        super().__init__()
        self.schedule, self.covariance, self.mean = policy.schedule, covariance, mean

    def prepare(self, condition: Tensor) -> Tensor:
        return condition

    def denoise(self, chunk: Tensor, time: Tensor, prepared: Tensor) -> Tensor:
        timestep = round(float(time[0]) * self.schedule.num_timesteps, 3)
        level = self.schedule.at_timestep(timestep)
        alpha, sigma = float(level.alpha), float(level.sigma)
        covariance = self.covariance.double()
        whole = alpha**2 * covariance + sigma**2 * torch.eye(len(covariance)).double()
        gain = (alpha * covariance @ whole.inverse()).to(chunk)
        return self.mean + torch.einsum("st,bta->bsa", gain, chunk - alpha * self.mean)


def gaussian_policy(covariance: Tensor, mean: float = MEAN, **settings: object) -> DiffusionPolicy:
    policy = policy_of(predicts="x0", normalizer="gaussian", **settings)
    policy.network = Gaussian(policy, covariance, mean)
    return policy


def linear(gain: float = 0.5, noise: float = 0.0, episodes: int = 6, steps: int = 40) -> Windows:
    """Demonstrations of a = gain s + noise, each number by itself."""
    rng = np.random.default_rng(0)
    states = [rng.uniform(-1, 1, (steps, 1)) for _ in range(episodes)]
    pairs = (Episode(s, gain * s + noise * rng.standard_normal(s.shape)) for s in states)
    return Windows(Episodes.of(pairs), Horizons(1, 1, 1))


def one_number(**settings: object) -> DiffusionPolicy:
    spaces = PolicySpaces(state=1, action=1, low=(-3.0,), high=(3.0,))
    diffusion = DiffusionSettings(**settings)  # type: ignore[arg-type]
    network = PerceptronSettings(width=32, layers=1, frequencies=0)
    return DiffusionPolicy(spaces, Horizons(1, 1, 1), network, diffusion)


def test_a_gaussian_policy_acts_as_its_flow_says() -> None:
    policy = gaussian_policy(DEVIATION**2 * torch.eye(8), steps=50, order=2)
    noise = keyed_noise(4, range(3), 2, (8, 2))
    actions = policy.act(observations(), seed=4, draw=2)
    exact = MEAN + DEVIATION * noise[:, 1:4]
    assert isinstance(policy, Policy) and actions.shape == (3, 3, 2)
    torch.testing.assert_close(actions, exact, rtol=0, atol=0.02)


@pytest.mark.parametrize("network", SMALL)
@pytest.mark.parametrize("predicts", ["eps", "x0", "v", "velocity"])
def test_a_policy_given_observations_is_a_denoiser_of_the_library(
    network: str, predicts: str
) -> None:
    policy = policy_of(network, predicts=predicts, normalizer=_normalizer(predicts))
    policy.spaces = PolicySpaces(state=3, action=2, low=(-1e9, -1e9), high=(1e9, 1e9))
    with torch.no_grad():
        expected = sample(policy.denoiser(observations()), (8, 2), 3, steps=10, seed=5)
    chunk = policy.chunk(ChunkRequest(observations(), seed=5, items=range(3)))
    torch.testing.assert_close(chunk, expected, rtol=1e-3, atol=1e-4)


def test_with_the_exact_denoiser_both_modes_are_drawn() -> None:
    """Chunks are +m or -m with equal odds: E[x0 | z] = m tanh(alpha m.z / sigma^2)."""
    policy = policy_of(predicts="x0")
    mode = torch.full((8, 2), 0.5)

    class Exact(ChunkNetwork):
        def prepare(self, condition: Tensor) -> Tensor:
            return condition

        def denoise(self, chunk: Tensor, time: Tensor, prepared: Tensor) -> Tensor:
            level = policy.schedule.at_timestep((time * 100).round())
            ratio = (level.alpha / level.sigma**2).float()
            return mode * torch.tanh(ratio * (chunk * mode).sum(dim=(1, 2)))[:, None, None]

    policy.network = Exact()
    noise = torch.randn(2000, 8, 2, generator=noise_generator(0))
    request = ChunkRequest(observations(2000), seed=0, items=range(2000))
    drawn = policy.normalised_chunk(request, noise)
    # All but the few whose noise lies on the border between the modes.
    off = (drawn.abs() - mode).abs().amax(dim=(1, 2))
    assert float((off < 1e-2).float().mean()) > 0.995
    upper = float((drawn[:, 0, 0] > 0).float().mean())
    assert upper == pytest.approx(0.5, abs=4 * 0.5 / 2000**0.5)


@pytest.mark.parametrize("network", SMALL)
def test_neither_batch_nor_order_changes_an_item_and_bounds_hold(network: str) -> None:
    policy = policy_of(network, predicts="eps")
    policy.actions.scale.fill_(0.1)  # so that actions would reach 10
    seen = observations(3)
    request = ChunkRequest(seen, seed=0, items=[5, 6, 7])
    together = policy.chunk(request)
    alone = policy.chunk(ChunkRequest({"state": seen["state"][1:2]}, seed=0, items=[6]))
    torch.testing.assert_close(together[1:2], alone, rtol=0, atol=1e-4)
    assert together.abs()[..., 0].max() == 1 and together.abs()[..., 1].max() == 2
    other = policy.chunk(replace(request, draw=1))
    assert not torch.equal(together, other)


def test_observations_that_are_not_finite_do_not_move_a_robot() -> None:
    seen = observations()
    seen["state"][1, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="observations"):
        policy_of().act(seen)


def test_real_time_keeps_what_is_decided_and_follows_what_was_planned() -> None:
    # A smooth Gaussian: the steps of a chunk are correlated, so what is frozen says much of the
    # steps after it. Seeds 0 to 63; an unsteered chunk parts from the plan by sqrt(2) deviations.
    places = torch.arange(8.0)
    covariance = torch.exp(-0.5 * ((places[:, None] - places) / 4) ** 2) * DEVIATION**2
    policy = gaussian_policy(covariance + 1e-5 * torch.eye(8), steps=20)
    seen = observations(64)
    first = ChunkRequest(seen, seed=0, items=range(64))
    before = policy.chunk(first)
    planned = before[:, 3:]  # Ta = 3: what was planned for the first 5 steps of the next

    def apart(follow: Continuation | None) -> Tensor:
        after = policy.chunk(replace(first, draw=1, previous=before, follow=follow))
        return (after[:, :5] - planned).square().mean(dim=(0, 2)).sqrt() / DEVIATION

    free, real = apart(None), apart(RealTime(delay=2))
    assert free.min() > 1.1
    assert real[:3].max() < 1e-3  # To - 1 + 2 steps are frozen
    # What follows is bound less and less; the rule takes actions for independent.
    assert real[3] < free[3] / 2 and bool((real[3:] < free[3:]).all())


def test_a_warm_start_is_the_flow_from_what_was_planned_noised() -> None:
    policy = gaussian_policy(DEVIATION**2 * torch.eye(8), steps=100, order=2)
    seen = observations()
    first = ChunkRequest(seen, seed=0, items=range(3))
    before = policy.chunk(first)
    after = policy.chunk(replace(first, draw=1, previous=before, follow=WarmStart(0.3)))
    level = policy.table(0.3)[0].level
    alpha, sigma = float(level.alpha), float(level.sigma)
    planned = before[:, [3, 4, 5, 6, 7, 7, 7, 7]]
    z = alpha * planned + sigma * keyed_noise(0, range(3), 1, (8, 2))
    spread = (alpha**2 * DEVIATION**2 + sigma**2) ** 0.5
    exact = MEAN + DEVIATION * (z - alpha * MEAN) / spread
    torch.testing.assert_close(after, exact, rtol=0, atol=0.01)


def test_real_time_is_the_exact_posterior_of_a_standard_normal() -> None:
    # Without correlation nothing follows from the prefix: frozen steps are the plan's, the others
    # are what they were.
    policy = gaussian_policy(torch.eye(8), mean=0.0, steps=100)
    policy.horizons = Horizons(2, 3, 8)
    policy.spaces = PolicySpaces(state=3, action=2, low=(-9.0, -9.0), high=(9.0, 9.0))
    seen = observations()
    first = ChunkRequest(seen, seed=0, items=range(3))
    before = policy.chunk(first)
    free = policy.chunk(replace(first, draw=1))
    follow = RealTime(delay=4, limit=1e9)  # 5 steps are frozen, all that was planned
    after = policy.chunk(replace(first, draw=1, previous=before, follow=follow))
    torch.testing.assert_close(after[:, :5], before[:, 3:], rtol=0, atol=0.05)
    torch.testing.assert_close(after[:, 5:], free[:, 5:], rtol=0, atol=1e-4)


@pytest.mark.parametrize("predicts", ["eps", "x0", "v", "velocity"])
def test_the_loss_is_that_of_the_network_s_output(predicts: str) -> None:
    # A network that says 0: the loss is the mean square of the target, by its definition.
    policy = one_number(predicts=predicts, normalizer=_normalizer(predicts), weighting="uniform")
    windows = linear()
    policy.fit(windows)
    policy.network.leave.weight.data.zero_()
    policy.network.leave.bias.data.zero_()
    batch = windows.batch(range(len(windows)))
    loss = policy.loss(batch, ShardedGenerator(noise_generator(3)))
    generator = noise_generator(3)
    actions = policy.actions(batch["action"])
    if predicts == "velocity":
        level = policy.schedule.at_fraction(torch.rand(len(actions), generator=generator))
    else:
        times = torch.randint(100, (len(actions),), generator=generator)
        level = policy.schedule.at_timestep(times)
    eps = torch.randn(actions.shape, generator=generator)
    z = level.add_noise(actions, eps)
    alpha, sigma = level.like(z)
    target = {
        "eps": eps,
        "x0": actions,
        "v": alpha * eps - sigma * actions,
        "velocity": eps - actions,
    }[predicts]
    torch.testing.assert_close(loss, target.square().mean())


def test_truncated_weights_are_the_loss_of_v_up_to_their_limit() -> None:
    # v = alpha eps - sigma x0 has an error of x0's over sigma^2 = 1 + SNR, for the same network.
    policy, windows = one_number(predicts="x0"), linear()
    assert policy.diffusion.weighting == "truncated"
    policy.fit(windows)
    batch = windows.batch([5])
    policy.network.leave.weight.data.zero_()
    policy.network.leave.bias.data.fill_(0.1)
    error = float((policy.actions(batch["action"]) - 0.1).square())
    for seed in range(20):
        times = torch.randint(100, (1,), generator=noise_generator(seed))
        level = policy.schedule.at_timestep(times)
        weight = min(float(1 / level.sigma**2), 21.0)
        found = float(policy.loss(batch, ShardedGenerator(noise_generator(seed))).detach())
        assert found == pytest.approx(weight * error, rel=1e-4)
    with pytest.raises(ValueError, match="truncated weights are those of x0"):
        DiffusionSettings("v", weighting="truncated")


@pytest.mark.slow
@pytest.mark.parametrize("predicts", ["eps", "velocity"])
def test_training_finds_a_linear_gaussian_policy(predicts: str, tmp_path: Path) -> None:
    # a ~ N(0.5 s, 0.1^2). 1000 draws: the mean is known to 0.003, the deviation to 0.0023; the
    # rest of the tolerance is the network's.
    normalizer = _normalizer(predicts)
    policy = one_number(predicts=predicts, normalizer=normalizer, steps=20, order=2)
    windows = linear(noise=0.1, episodes=40)
    trained = train_policy(policy, windows, TrainingSettings(1500, 128, 3e-3), tmp_path)
    for state in (-0.6, 0.0, 0.6):
        seen = {"state": torch.full((1000, 1, 1), state)}
        actions = trained.act(seen)
        assert abs(float(actions.mean()) - 0.5 * state) < 0.04
        assert 0.07 < float(actions.std()) < 0.13


def test_the_moving_average_has_the_paper_s_schedule() -> None:
    assert power_decay(0) == power_decay(1) == 0
    assert power_decay(16) == pytest.approx(1 - 16**-0.75)
    assert power_decay(10**9) == 0.9999
    task = PolicyTask(one_number(), linear(), TrainingSettings(10, 4, ema=0.9999))
    assert [task.decay(k) for k in (0, 16)] == [0, power_decay(16)]
    task.step(0)
    # The first decay is 0: the average is the weights.
    for average, weight in zip(task.average, task.parameters, strict=True):
        assert torch.equal(average, weight)


@pytest.mark.parametrize(
    "network",
    [
        PerceptronSettings(width=32, layers=1, frequencies=0),
        TransformerSettings(observations=1, width=16, layers=1, heads=2, dropout=0.5),
    ],
)
def test_a_killed_training_ends_with_the_same_bits(
    tmp_path: Path, network: NetworkSettings
) -> None:
    windows, settings = linear(), TrainingSettings(6, 16)
    spaces = PolicySpaces(state=1, action=1, low=(-3.0,), high=(3.0,))

    def task() -> PolicyTask:
        torch.rand(1)  # of the global generator nothing may depend
        policy = DiffusionPolicy(spaces, Horizons(1, 1, 1), network, DiffusionSettings())
        return PolicyTask(policy, windows, settings)

    def run(name: str, steps: int, resume: bool) -> DiffusionPolicy:
        started = task()
        folder = RunFolder.create(tmp_path / name, {}, resume)
        optimise(
            started,
            steps=steps,
            folder=folder,
            preview_every=0,
            checkpoint_every=2,
            progress=False,
            resume=resume,
        )
        return started.policy()

    whole = run("whole", 6, False)
    run("killed", 3, False)
    resumed = run("killed", 6, True)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scorefield.control.training.train.CHECKPOINT_EVERY", 2)
    policy, loss = one_number(), DiffusionPolicy.loss
    calls = iter(range(100))

    def breaks(self: DiffusionPolicy, batch: dict[str, Tensor], draws: ShardedGenerator) -> Tensor:
        factor = float("nan") if next(calls) == 5 else 1.0
        return factor * loss(self, batch, draws)

    monkeypatch.setattr(DiffusionPolicy, "loss", breaks)
    with pytest.raises(NonFiniteError, match="after step 4"):
        train_policy(policy, linear(), TrainingSettings(10, 16), tmp_path / "run")
    assert RunFolder.create(tmp_path / "run", _config(tmp_path), True).load_checkpoint()[0] == 4  # type: ignore[index]


def test_figures_go_to_a_tracker_as_well(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train_policy(one_number(), linear(), TrainingSettings(3, 16), tmp_path, tracker="tensorboard")
    events = EventAccumulator(str(tmp_path / "tracking"))
    events.Reload()
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    told = [event.value for event in events.Scalars("loss")]
    np.testing.assert_allclose(told, [row["loss"] for row in rows], rtol=1e-6)
    with pytest.raises(ValueError, match="tracker"):
        train_policy(
            one_number(), linear(), TrainingSettings(3, 16), tmp_path / "b", tracker="paper"
        )
    assert not (tmp_path / "b").exists()


def _config(folder: Path) -> dict[str, object]:
    config: dict[str, object] = json.loads((folder / "run" / "config.json").read_text())
    config.pop("scorefield_version", None)
    return config


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda e: Episode(e.state[:, :1].repeat(2, 1), e.action), "another environment"),
        (lambda e: Episode(e.state, 10 * e.action), "clip the demonstrations"),
    ],
)
def test_demonstrations_that_do_not_fit_are_refused(
    spoil: Callable[[Episode], Episode], words: str
) -> None:
    rng = np.random.default_rng(0)
    good = Episode(rng.uniform(-1, 1, (9, 1)), rng.uniform(-1, 1, (9, 1)))
    windows = Windows(Episodes.of([spoil(good)]), Horizons(1, 1, 1))
    with pytest.raises(ValueError, match=words):
        PolicyTask(one_number(), windows, TrainingSettings(2, 4))


def test_what_is_held_out_is_not_learnt_and_tells_a_failure(tmp_path: Path) -> None:
    # Actions that no state explains: what is learnt by heart is told from what is understood.
    rng = np.random.default_rng(0)
    pairs = [Episode(rng.uniform(-1, 1, (9, 8)), rng.uniform(-1, 1, (9, 1))) for _ in range(20)]
    noise = Windows(Episodes.of(pairs), Horizons(1, 1, 1))
    learnt, held_out = noise.split(0.1, seed=3)
    assert held_out is not None and (len(learnt), len(held_out)) == (162, 18)
    both = [set(w.batch(range(len(w)))["state"].flatten().tolist()) for w in (learnt, held_out)]
    assert not both[0] & both[1]

    def error(
        windows: tuple[Windows, Windows | None], name: str, steps: int = 200
    ) -> tuple[float, float]:
        settings = TrainingSettings(steps, 64, 3e-3, warmup=10)
        run, size = tmp_path / name, windows[0].episodes.state.shape[1]
        spaces = PolicySpaces(state=size, action=1, low=(-3.0,), high=(3.0,))
        network = PerceptronSettings(width=64, layers=2, bandwidth=2.0)
        policy = DiffusionPolicy(spaces, Horizons(1, 1, 1), network, DiffusionSettings("x0"))
        train_policy(policy, windows[0], settings, run, held_out=windows[1])
        rows = [json.loads(row) for row in (run / "metrics.jsonl").read_text().splitlines()]
        assert sum("held_out_loss" in row for row in rows) == 10
        assert all(row["held_out_loss"] > 0 for row in rows if "held_out_loss" in row)
        return rows[-1]["training_error"], rows[-1]["held_out_error"]

    by_heart, not_learnt = error((learnt, held_out), "noise")
    assert by_heart < 0.8 < 1 < not_learnt
    assert max(error(linear(episodes=20).split(0.1), "law")) < 0.2
    still = [Episode(one.state, 0 * one.action) for one in pairs]
    assert error(Windows(Episodes.of(still), Horizons(1, 1, 1)).split(0.1), "still", 10)[1] < 1e6
    assert linear().split(0.1)[1] is None  # 6 episodes are too few for a tenth
    with pytest.raises(ValueError, match="share"):
        noise.split(1.0)


@pytest.mark.parametrize("network", SMALL)
def test_a_file_carries_all_that_is_needed(network: str, tmp_path: Path) -> None:
    policy = policy_of(network, predicts="v", order=2, steps=5)
    policy.actions.scale.fill_(2.0)
    policy.encoder.states.offset.fill_(0.5)
    policy.save(tmp_path)
    loaded = load_policy(tmp_path, SPACES)
    # a matrix product rounds by where its numbers lie in memory
    found, expected = loaded.act(observations()), policy.act(observations())
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors", ".sha256"}
    other = PolicySpaces(state=4, action=2, low=(-1.0, -2.0), high=(1.0, 2.0))
    with pytest.raises(ValueError, match=r'state.*"state": 3.*"state": 4'):
        load_policy(tmp_path, other)
    (tmp_path / "policy.safetensors").write_bytes(b"no")
    with unverified(), pytest.raises(ValueError, match="cannot be read"):
        load_policy(tmp_path)


def test_images_and_states_train_and_act(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (12, 40, 40, 3), dtype=np.uint8)
    episode = Episode(rng.uniform(-1, 1, (12, 2)), rng.uniform(-1, 1, (12, 2)), {"top": frames})
    spaces = PolicySpaces(
        state=2, action=2, low=(-1.0, -1.0), high=(1.0, 1.0), images={"top": (40, 40)}
    )
    horizons = Horizons(2, 2, 4)
    policy = DiffusionPolicy(
        spaces, horizons, SMALL["unet"], encoder=EncoderSettings(width=16, keypoints=2)
    )
    windows = Windows(Episodes.of([episode]), horizons)
    trained = train_policy(policy, windows, TrainingSettings(2, 4), tmp_path)
    seen = windows.batch([0, 3])
    actions = trained.act(seen)
    again = load_policy(tmp_path / "policy", spaces).act(seen)
    torch.testing.assert_close(actions, again, rtol=0, atol=2e-6)
    assert actions.shape == (2, 2, 2)


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="timesteps"):
        DiffusionPolicy(SPACES, HORIZONS, UNet1DSettings(), DiffusionSettings(levels=50))
    with pytest.raises(ValueError, match="steps"):
        DiffusionSettings(levels=10, steps=20)
    with pytest.raises(ValueError, match="predict x0"):
        DiffusionSettings("eps", normalizer="gaussian")
    policy = policy_of()
    request = ChunkRequest(observations(), seed=0, items=range(3))
    short = torch.zeros(3, 3, 2)
    with pytest.raises(ValueError, match="previous"):
        policy.chunk(replace(request, previous=short, follow=RealTime()))
    with pytest.raises(ValueError, match=r"got 2 items for rows {'state': 3}"):
        replace(request, items=[0, 1])


def test_levels_of_the_noise_are_the_published_ones() -> None:
    level: NoiseLevel = DiffusionSettings().schedule().at_timestep(99)
    assert float(level.alpha) < 1e-3


def test_a_policy_is_sealed(tmp_path: Path) -> None:
    folder = policy_of().save(tmp_path / "policy")
    load_policy(folder)
    path = folder / "policy.safetensors"
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"policy\.safetensors: is not the file that was sealed"):
        load_policy(folder)
    with unverified():
        load_policy(folder)


@pytest.mark.parametrize("setting", ["layers", "width"])
def test_a_policy_too_large_for_its_weights_is_not_built(tmp_path: Path, setting: str) -> None:
    folder = policy_of().save(tmp_path / "policy")
    config = json.loads((folder / "policy.json").read_text(encoding="utf-8"))
    config["network"][setting] = 10**9
    (folder / "policy.json").write_text(json.dumps(config), encoding="utf-8")
    with unverified(), pytest.raises(ValueError, match=f"{setting} is 1000000000 in"):
        load_policy(folder)


def test_an_observation_without_its_name_is_refused_with_the_name() -> None:
    with pytest.raises(
        ValueError, match=r"by name, \{'state': an array of shape \(2, 3\)\}; got nda"
    ):
        check_named(np.zeros((2, 3)), {"state": (2, 3)})


@pytest.mark.parametrize("images", [{}, {"view": (16, 16)}])
@pytest.mark.parametrize("network", SMALL)
def test_states_have_fourier_features_and_images_learn_their_own(
    network: str, images: dict[str, tuple[int, int]]
) -> None:
    spaces = PolicySpaces(4, 2, (-1.0, -2.0), (1.0, 2.0), images=images)
    encoder = EncoderSettings(width=16, keypoints=2)
    usual = type(SMALL[network])()
    found = DiffusionPolicy(spaces, HORIZONS, usual, encoder=encoder).network_settings.frequencies
    assert found == (0 if images and network != "perceptron" else 64)
    chosen = replace(SMALL[network], frequencies=3)
    assert DiffusionPolicy(spaces, HORIZONS, chosen).network_settings.frequencies == 3


@pytest.mark.parametrize("network", ["unet", "transformer"])
def test_networks_saved_before_they_had_fourier_features_have_none(
    network: str, tmp_path: Path
) -> None:
    saved = DiffusionPolicy(SPACES, HORIZONS, replace(SMALL[network], frequencies=0)).eval()
    folder = saved.save(tmp_path / "policy")
    config = json.loads((folder / "policy.json").read_text(encoding="utf-8"))
    del config["network"]["frequencies"], config["network"]["bandwidth"]
    (folder / "policy.json").write_text(json.dumps(config), encoding="utf-8")
    with unverified():
        loaded = load_policy(folder)
    # Not to the bit: where the weights lie in memory chooses among a convolution's kernels.
    found, expected = loaded.act(observations()), saved.act(observations())
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_a_transformer_saved_before_there_was_a_choice_is_causal(tmp_path: Path) -> None:
    network = replace(SMALL["transformer"], causal=True, frequencies=0)
    saved = DiffusionPolicy(SPACES, HORIZONS, network).eval()
    folder = saved.save(tmp_path / "policy")
    config = json.loads((folder / "policy.json").read_text(encoding="utf-8"))
    del config["network"]["causal"]
    (folder / "policy.json").write_text(json.dumps(config), encoding="utf-8")
    with unverified():
        loaded = load_policy(folder)
    assert loaded.network_settings == network
    assert torch.equal(loaded.act(observations()), saved.act(observations()))


def test_a_perceptron_saved_before_there_was_a_choice_adds_the_level(tmp_path: Path) -> None:
    network = replace(SMALL["perceptron"], film=False)
    saved = DiffusionPolicy(SPACES, HORIZONS, network).eval()
    folder = saved.save(tmp_path / "policy")
    config = json.loads((folder / "policy.json").read_text(encoding="utf-8"))
    del config["network"]["film"]
    (folder / "policy.json").write_text(json.dumps(config), encoding="utf-8")
    with unverified():
        loaded = load_policy(folder)
    assert loaded.network_settings == network
    torch.testing.assert_close(loaded.act(observations()), saved.act(observations()))


def test_a_level_that_scales_keeps_the_noise_out(tmp_path: Path) -> None:
    # What is observed says the action, and at the highest levels nothing else does.
    rng = np.random.default_rng(0)
    states = [rng.uniform(-1, 1, (40, 2)) for _ in range(20)]
    pairs = (Episode(s, np.stack([np.sin(2 * s[:, 0]), s[:, 1] ** 2], axis=1)) for s in states)
    windows = Windows(Episodes.of(pairs), Horizons(1, 1, 1))
    spaces = PolicySpaces(2, 2, (-2.0, -2.0), (2.0, 2.0))
    batch = windows.batch(range(len(windows)))
    error = {}
    for film in (False, True):
        network = PerceptronSettings(width=32, layers=1, frequencies=0, film=film)
        policy = DiffusionPolicy(spaces, windows.horizons, network)
        settings = TrainingSettings(200, 64, 3e-3)
        policy = train_policy(policy, windows, settings, tmp_path / str(film))
        actions, level = policy.actions(batch["action"]), policy.schedule.at_fraction(0.98)
        noise = torch.randn(actions.shape, generator=torch.Generator().manual_seed(1))
        found = policy.denoiser({"state": batch["state"]})(level.add_noise(actions, noise), level)
        error[film] = (found.x0 - actions).square().mean().sqrt()
    assert error[True] < 0.6 * error[False]


@pytest.mark.parametrize("normalizer", ["minmax", "gaussian"])
def test_a_unets_states_begin_where_mish_is_close_to_a_line(normalizer: str) -> None:
    rows = np.random.default_rng(0).normal([-50, 0, 0], [9, 1e-2, 1], (50, 3))
    rows[:, 2] = 7  # never varies
    actions = np.linspace([-1.0, -2.0], [1.0, 2.0], 50, dtype=np.float32)
    windows = Windows(Episodes.of([Episode(rows.astype(np.float32), actions)]), HORIZONS)
    found = {}
    for network in SMALL:
        policy = policy_of(network, normalizer=normalizer)
        policy.fit(windows)
        found[network] = policy.encoder.states(torch.from_numpy(windows.episodes.state))
    torch.testing.assert_close(found["unet"].amin(dim=0), torch.ones(3), atol=1e-4, rtol=0)
    # a shift and nothing else
    apart = found["unet"] - found["perceptron"]
    torch.testing.assert_close(apart, apart[:1].expand_as(apart), atol=1e-4, rtol=0)
    torch.testing.assert_close(found["transformer"], found["perceptron"])
    seen = found["unet"].requires_grad_()
    (slope,) = torch.autograd.grad(torch.nn.functional.mish(seen).sum(), seen)
    assert 0.99 < float(slope.min()) <= float(slope.max()) < 1.1
