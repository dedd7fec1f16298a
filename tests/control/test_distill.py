"""Policies of few evaluations: their sampler, their run, their files."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from scorefield.cli.main import main
from scorefield.control.data.episode import Episode
from scorefield.control.data.episodes import Episodes, write_episodes
from scorefield.control.data.spaces import Horizons, PolicySpaces
from scorefield.control.data.windows import Windows
from scorefield.control.networks.settings import PerceptronSettings, Predicts, UNet1DSettings
from scorefield.control.policies.diffusion_policy import DiffusionPolicy, DiffusionSettings
from scorefield.control.policies.export import export_policy
from scorefield.control.policies.lerobot_export import export_to_lerobot
from scorefield.control.policies.loading import load_policy
from scorefield.control.policies.policy import ChunkRequest
from scorefield.control.policies.solver import renoised_path
from scorefield.control.training.distill import PolicyStudent, distill_policy
from scorefield.priors.denoiser import Denoiser
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import noise_generator
from scorefield.priors.prediction import Prediction
from scorefield.training.students.objective import generate
from scorefield.training.students.settings import StudentSettings

HORIZONS = Horizons(2, 3, 8)
SETTINGS = StudentSettings(
    steps=2,
    sampler="renoised",
    updates=3,
    regression_updates=1,
    teacher_batches=None,
    fake_updates=1,
    batch_size=4,
)


@pytest.fixture(scope="module")
def episodes() -> list[Episode]:
    generator = np.random.default_rng(0)
    return [
        Episode(
            generator.uniform(-1, 1, (12, 3)).astype(np.float32),
            generator.uniform(-1, 1, (12, 2)).astype(np.float32),
        )
        for _ in range(3)
    ]


@pytest.fixture
def windows(episodes: list[Episode]) -> Windows:
    return Windows(Episodes.of(episodes), HORIZONS)


def teacher_of(windows: Windows, predicts: Predicts = "x0", seed: int = 0) -> DiffusionPolicy:
    policy = DiffusionPolicy(
        PolicySpaces.of(windows.episodes),
        HORIZONS,
        PerceptronSettings(width=16, layers=1, frequencies=4),
        DiffusionSettings(predicts),
        seed=seed,
    )
    policy.fit(windows)
    return policy.eval().requires_grad_(False)


def seen(batch: int = 3) -> dict[str, Tensor]:
    return {"state": torch.rand(batch, 2, 3, generator=noise_generator(1))}


@pytest.mark.parametrize("predicts", ["x0", "velocity"])
def test_a_student_is_sampled_as_it_is_trained(windows: Windows, predicts: Predicts) -> None:
    """The table of the sampler against the loop of the training."""
    policy = teacher_of(windows, predicts)
    policy.diffusion = replace(policy.diffusion, steps=3, sampler="renoised")
    noise = torch.randn(3, *policy.noise_shape, generator=noise_generator(2))
    assert policy.noise_shape == (3, 8, 2)
    request = ChunkRequest(seen(), 0, range(3))
    found = policy.normalised_chunk(request, noise)
    levels = renoised_path(policy.schedule, 3)[:-1]
    expected = generate(policy.denoiser(seen()), noise.unbind(1), levels)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_levels_of_a_student_lie_where_little_noise_is(windows: Windows) -> None:
    policy = teacher_of(windows)
    *levels, clean = renoised_path(policy.schedule, 2)
    fractions = [float(policy.schedule.fraction(level)) for level in levels]
    assert fractions == pytest.approx([1.0, 0.25], abs=1e-6)
    assert (float(clean.alpha), float(clean.sigma)) == (1.0, 0.0)


def test_windows_where_plans_differ_are_drawn_more_often(
    windows: Windows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A teacher that chooses by its noise at a tenth of the windows, and elsewhere not."""
    teacher = teacher_of(windows)
    first = windows.states(range(len(windows)))[:, 0, 0]
    undecided = float(first.quantile(0.9))

    class Choosing(Denoiser):
        schedule = teacher.schedule

        def __init__(self, seen: Mapping[str, Tensor]) -> None:
            self.choice = (seen["state"][:, 0, 0] > undecided).float()[:, None, None]

        def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
            chosen = self.choice * z.mean((1, 2), keepdim=True).sign()
            return Prediction.from_x0(z, level, chosen.expand(z.shape))

    monkeypatch.setattr(teacher, "denoiser", Choosing)
    lesson = PolicyStudent(teacher, windows, SETTINGS).lesson
    drawn = lesson.draw(2000, noise_generator(3))["state"][:, 0, 0]
    assert float((drawn > undecided).float().mean()) == pytest.approx(0.8 + 0.2 * 0.1, abs=0.03)


