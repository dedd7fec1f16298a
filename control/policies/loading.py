"""Policies from their folders, whatever kind they are."""

import json
import os
from pathlib import Path

from scorefield.control.data.spaces import PolicySpaces
from scorefield.control.policies.chunk_policy import ChunkPolicy
from scorefield.control.policies.diffusion_policy import DiffusionPolicy


def load_policy(
    folder: str | os.PathLike[str], spaces: PolicySpaces | None = None
) -> ChunkPolicy | DiffusionPolicy:
    """The policy that was saved in a folder, frozen.

    Args:
        folder: what `save` wrote.
        spaces: of the environment that it is for; None: not checked.

    Raises:
        ValueError: a file is missing or damaged, or the policy is for other spaces; both are shown.
    """
    path = Path(folder) / "policy.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{folder} cannot be read as a policy ({type(error).__name__}: {error})"
        ) from error
    if isinstance(config, dict) and "diffusion" in config:
        return DiffusionPolicy.load(folder, spaces)
    policy = ChunkPolicy.load(folder)
    if spaces is not None:
        policy.spaces.check(spaces)
    return policy
