"""`scorefield train-prior`: the embedded networks, from nothing."""

from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path

from scorefield.cli.loading import DTYPES, device_of
from scorefield.cli.verb import Outcome, Verb, check_at_least, check_folder
from scorefield.priors.training.shapes import CODEC, DIFFUSION, JUDGE, train_judge, train_shapes
from scorefield.priors.training.task import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class _Training(Verb):
    out: Path
    """Folder of the training, new or empty; it holds the pictures, runs and results."""
    resume: bool = False
    """Go on with the training in --out; without one there, begin."""

    def adjusted(self, settings: TrainingSettings, steps: int) -> TrainingSettings:
        """The recipe's settings with what the options say."""
        device, dtype = str(device_of(self)), DTYPES[self.dtype]
        return replace(settings, steps=steps, seed=self.seed, device=device, dtype=dtype)


@dataclass(frozen=True, kw_only=True)
class TrainShapes(_Training):
    """Train the embedded text-to-image prior: renders the world, then codec, then denoiser.

    The finished pipeline is in OUT/shapes, in diffusers' format. The defaults are the recipe of
    the prior that ships.
    """

    steps: int = DIFFUSION.steps
    """Of the denoiser."""
    codec_steps: int = CODEC.steps
    """Of the codec."""
    pictures: int = signature(train_shapes).parameters["pictures"].default
    """Size of the training set."""

    def run(self) -> Outcome:
        """Train."""
        check_at_least(1, steps=self.steps, codec_steps=self.codec_steps, pictures=self.pictures)
        check_folder(self.out, self.resume)
        path = train_shapes(
            self.out,
            pictures=self.pictures,
            codec=self.adjusted(CODEC, self.codec_steps),
            diffusion=self.adjusted(DIFFUSION, self.steps),
            resume=self.resume,
            progress=not self.quiet,
        )
        figures = {"out": str(path), "steps": self.steps, "seed": self.seed}
        return Outcome(figures, [f"wrote {path}; use it with --prior {path}"])


@dataclass(frozen=True, kw_only=True)
class TrainJudge(_Training):
    """Train the judge: a classifier of the world's pictures that has seen no other network's."""

    steps: int = JUDGE.steps
    """Of the training."""
    pictures: int = signature(train_judge).parameters["pictures"].default
    """Size of the training set."""

    def run(self) -> Outcome:
        """Train."""
        check_at_least(1, steps=self.steps, pictures=self.pictures)
        check_folder(self.out, self.resume)
        path = train_judge(
            self.out,
            pictures=self.pictures,
            settings=self.adjusted(JUDGE, self.steps),
            resume=self.resume,
            progress=not self.quiet,
        )
        figures = {"out": str(path), "steps": self.steps, "seed": self.seed}
        return Outcome(figures, [f"wrote {path}; use it with --judge {path}"])
