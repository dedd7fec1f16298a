"""What is set when a sampler is distilled. The command line shows it without loading torch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from scorefield.domains import Count, Domain, Positive, Share, Whole, check_numbers


@dataclass(frozen=True)
class StudentSettings:
    """How a student of few steps is trained.

    steps: denoiser evaluations of the finished student per sample.
    sampler: how the student goes from step to step. ddim: along the teacher's path, each step its
        part, by regression alone (Salimans and Ho 2022). renoised: its sample is noised anew (Song
        et al. 2023).
    updates: number of updates of the student.
    regression_updates: how many of them, the first, let the student imitate the teacher's sample
        from the same noise (Luhman and Luhman 2021), before it follows the divergence: alone, or
        as DMD's start where the teacher's own weights are none for so few steps; None is all.
    teacher_steps: DDIM steps of the teacher's samples that are imitated; at most its own, where it
        is a student itself and takes 8 or fewer.
    teacher_batches: how many batches of those are made, which are imitated in turn, again and
        again; None is a new one for each update.
    fake_updates: updates of the network that follows the student's own score, for each update of
        the student; with too few it lags, and the student leaves the data (Yin et al. 2024, DMD2,
        take 5).
    batch_size: samples per update.
    learning_rate: peak learning rate of the student; it falls along a cosine.
    fake_learning_rate: learning rate of the network that follows the student's score.
    low: lowest noise level at which samples are scored, as a fraction of the schedule.
    high: highest noise level at which samples are scored, as a fraction of the schedule.
    ema: decay of the moving average of the student's weights, which is what is kept.
    least_spread: training ends when samples of one batch differ by less than this share of what the
        teacher's differ.
    seed: of all random numbers.
    """

    steps: Annotated[int, Domain(1.0, 8.0)] = 4
    sampler: Literal["renoised", "ddim"] = "ddim"
    updates: Count = 500
    regression_updates: Whole | None = None
    teacher_steps: Count = 12
    teacher_batches: Count | None = 60
    fake_updates: Count = 5
    batch_size: Count = 16
    learning_rate: Positive = 2e-4
    fake_learning_rate: Positive = 2e-4
    low: Share = 0.02
    high: Share = 0.98
    ema: Share = 0.98
    least_spread: Share = 0.3
    seed: Whole = 0

    def __post_init__(self) -> None:
        check_numbers(self)
        if self.imitated > self.updates:
            raise ValueError(
                f"regression_updates are the first of the updates, at most {self.updates}; got "
                f"{self.regression_updates}"
            )
        if self.sampler == "ddim" and self.imitated < self.updates:
            raise ValueError(
                "with sampler ddim all updates are regression, for the divergence is of samples "
                "that are noised anew; leave regression_updates out, or take sampler renoised"
            )
        if not self.low < self.high:
            raise ValueError(f"low must be below high; got {self.low} and {self.high}")

    @property
    def imitated(self) -> int:
        """Number of updates by regression."""
        return self.updates if self.regression_updates is None else self.regression_updates


POLICY_STUDENT = StudentSettings(
    steps=2,
    sampler="renoised",
    updates=2200,
    teacher_steps=10,
    teacher_batches=240,
    fake_updates=3,
    batch_size=256,
    learning_rate=1e-3,
    fake_learning_rate=1e-3,
    ema=0.99,
)
"""What a student of a policy is trained with."""
