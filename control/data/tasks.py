"""What a demonstration was told to do: the text of its task, as numbers of the state.

Every distinct text is a number of the state, 1 where it is the task and 0 elsewhere, so that the
first layer of a policy learns an embedding per text. Nothing is known of texts that no
demonstration had.
"""

import difflib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from scorefield.control.data.episodes import Episodes


def with_tasks(
    episodes: Episodes, texts: Sequence[str], known: Sequence[str] | None = None
) -> tuple[Episodes, tuple[str, ...]]:
    """Episodes whose states end in their tasks, and the distinct texts in the order of the numbers.

    Args:
        episodes: of any kind.
        texts: the task of each.
        known: the tasks of a policy that has some, `policy.spaces.tasks`; None: those of the texts.

    Raises:
        ValueError: there are not as many texts as episodes, one is empty, or not known.
    """
    if len(texts) != len(episodes):
        raise ValueError(f"there are {len(texts)} task texts for {len(episodes)} episodes")
    if any(not text.strip() for text in texts):
        empty = next(number for number, text in enumerate(texts) if not text.strip())
        raise ValueError(f"the task of episode {empty} is an empty text; leave the episode out")
    tasks = tuple(sorted(set(texts)) if known is None else known)
    lengths = torch.from_numpy(episodes.ends - episodes.begins)
    numbers = {text: task_numbers(text, tasks) for text in set(texts)}
    told = torch.stack([numbers[text] for text in texts]).repeat_interleave(lengths, 0)
    arrays = {
        "state": np.concatenate([episodes.state, told.numpy()], axis=1),
        "action": episodes.action,
        **{f"camera.{name}": array for name, array in episodes.cameras.items()},
    }
    return Episodes(arrays, episodes.ends.tolist(), episodes.rate, episodes.keys), tasks


def task_numbers(text: str, tasks: Sequence[str]) -> Tensor:
    """What a state ends in for a task, (K,).

    Raises:
        ValueError: no demonstration had this text; the nearest are named.
    """
    if text not in tasks:
        near = difflib.get_close_matches(text, tasks, n=3, cutoff=0.0)
        raise ValueError(
            f"the policy knows no task {text!r}; the nearest of its {len(tasks)} are "
            f"{', '.join(map(repr, near))}"
        )
    return torch.tensor([float(text == known) for known in tasks])
