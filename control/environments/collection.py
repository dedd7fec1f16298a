"""Demonstrations: an expert acts in an environment, and what it did is kept."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from scorefield.control.data.episode import Episode
from scorefield.control.data.episodes import EpisodeWriter
from scorefield.control.environments.environment import Environment, Expert, Observations


def demonstrate(environment: Environment, expert: Expert, seeds: Sequence[int]) -> list[Episode]:
    """One episode per seed, side by side; those that failed are left out."""
    observations = environment.reset(seeds)
    expert.begin(seeds)
    seen: list[Observations] = []
    done: list[NDArray[Any]] = []
    lengths = np.zeros(len(seeds), dtype=np.int64)
    ended = np.zeros(len(seeds), dtype=bool)
    success = ended.copy()
    while not ended.all():
        actions = np.asarray(expert.act(observations))
        # What exceeds the bounds is cut off by the environment; a policy learns what was done.
        actions = np.clip(actions, environment.spaces.low, environment.spaces.high)
        seen.append(observations)
        done.append(actions)
        lengths += ~ended
        step = environment.step(actions)
        observations, ended, success = step.observations, step.ended, step.success
    return [
        Episode(
            state=np.stack([row["state"][i] for row in seen[: lengths[i]]]),
            action=np.stack([row[i] for row in done[: lengths[i]]]),
            cameras={
                name: np.stack([row[name][i] for row in seen[: lengths[i]]])
                for name in environment.spaces.images
            },
            rate=environment.spaces.rate,
            name=f"{environment.name}, seed {seed}",
            key=seed,
        )
        for i, seed in enumerate(seeds)
        if success[i]
    ]


def collect(
    environment: Environment,
    expert: Expert,
    folder: str | os.PathLike[str],
    episodes: int,
    *,
    seed: int = 0,
    batch: int = 10,
    progress: bool = False,
) -> Path:
    """Writes successful demonstrations to a folder; run again, it goes on where it was.

    The seeds are seed, seed + 1, ... until enough have succeeded, so that the episodes are the same
    whether the collection was interrupted or not.

    Args:
        environment: where the expert acts.
        expert: what demonstrates.
        folder: new, or one that was begun with the same environment and seed.
        episodes: how many to have in the end.
        seed: of the first episode; evaluate on others.
        batch: how many are collected side by side.
        progress: whether to show a progress bar.

    Raises:
        ValueError: the folder holds something else, or a number is out of range.
        RuntimeError: nine of ten attempts fail.
    """
    if episodes < 1 or batch < 1 or seed < 0:
        raise ValueError(
            f"episodes and batch must be at least 1, seed 0 or more; got {episodes}, {batch}, "
            f"{seed}"
        )
    writer = EpisodeWriter(folder, {"environment": environment.name, "seed": seed})
    with tqdm(total=episodes, initial=len(writer), disable=not progress) as bar:
        found = _successes(environment, expert, writer, seed, batch)
        while len(writer) < episodes:
            writer.add(next(found))
            bar.update()
    return Path(folder)


def _successes(
    environment: Environment, expert: Expert, writer: EpisodeWriter, seed: int, batch: int
) -> Iterator[Episode]:
    """The successful episodes that the folder does not hold yet, without end."""
    keys = [key for key in writer.keys if key is not None]
    following = max(keys, default=seed - 1) + 1
    attempts, successes = 0, 0
    while True:
        found = demonstrate(environment, expert, range(following, following + batch))
        following += batch
        attempts, successes = attempts + batch, successes + len(found)
        if attempts >= 10 * batch and successes < attempts / 10:
            raise RuntimeError(
                f"the expert of {environment.name} succeeded in {successes} of {attempts} episodes"
            )
        yield from found
