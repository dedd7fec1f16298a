"""Students of few steps: the gradient against closed forms, and trainings whose end is known."""

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from scorefield.priors.denoiser import Denoiser
from scorefield.priors.editing.ddim_inversion import ddim_generate
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.prediction import Prediction
from scorefield.priors.schedule import DiscreteSchedule
from scorefield.priors.steps import level_path
from scorefield.training.students.objective import generate, reverse_kl_gradient
from scorefield.training.students.settings import StudentSettings
from scorefield.training.students.training import Lesson, StudentCollapsed, StudentTask

SCHEDULE = DiscreteSchedule.cosine().zero_terminal_snr()
TOP = SCHEDULE.at_fraction(1.0)


class Exact(Denoiser):
    """The score field of a mixture of Gaussians along one axis."""

    schedule = SCHEDULE

    def __init__(self, means: Tensor, stds: Tensor, weights: Tensor | None = None) -> None:
        self.means, self.stds = means, stds
        self.weights = torch.ones_like(means) / len(means) if weights is None else weights

    def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
        alpha, sigma = (one[..., None] for one in level.like(z))
        variance = alpha**2 * self.stds**2 + sigma**2
        offset = z[..., None] - alpha * self.means
        logits = self.weights.log() - variance.log() / 2 - offset**2 / (2 * variance)
        posterior = self.means + alpha * self.stds**2 / variance * offset
        return Prediction.from_x0(z, level, (logits.softmax(-1) * posterior).sum(-1))


