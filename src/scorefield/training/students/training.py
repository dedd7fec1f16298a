"""The training of a student: two networks that take turns, as a task of the optimisation loop."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scorefield.priors.denoiser import Denoiser
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import noise_generator
from scorefield.priors.schedule import LOG_SNR_ROUNDING, NoiseSchedule
from scorefield.priors.steps import ddim_step, level_path
from scorefield.training.students.objective import generate, reverse_kl_gradient
from scorefield.training.students.settings import StudentSettings

_STUDENT, _FAKE = 0, 1
_WARM_UP = 20
_HUBER = 0.00054  # root mean square below which the Pseudo-Huber distance is a squared error


CLEAN = NoiseLevel(torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64))
"""The end of every path."""


class StudentCollapsed(ValueError):
    """The samples of a student have become much the same."""


@dataclass(frozen=True)
class Lesson:
    """Who teaches whom.

    draw: n random conditions from a generator, such as prompts or observations.
    teacher: the denoiser of conditions that is imitated, guidance included; nothing trains it.
    student, fake: the same of two trainable networks, both starting as the teacher's, say.
    networks: those two, in this order.
    shape: of one sample.
    schedule: of the levels at which samples are scored.
    levels: of the student's steps, from the most noise down.
    spread: standard deviation of the teacher's samples over a batch, in the mean over a sample.
    show: an image of samples, for previews.
    """

    draw: Callable[[int, torch.Generator], Any]
    teacher: Callable[[Any], Denoiser]
    student: Callable[[Any], Denoiser]
    fake: Callable[[Any], Denoiser]
    networks: tuple[nn.Module, nn.Module]
    shape: tuple[int, ...]
    schedule: NoiseSchedule
    levels: Sequence[NoiseLevel]
    spread: float
    show: Callable[[Tensor], Tensor] | None = None


class StudentTask:
    """A `Job`: one step is an update of the student.

    Before it, the fake score is trained `fake_updates` times on samples of the student.
    """

    def __init__(self, lesson: Lesson, settings: StudentSettings) -> None:
        self.lesson, self.settings = lesson, settings
        student, fake = lesson.networks
        self.student, self.fake = student.requires_grad_(True), fake.requires_grad_(True)
        self.device = next(student.parameters()).device
        self._kept: dict[int, tuple[Tensor, ...]] = {}  # of the batches that are imitated
        self.average = [p.detach().clone() for p in student.parameters()]
        rates = settings.learning_rate, settings.fake_learning_rate
        self._optimizers = [
            torch.optim.AdamW(network.parameters(), lr=rate, betas=(0.0, 0.999), weight_decay=0.0)
            for network, rate in zip((student, fake), rates, strict=True)
        ]

    @property
    def steps(self) -> int:
        """Number of updates."""
        return self.settings.updates

    def config(self) -> dict[str, Any]:
        """The settings; a subclass adds who teaches and what."""
        return {"student": asdict(self.settings)}

    def finish(self, folder: Path, *, progress: bool = True) -> dict[str, Path]:
        """Give the student its average; a subclass writes it."""
        self.load_average()
        return {}

    def step(self, step: int) -> Mapping[str, float]:
        """One update of the student, after those of its fake score."""
        if step < self.settings.imitated:
            return {"regression_loss": self._imitate(step)}
        lag = 0.0
        for number in range(self.settings.fake_updates):
            lag = self._update_fake(noise_generator(self.settings.seed, step, _FAKE, number))
        distance, spread = self._update_student(step)
        if step >= _WARM_UP and spread < self.settings.least_spread:
            raise StudentCollapsed(
                f"the student's samples differ by {spread:.2f} of what the teacher's do, below "
                f"{self.settings.least_spread}; go on from the last checkpoint with more "
                "fake updates or a lower learning rate"
            )
        return {"distance": distance, "spread": spread, "fake_loss": lag}

    def _imitate(self, step: int) -> float:
        """One update of the student towards the teacher's samples from the same noise.

        Of several steps each learns where the teacher's path ends from what the steps before it
        make, noised anew, or from the teacher's own samples where batches are kept. By the
        Pseudo-Huber distance (Song and Dhariwal 2024, arXiv 2310.14189, section 3.3), not the
        squared one: the teacher's map has cliffs, noises beside each other that lead to different
        ways, and squared errors of the few on the wrong side of a cliff pull the whole student in
        between.
        """
        batches = self.settings.teacher_batches
        number = step if batches is None else step % batches
        if self.settings.sampler == "ddim":
            condition, level, z, wanted = self._teach_path(number, step)
        else:
            condition, level, z, wanted = self._teach(number)
        found = self.lesson.student(condition)(z, level).x0
        squared = (found - wanted).square().flatten(1).mean(1)
        loss = ((squared + _HUBER**2).sqrt() - _HUBER).mean()
        self._descend(0, loss, self._rate(step))
        self._average(step)
        return loss.item()

    @torch.no_grad()
    def _teach(self, number: int) -> tuple[Any, NoiseLevel, Tensor, Tensor]:
        """A batch to imitate: conditions, a level, what is there and where its paths end.

        A batch that is kept is the same whenever it is made, so that a resumed training has it,
        too; its conditions, images perhaps, are drawn again.
        """
        lesson, settings = self.lesson, self.settings
        generator = noise_generator(settings.seed, number, _STUDENT)
        condition = lesson.draw(settings.batch_size, generator)
        steps = self._some_steps(generator)
        level = lesson.levels[steps - 1]
        if number in self._kept:
            z, wanted = self._kept[number]
            return condition, level, z, wanted
        teacher = lesson.teacher(condition)
        if steps == 1:
            z = self._normal(generator)
        elif settings.teacher_batches is None:
            x = self._samples(condition, steps - 1, generator)
            z = level.add_noise(x, self._normal(generator))
        else:
            x = _walk(teacher, self._normal(generator), self._teachers_levels(lesson.levels[0]))
            z = level.add_noise(x, self._normal(generator))
        wanted = _walk(teacher, z, self._teachers_levels(level))
        if settings.teacher_batches is not None:
            self._kept[number] = z, wanted
        return condition, level, z, wanted

    @torch.no_grad()
    def _teach_path(self, number: int, step: int) -> tuple[Any, NoiseLevel, Tensor, Tensor]:
        """The same of one step of the student along a path of the teacher's.

        What it is to predict there is the clean sample from which one step of DDIM leads to where
        the path is at the next level (Salimans and Ho 2022, appendix G).
        """
        lesson, settings = self.lesson, self.settings
        generator = noise_generator(settings.seed, number, _STUDENT)
        condition = lesson.draw(settings.batch_size, generator)
        levels = [*lesson.levels, CLEAN]
        if number not in self._kept:
            teacher, places = lesson.teacher(condition), [self._normal(generator)]
            for here, to in pairwise(levels):
                places.append(_walk(teacher, places[-1], self._teachers_levels(here, to)))
            if settings.teacher_batches is None:
                self._kept.clear()
            self._kept[number] = tuple(places)
        path = self._kept[number]
        place = self._some_steps(noise_generator(settings.seed, step, _STUDENT, 1)) - 1
        here, to, z = levels[place], levels[place + 1], path[place]
        kept = to.sigma / here.sigma
        gained = to.alpha - kept * here.alpha
        return condition, here, z, (path[place + 1] - kept.to(z) * z) / gained.to(z)

    def _teachers_levels(self, begin: NoiseLevel, end: NoiseLevel = CLEAN) -> list[NoiseLevel]:
        """Of the teacher's steps from one level to another."""
        between = [
            level
            for level in level_path(self.lesson.schedule, self.settings.teacher_steps)
            if begin.log_snr + LOG_SNR_ROUNDING < level.log_snr < end.log_snr - LOG_SNR_ROUNDING
        ]
        return [begin, *between, end]

    def _update_fake(self, generator: torch.Generator) -> float:
        condition = self.lesson.draw(self.settings.batch_size, generator)
        with torch.no_grad():
            x = self._samples(condition, self._some_steps(generator), generator)
        z, level, eps = self._noised(x, generator)
        loss = (self.lesson.fake(condition)(z, level).eps - eps).square().mean()
        self._descend(1, loss, self.settings.fake_learning_rate)
        return loss.item()

    def _update_student(self, step: int) -> tuple[float, float]:
        settings, lesson = self.settings, self.lesson
        generator = noise_generator(settings.seed, step, _STUDENT)
        condition = lesson.draw(settings.batch_size, generator)
        x = self._samples(condition, self._some_steps(generator), generator)
        with torch.no_grad():
            z, level, _ = self._noised(x, generator)
            real = lesson.teacher(condition)(z, level).x0
            fake = lesson.fake(condition)(z, level).x0
            gradient = reverse_kl_gradient(x, real, fake)
            spread = float(x.std(0).mean()) / lesson.spread
        self._descend(0, (x * gradient).sum() / len(x) / math.prod(lesson.shape), self._rate(step))
        self._average(step)
        return float((fake - real).square().mean().sqrt()), spread

    def _average(self, step: int) -> None:
        decay = min(self.settings.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(self.average, list(self.student.parameters()), 1 - decay)

    def _some_steps(self, generator: torch.Generator) -> int:
        """How many of its steps the student takes; both networks learn from all of them."""
        return 1 + int(torch.randint(len(self.lesson.levels), (), generator=generator))

    def _samples(
        self, condition: Any, steps: int, generator: torch.Generator
    ) -> Float[Tensor, "batch *shape"]:
        noises = [self._normal(generator) for _ in range(steps)]
        return generate(self.lesson.student(condition), noises, self.lesson.levels[:steps])

    def _noised(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, NoiseLevel, Tensor]:
        """Each sample at a level of its own."""
        low, high = self.settings.low, self.settings.high
        fractions = low + (high - low) * torch.rand(len(x), generator=generator)
        level = self.lesson.schedule.at_fraction(fractions)
        eps = self._normal(generator)
        return level.add_noise(x.detach(), eps), level, eps

    def _normal(self, generator: torch.Generator) -> Tensor:
        shape = (self.settings.batch_size, *self.lesson.shape)
        return torch.randn(shape, generator=generator).to(self.device)

    def _rate(self, step: int) -> float:
        """The student's learning rate: a short warm-up, then a cosine."""
        done = step / self.settings.updates
        warm = min(1.0, (1 + step) / _WARM_UP)
        return self.settings.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))

    def _descend(self, which: int, loss: Tensor, rate: float) -> None:
        optimizer, network = self._optimizers[which], (self.student, self.fake)[which]
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()

    def load_average(self) -> None:
        """Gives the student the moving average of its weights; training is over then."""
        with torch.no_grad():
            for weight, average in zip(self.student.parameters(), self.average, strict=True):
                weight.copy_(average)
        self.student.requires_grad_(False)

    @torch.no_grad()
    def preview(self, step: int) -> Float[Tensor, "3 height width"] | None:
        """Samples of the student under conditions that are always the same."""
        if self.lesson.show is None:
            return None
        generator = noise_generator(self.settings.seed, 0, 2)
        levels = self.lesson.levels
        condition = self.lesson.draw(self.settings.batch_size, generator)
        if self.settings.sampler == "ddim":
            student = self.lesson.student(condition)
            return self.lesson.show(_walk(student, self._normal(generator), [*levels, CLEAN]))
        return self.lesson.show(self._samples(condition, len(levels), generator))

    def state(self) -> dict[str, Any]:
        """Both networks, both optimisers, the average."""
        return {
            "student": self.student.state_dict(),
            "fake": self.fake.state_dict(),
            "average": self.average,
            "optimizers": [one.state_dict() for one in self._optimizers],
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Inverse of `state`."""
        self.student.load_state_dict(state["student"])
        self.fake.load_state_dict(state["fake"])
        with torch.no_grad():
            for mine, theirs in zip(self.average, state["average"], strict=True):
                mine.copy_(theirs)
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)


def _walk(
    denoiser: Denoiser, z: Float[Tensor, "batch *shape"], levels: Sequence[NoiseLevel]
) -> Float[Tensor, "batch *shape"]:
    """Where DDIM leads from z at the first level to the last."""
    for here, to in pairwise(levels):
        z = ddim_step(denoiser(z, here), to)
    return z
