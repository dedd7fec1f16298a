"""The recipe of the prior `icons`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scorefield.runs.distributed import DistributedContext
from scorefield.training.icon_concepts import CONCEPTS, TINTED_SETS, TRAINING_SETS, Concept
from scorefield.training.icon_words import related_words
from scorefield.training.icons import render_icons
from scorefield.training.pictures import train_pictures
from scorefield.training.recipes import (
    ICON_CONCEPTS,
    PICTURES_CODEC,
    PICTURES_DENOISER,
    PictureSettings,
)
from scorefield.training.settings import TrainingSettings

__all__ = ["icon_card", "train_icons"]

GUIDANCE_SCALE = 5.0
"""At which the samples are read best: chosen of 2, 3, 5 and 7.5 on a seed of its own."""


def train_icons(
    out: Path,
    *,
    concepts: int = ICON_CONCEPTS,
    pictures: PictureSettings | None = None,
    codec: TrainingSettings = PICTURES_CODEC,
    denoiser: TrainingSettings = PICTURES_DENOISER,
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Fetch and render the icons and train on them; returns ``out / "icons"``.

    out: holds the packages, the pictures, the runs and at last the prior. An interrupted training
        goes on with `resume`.
    concepts: how many to learn to draw, the first of `CONCEPTS`; the others are for the codec.
    pictures, codec, denoiser: as `train_pictures` takes them.

    Raises:
        ValueError: npm or resvg-py is missing, a package cannot be had, or `out` holds another
            training.
    """
    with DistributedContext(codec.device).first_ahead():
        folder, _ = render_icons(
            out / "pictures", out / "packages", CONCEPTS[:concepts], progress=progress
        )
    return train_pictures(
        folder,
        out,
        name="icons",
        pictures=pictures,
        codec=codec,
        denoiser=denoiser,
        card=icon_card(out / "packages", CONCEPTS[:concepts]),
        resume=resume,
        progress=progress,
    )


def icon_card(packages: Path, concepts: Sequence[Concept] = CONCEPTS) -> Mapping[str, Any]:
    """What the prior's `scorefield.json` says beside its vocabulary.

    packages: folder of the packages of npm, which the keywords join.
    """
    synonyms = {word: concept.name for concept in concepts for word in concept.synonyms}
    sources = [
        {"package": one.package, "licence": one.licence, "credit": one.credit}
        for one in (*TRAINING_SETS.values(), *TINTED_SETS.values())
    ]
    return {
        "templates": ["a {}", "a blue {}", "a {}, blue background"],
        "guidance_scale": GUIDANCE_SCALE,
        "synonyms": synonyms,
        "related": related_words(concepts, packages),
        "concepts": [concept.name for concept in concepts],
        "sources": sources,
    }