class Affine(nn.Module):
    """A Gaussian whose mean and deviation are learnt: a student, and the score of one."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.log_std = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))


class AffineStudent(Denoiser):
    """At the first level it turns noise into a Gaussian."""

    schedule = SCHEDULE

    def __init__(self, network: Affine) -> None:
        self.network = network

    def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
        return Prediction.from_x0(z, level, self.network.mean + self.network.log_std.exp() * z)


class AffineScore(Denoiser):
    """The exact score of that Gaussian."""

    schedule = SCHEDULE

    def __init__(self, network: Affine) -> None:
        self.network = network

    def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
        return Exact(self.network.mean, self.network.log_std.exp()).predict(z, level)


def gaussian_lesson(mean: float, std: float) -> Lesson:
    student, fake = Affine(), Affine()
    return lesson(Exact(torch.tensor([mean]), torch.tensor([std])), student, fake, std)


def lesson(
    teacher: Denoiser,
    student: nn.Module,
    fake: nn.Module,
    spread: float,
    wrap: tuple[type[Any], type[Any]] = (AffineStudent, AffineScore),
) -> Lesson:
    return Lesson(
        draw=lambda n, generator: None,
        teacher=lambda _: teacher,
        student=lambda _: wrap[0](student),
        fake=lambda _: wrap[1](fake),
        networks=(student, fake),
        shape=(1,),
        schedule=SCHEDULE,
        levels=[TOP],
        spread=spread,
    )


def trained(task: StudentTask, updates: int) -> StudentTask:
    for step in range(updates):
        task.step(step)
    return task


def test_the_gradient_is_that_of_the_kullback_leibler_divergence() -> None:
    mean, std, a, b = 0.7, 0.5, -0.4, 1.3
    level = SCHEDULE.at_fraction(0.4)
    alpha, sigma = float(level.alpha), float(level.sigma)

    def divergence(a: Tensor, b: Tensor) -> Tensor:
        mine, other = alpha**2 * b**2 + sigma**2, alpha**2 * std**2 + sigma**2
        ratio = mine / other
        return 0.5 * (ratio - 1 - ratio.log() + (alpha * (a - mean)) ** 2 / other)

    exact = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (a, b)]
    expected = torch.autograd.grad(divergence(*exact), exact)

    generator = torch.Generator().manual_seed(0)
    noise, eps = torch.randn(2, 400_000, 1, generator=generator, dtype=torch.float64)
    x = a + b * noise
    z = level.add_noise(x, eps)
    at = level.expand(len(z))
    fake = Exact(torch.tensor([a]).double(), torch.tensor([b]).double())(z, at).x0
    real = Exact(torch.tensor([mean]).double(), torch.tensor([std]).double())(z, at).x0
    gradient = reverse_kl_gradient(x, real, fake, normalise=False) * alpha**2 / sigma**2
    found = gradient.mean(), (gradient * noise).mean()
    for mine, theirs in zip(found, expected, strict=True):
        assert abs(float(mine) - float(theirs)) < 0.01


def test_samples_of_several_steps_noise_every_prediction_anew() -> None:
    seen: list[Tensor] = []

    class Spy(Exact):
        def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
            seen.append(z)
            return super().predict(z, level)

    spy = Spy(torch.tensor([0.3]), torch.tensor([0.5]))
    levels = [TOP, SCHEDULE.at_fraction(0.5)]
    noises = torch.randn(2, 6, 1, generator=torch.Generator().manual_seed(0))
    x = generate(spy, list(noises), levels)
    first = spy(noises[0], levels[0].expand(6)).x0
    torch.testing.assert_close(seen[0], noises[0])
    torch.testing.assert_close(seen[1], levels[1].add_noise(first, noises[1]))
    torch.testing.assert_close(x, spy(seen[1], levels[1].expand(6)).x0)


def test_only_the_last_step_is_differentiated() -> None:
    network = Affine()
    noises = list(torch.randn(2, 4, 1))
    x = generate(AffineStudent(network), noises, [TOP, SCHEDULE.at_fraction(0.5)])
    (found,) = torch.autograd.grad(x.sum(), [network.mean])
    assert float(found) == 4.0


SETTINGS = StudentSettings(
    sampler="renoised",
    regression_updates=0,
    teacher_batches=None,
    steps=1,
    updates=150,
    batch_size=256,
    learning_rate=4e-2,
    fake_learning_rate=8e-2,
    ema=0.9,
)


def test_a_gaussian_teacher_makes_a_gaussian_student() -> None:
    task = trained(StudentTask(gaussian_lesson(0.8, 0.5), SETTINGS), SETTINGS.updates)
    task.load_average()
    assert float(task.student.mean) == pytest.approx(0.8, abs=0.03)
    assert math.exp(float(task.student.log_std)) == pytest.approx(0.5, rel=0.06)


def test_regression_gives_the_teachers_map_from_noise() -> None:
    """DDIM of a Gaussian is affine in the noise, whatever its steps; so is the student."""
    steps = {"regression_updates": 150, "teacher_steps": 8, "learning_rate": 8e-2}
    settings = StudentSettings(**{**vars(SETTINGS), **steps})
    task = trained(StudentTask(gaussian_lesson(0.8, 0.5), settings), settings.updates)
    task.load_average()
    up, down = ddim_generate(
        task.lesson.teacher(None), torch.tensor([[1.0], [-1.0]]), steps=settings.teacher_steps
    ).flatten()
    assert float(task.student.mean) == pytest.approx(float(up + down) / 2, abs=0.01)
    assert math.exp(float(task.student.log_std)) == pytest.approx(float(up - down) / 2, abs=0.01)
    assert task.fake.mean.detach() == 0  # nothing was learnt of the student's own score


def test_regression_follows_most_noises_and_not_their_mean() -> None:
    """A teacher of two ways has a cliff, which an affine student cannot have.

    By squared errors it would end at a mean of 0.54 and a deviation of 0.93, between the ways.
    """
    means, stds, weights = torch.tensor([[-4.0, 1.0], [0.2, 0.2], [0.1, 0.9]])
    steps = {"regression_updates": 150, "teacher_steps": 20, "learning_rate": 8e-2}
    settings = StudentSettings(**{**vars(SETTINGS), **steps})
    two_ways = lesson(Exact(means, stds, weights), Affine(), Affine(), 1.5)
    task = trained(StudentTask(two_ways, settings), settings.updates)
    task.load_average()
    assert float(task.student.mean) == pytest.approx(1.0, abs=0.1)
    assert math.exp(float(task.student.log_std)) == pytest.approx(0.2, abs=0.05)


def test_steps_of_ddim_follow_the_teachers_path() -> None:
    """Three steps of the student end where twelve of a teacher of two ways do."""
    teacher = Exact(torch.tensor([-1.0, 1.0]), torch.tensor([0.2, 0.2]))
    levels = level_path(SCHEDULE, 3)
    places = [float(level.log_snr) for level in levels]
    tables = nn.ParameterList(torch.zeros(61) for _ in levels[:-1])

    class Table(Denoiser):
        """A clean sample for each z from -3 to 3, linear in between, at each level."""

        schedule = SCHEDULE

        def __init__(self, tables: nn.ParameterList) -> None:
            self.tables = tables

        def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
            table = self.tables[places.index(float(level.log_snr.flatten()[0]))]
            place = (z.clamp(-2.99, 2.99) + 3) * 10
            below, part = place.long(), place - place.floor()
            return Prediction.from_x0(z, level, (1 - part) * table[below] + part * table[below + 1])

    steps = {"steps": 3, "sampler": "ddim", "regression_updates": None, "teacher_steps": 12}
    settings = StudentSettings(**{**vars(SETTINGS), **steps, "updates": 900, "teacher_batches": 40})
    taught = replace(
        lesson(teacher, tables, Affine(), 1.0, (Table, AffineScore)), levels=levels[:-1]
    )
    task = trained(StudentTask(taught, settings), settings.updates)
    task.load_average()
    z = torch.linspace(-2.5, 2.5, 101)[:, None]
    expected = ddim_generate(teacher, z, steps=12)
    found = ddim_generate(Table(tables), z, steps=3)
    assert float((found - expected).abs().median()) < 0.02
    assert float((found.sign() == expected.sign()).float().mean()) > 0.97
    plain = ddim_generate(teacher, z, steps=3)  # what the student is not
    assert float((plain - expected).abs().median()) > 0.05


def test_the_divergence_is_of_samples_that_are_noised_anew() -> None:
    with pytest.raises(ValueError, match="leave regression_updates out"):
        StudentSettings(sampler="ddim", regression_updates=10)


def test_batches_that_are_kept_are_made_once() -> None:
    """A teacher is most of the cost of a regression; its samples can be imitated more than once."""
    asked = 0

    class Counted(Exact):
        def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
            nonlocal asked
            asked += 1
            return super().predict(z, level)

    steps = {"steps": 2, "regression_updates": 150, "teacher_steps": 8, "learning_rate": 8e-2}
    settings = StudentSettings(**{**vars(SETTINGS), **steps, "teacher_batches": 4})
    counted = lesson(Counted(torch.tensor([0.8]), torch.tensor([0.5])), Affine(), Affine(), 0.5)
    counted = replace(counted, levels=level_path(SCHEDULE, 2)[:-1])
    trained(StudentTask(counted, settings), 50)
    assert 4 * 8 <= asked <= 4 * (8 + 8)  # of the second step, which begins on the teacher's sample
    again = StudentTask(counted, settings)
    again.load_state(copy.deepcopy(trained(StudentTask(counted, settings), 6).state()))
    for step in range(6, 9):  # which began with the batches unmade
        again.step(step)
    whole = trained(StudentTask(counted, settings), 9)
    assert torch.equal(whole.student.mean, again.student.mean)


def test_a_fake_score_that_lags_leads_astray() -> None:
    """What the fake score is updated for: without, the student's own score is not subtracted."""
    lagging = StudentSettings(**{**vars(SETTINGS), "fake_learning_rate": 1e-6, "least_spread": 0.0})
    task = trained(StudentTask(gaussian_lesson(0.8, 0.5), lagging), SETTINGS.updates)
    task.load_average()
    error = abs(math.exp(float(task.student.log_std)) - 0.5)
    assert error > 0.15


