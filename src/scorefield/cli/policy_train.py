"""`scorefield policy train`: a policy from demonstrations."""

from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from scorefield.cli.environments import environment_of
from scorefield.cli.loading import DTYPES, device_of
from scorefield.cli.verb import (
    Outcome,
    Verb,
    check_at_least,
    check_folder,
    options_of,
    under_way,
)
from scorefield.control.chunk_policy import HEADS, ChunkPolicy, train_chunk_policy
from scorefield.control.episodes import Episodes
from scorefield.control.formats import read_episodes
from scorefield.control.spaces import Horizons
from scorefield.control.trunk import TrunkSettings
from scorefield.control.windows import Windows
from scorefield.priors.training.task import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class _PolicyTrain(Verb):
    demonstrations: Annotated[Path, tyro.conf.Positional]
    """A folder of `policy collect`, a LeRobot v3 folder, a zarr replay buffer or robomimic HDF5."""
    env: str
    """Where it will act: two-routes, avoiding, push-t or metaworld/TASK."""
    out: Path
    """Folder of the training, new or empty."""
    head: Literal[tuple(HEADS)] = "diffusion"  # type: ignore[valid-type]
    """What it predicts: diffusion, or one of the baselines."""
    observed: int = 2
    """Observations it sees, To."""
    executed: int = 8
    """Actions of a plan that are executed, Ta."""
    predicted: int = 9
    """Actions that are predicted, Tp. Episodes end before a plan's end does, unless it is short:
    states in the last Tp - Ta - To + 1 steps of an episode are in no window."""
    steps: int = 3000
    """Updates; the learning rate's cosine ends there."""
    batch_size: int = 256
    """Windows per update."""
    learning_rate: float = 1e-3
    """Peak of AdamW's rate."""
    resume: bool = False
    """Go on with the training in --out; without one there, begin."""

    def run(self) -> Outcome:
        """Train."""
        check_at_least(1, steps=self.steps, batch_size=self.batch_size)
        check_at_least(0, seed=self.seed)
        check_folder(self.out, self.resume)
        horizons = Horizons(self.observed, self.executed, self.predicted)
        environment = environment_of(self.env)
        # A folder of ours is mapped; what is in another format is read.
        episodes = _episodes(self.demonstrations)
        sizes = (episodes.state.shape[1], episodes.action.shape[1])
        expected = (environment.spaces.state, environment.spaces.action)
        if sizes != expected:
            raise ValueError(
                f"{self.demonstrations} has states and actions of {sizes} numbers, {self.env} of "
                f"{expected}; the demonstrations are of another environment"
            )
        windows = Windows(episodes, horizons)
        names = [name for name, _, _ in options_of(TrunkSettings)]
        trunk = TrunkSettings(**{name: getattr(self, name) for name in names})
        policy = ChunkPolicy(HEADS[self.head], environment.spaces, horizons, trunk, seed=self.seed)
        settings = TrainingSettings(
            self.steps,
            self.batch_size,
            self.learning_rate,
            seed=self.seed,
            device=str(device_of(self)),
            dtype=DTYPES[self.dtype],
        )
        with under_way():
            train_chunk_policy(
                policy, windows, settings, self.out, resume=self.resume, progress=not self.quiet
            )
        path = self.out / "policy"
        figures = {"out": str(path), "windows": len(windows), "steps": self.steps}
        return Outcome(figures, [f"wrote {path}; scorefield policy evaluate {path} tries it"])


def _episodes(path: Path) -> Episodes:
    if (path / "episodes.json").is_file():
        return Episodes.open(path)
    return Episodes.of(read_episodes(path))


PolicyTrain = make_dataclass(
    "PolicyTrain", options_of(TrunkSettings), bases=(_PolicyTrain,), frozen=True, kw_only=True
)
PolicyTrain.__doc__ = """Train a policy on demonstrations: diffusion, or a baseline it must beat.

    The finished policy is in OUT/policy, in safetensors and JSON.
    """
