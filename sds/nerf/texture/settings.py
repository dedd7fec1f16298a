"""What is set of texturing. The command line shows it without loading torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from scorefield.domains import Domain
from scorefield.files import parse_json
from scorefield.sds.nerf.settings import ViewedSettings

REFINED = "refined"
"""Folder of the refined files, in the folder of the scene's run."""


@dataclass(frozen=True)
class TextureSettings(ViewedSettings):
    """How a surface is painted: `ViewedSettings`, and what a surface needs besides.

    detail: finest of the colours that are learnt, voxels across the object.
    """

    detail: Annotated[int, Domain(16.0)] = 64


def check_refinement(folder: Path, steps: int) -> None:
    """Refuse now what would be refused when the scene is done: another number of updates.

    folder: of the scene's run; a refinement in it that cannot be read is left to those who run it.
    steps: updates of the refinement.

    Raises:
        ValueError: the refinement there is of another number.
    """
    made = folder / REFINED
    try:
        before = parse_json((made / "config.json").read_text(encoding="utf-8"))["steps"]
    except (OSError, ValueError, LookupError, TypeError):
        return
    if before != steps:
        raise ValueError(
            f"{made} was made with refine = {before}, now refine = {steps}; give {before} again, "
            f"or move {made} away to refine anew"
        )