def test_a_collapsed_student_ends_the_training() -> None:
    strict = StudentSettings(**{**vars(SETTINGS), "least_spread": 1.0})
    with pytest.raises(StudentCollapsed, match=r"below 1\.0; go on from the last checkpoint"):
        trained(StudentTask(gaussian_lesson(0.0, 2.0), strict), 25)


def test_resumed_trainings_have_the_same_bits() -> None:
    whole = trained(StudentTask(gaussian_lesson(0.8, 0.5), SETTINGS), 8)
    first = trained(StudentTask(gaussian_lesson(0.8, 0.5), SETTINGS), 5)
    second = StudentTask(gaussian_lesson(0.8, 0.5), SETTINGS)
    second.load_state(copy.deepcopy(first.state()))
    for step in range(5, 8):
        second.step(step)
    assert torch.equal(whole.student.mean, second.student.mean)
    assert torch.equal(whole.average[1], second.average[1])


class Perceptron(nn.Module):
    """Predicts clean samples from noisy ones and the level."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(3, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1)
        )


class PerceptronDenoiser(Denoiser):
    schedule = SCHEDULE

    def __init__(self, network: Perceptron) -> None:
        self.network = network

    def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
        alpha, sigma = level.like(z)
        level_of = torch.cat([alpha.expand(z.shape), sigma.expand(z.shape)], -1)
        return Prediction.from_x0(z, level, self.network.layers(torch.cat([z, level_of], -1)))


@pytest.mark.slow
def test_no_mode_of_a_mixture_is_lost() -> None:
    torch.manual_seed(0)
    weights = torch.tensor([0.3, 0.7])
    teacher = Exact(torch.tensor([-1.0, 1.0]), torch.tensor([0.2, 0.2]), weights)
    network = Perceptron()
    # a student begins with its teacher's weights
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    generator = torch.Generator().manual_seed(1)
    for _ in range(2000):
        z = 1.5 * torch.randn(256, 1, generator=generator)
        level = SCHEDULE.at_fraction(torch.rand(256, generator=generator))
        loss = (PerceptronDenoiser(network)(z, level).x0 - teacher(z, level).x0).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    rates = {"learning_rate": 1e-3, "fake_learning_rate": 2e-3}
    changed = {"updates": 3000, **rates, "ema": 0.98, "least_spread": 0.0}
    settings = StudentSettings(**{**vars(SETTINGS), **changed})
    wrap = (PerceptronDenoiser, PerceptronDenoiser)
    task = StudentTask(lesson(teacher, network, copy.deepcopy(network), 1.0, wrap), settings)
    trained(task, settings.updates).load_average()
    x = PerceptronDenoiser(task.student)(torch.randn(4000, 1, generator=generator), TOP).x0
    share = float((x > 0).float().mean())
    near = float(((x.abs() - 1).abs() < 0.6).float().mean())
    assert share == pytest.approx(0.7, abs=0.08)
    assert near > 0.9