def test_a_teacher_stays_as_it_is(windows: Windows) -> None:
    teacher = teacher_of(windows).train().requires_grad_(True)
    PolicyStudent(teacher, windows, SETTINGS)
    assert teacher.training and all(p.requires_grad for p in teacher.parameters())


def test_a_student_is_a_policy_of_few_evaluations(
    windows: Windows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = teacher_of(windows)
    student = distill_policy(teacher, windows, tmp_path / "run", SETTINGS)
    loaded = load_policy(tmp_path / "run")
    torch.testing.assert_close(student.act(seen()), loaded.act(seen()), rtol=0, atol=0)
    assert not torch.allclose(loaded.act(seen()), teacher.act(seen()), atol=1e-4)
    calls = []
    denoise = loaded.network.denoise
    monkeypatch.setattr(loaded.network, "denoise", lambda *a: calls.append(1) or denoise(*a))
    loaded.act(seen())
    assert len(calls) == 2
    assert export_policy(student, tmp_path / "onnx") < 1e-4
    # the observations of other rows change nothing, as in every policy
    both, alone = loaded.act(seen(3)), loaded.act({"state": seen(3)["state"][:1]})
    torch.testing.assert_close(both[:1], alone, rtol=1e-5, atol=1e-5)


def test_a_resumed_student_has_the_same_bits(
    windows: Windows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = distill_policy(teacher_of(windows), windows, tmp_path / "whole", SETTINGS)
    step = PolicyStudent.step

    def stopped(job: PolicyStudent, number: int) -> Mapping[str, float]:
        if number == 2:
            raise KeyboardInterrupt
        return step(job, number)

    monkeypatch.setattr(PolicyStudent, "step", stopped)
    with pytest.raises(KeyboardInterrupt):
        distill_policy(teacher_of(windows), windows, tmp_path / "stopped", SETTINGS)
    monkeypatch.undo()
    again = distill_policy(
        teacher_of(windows), windows, tmp_path / "stopped", SETTINGS, resume=True
    )
    for mine, other in zip(again.parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine, other)
    with pytest.raises(ValueError, match="was made with teacher = "):
        distill_policy(
            teacher_of(windows, seed=1), windows, tmp_path / "stopped", SETTINGS, resume=True
        )


def test_lerobot_is_given_no_student_of_several_steps(windows: Windows, tmp_path: Path) -> None:
    policy = DiffusionPolicy(
        PolicySpaces.of(windows.episodes),
        HORIZONS,
        UNet1DSettings(widths=(8, 16), time_features=8, groups=4, frequencies=0),
        DiffusionSettings(steps=2, sampler="renoised"),
    )
    with pytest.raises(ValueError, match="distil one of --steps 1"):
        export_to_lerobot(policy, tmp_path / "out", environment_state=1)


def test_the_command(
    windows: Windows,
    episodes: list[Episode],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    teacher_of(windows).save(tmp_path / "teacher")
    write_episodes(tmp_path / "demos", episodes)
    words = ["policy", "distill", str(tmp_path / "teacher"), str(tmp_path / "demos"), "--quiet"]
    words += ["--out", str(tmp_path / "run"), "--fake-updates", "1", "--batch-size", "4"]
    steps = ["--updates", "2", "--regression-updates", "1"]
    assert main([*words, *steps]) == 0
    assert load_policy(tmp_path / "run").diffusion.steps == 2
    told = capsys.readouterr().out
    assert "3 of 3 episodes" in told and "policy evaluate" in told
    assert main([*words, *steps, "--resume", "--seed", "1"]) == 2
    assert "was made with student.seed" in capsys.readouterr().err
    too_many = ["--updates", "1", "--regression-updates", "2"]
    assert main([*words, *too_many, "--resume"]) == 2
    assert "at most 1" in capsys.readouterr().err
