"""`scorefield policy collect`: demonstrations of an expert."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from scorefield.cli.command import Command, Failed, Outcome, check_unused, under_way
from scorefield.domains import Count


@dataclass(frozen=True, kw_only=True)
class PolicyCollect(Command):
    """Let an expert demonstrate in an environment, and keep the episodes that succeed.

    Environments: two-routes, avoiding, push-t and metaworld/TASK (such as metaworld/push-v3).
    """

    env: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ENVIRONMENT")]
    """Environment to demonstrate in, such as two-routes; a wrong name lists all."""
    out: Path
    """Folder of the episodes, new or empty."""
    episodes: Count = 100
    """Number of episodes to have in the end."""
    batch: Count = 10
    """Episodes that are collected side by side."""
    images: Count | None = None
    """Side of the images that are kept beside the states, pixels; without it, none are."""
    resume: bool = False
    """Go on with the collection in --out; without one there, begin."""

    def run(self) -> Outcome:
        """Collect."""
        check_unused(self, "policy collect", "device", "dtype")

        from scorefield.cli.policy.environments import demonstration_of
        from scorefield.control.data.episodes import INDEX, Episodes, EpisodeWriter
        from scorefield.control.environments.collection import collect
        from scorefield.control.environments.image_observations import ImageObservationWrapper

        if (self.out / INDEX).exists() and not self.resume:
            raise ValueError(f"{self.out} holds episodes; --resume goes on with them")
        environment, expert = demonstration_of(self.env)
        if self.images is not None:
            environment = ImageObservationWrapper(environment, self.images)
        # opened as `collect` does, for what it refuses is refused before anything is under way
        EpisodeWriter(self.out, {"environment": environment.name, "seed": self.seed})
        with under_way():
            try:
                collect(
                    environment,
                    expert,
                    self.out,
                    self.episodes,
                    seed=self.seed,
                    batch=self.batch,
                    progress=not self.quiet,
                )
            except RuntimeError as error:
                raise Failed(str(error)) from error
            episodes = Episodes.open(self.out)
        steps = int(episodes.ends[-1])
        metrics = {
            "out": str(self.out),
            "environment": environment.name,
            "episodes": len(episodes),
            "steps": steps,
        }
        return Outcome(metrics, [f"wrote {len(episodes)} episodes, {steps} steps, in {self.out}"])
