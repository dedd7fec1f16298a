"""The recipe of the prior `objects`: views of real things, from cameras that it is told."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from scorefield.cameras import Cameras
from scorefield.files import whole_file, whole_folder
from scorefield.runs.distributed import DistributedContext
from scorefield.training.diffusion import Curriculum
from scorefield.training.folder import words_of
from scorefield.training.furniture.catalogue import (
    COMMON,
    SOURCES,
    FurnitureModel,
    fetch_furniture,
    read_catalogue,
)
from scorefield.training.furniture.models import load_model
from scorefield.training.furniture.nouns import FRONTED
from scorefield.training.furniture.views import (
    COLORS,
    Renderer,
    ViewSettings,
    check_embree,
    draw_view,
)
from scorefield.training.pictures import train_views
from scorefield.training.recipes import (
    OBJECT_VIEWS,
    OBJECTS_CODEC,
    OBJECTS_CURRICULUM,
    OBJECTS_DENOISER,
    OBJECTS_LOW_NOISE,
    OTHER_OBJECT_VIEWS,
    PictureSettings,
)
from scorefield.training.settings import TrainingSettings
from scorefield.views import CameraRanges, camera_vector

__all__ = ["GUIDANCE_SCALE", "caption_of", "render_held_out", "train_objects"]

GUIDANCE_SCALE = 3.5
"""Default guidance of the prior."""

SIZE = 64
"""Side of the pictures, pixels."""

_JUDGED_VIEWS = 16  # of each model that is held out
_PLURALS = ("us", "ss")  # endings of words that are one thing although they end in s


def train_objects(
    out: Path,
    *,
    views: int = OBJECT_VIEWS,
    other_views: int = OTHER_OBJECT_VIEWS,
    package: Path | None = None,
    pictures: PictureSettings | None = None,
    codec: TrainingSettings = OBJECTS_CODEC,
    denoiser: TrainingSettings = OBJECTS_DENOISER,
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Fetch the meshes, render them and train on the views; returns ``out / "objects"``.

    out: holds the meshes, the views, `held-out` (pictures of the models that are kept apart, in
        folders by noun), the runs and at last the prior. An interrupted training goes on with
        `resume`.
    views: of each thing whose noun has `COMMON` models or more.
    other_views: of each of the others; 0 leaves them out.
    package: Debian's package of the meshes, where it is there already.
    pictures, codec, denoiser: as `train_views` takes them.

    Raises:
        ValueError: the package cannot be had, embreex is missing, or `out` holds another training.
    """
    check_embree()
    with DistributedContext(codec.device).first_ahead():
        models = read_catalogue(fetch_furniture(out, package))
        render_held_out(models, out / "held-out", progress=progress)
        content, captions = _training_views(
            models, (views, other_views), denoiser.seed, out, progress
        )
    nouns = common_nouns(models)
    return train_views(
        content["views"],
        captions,
        out,
        name="objects",
        prompts=[_with_article(noun) for noun in nouns],
        words=words_of([*captions, *COLORS]),
        pictures=pictures or PictureSettings(start="icons"),
        codec=codec,
        denoiser=denoiser,
        card=object_card(models, content["cameras"]),
        cameras=content["cameras"],
        low_noise=OBJECTS_LOW_NOISE,
        curriculum=_curriculum(models, content["model"], content["plain"]),
        guidance_scale=GUIDANCE_SCALE,
        resume=resume,
        progress=progress,
    )


def common_nouns(models: Sequence[FurnitureModel]) -> list[str]:
    """Nouns of which models are held out, the commonest first."""
    counts = Counter(model.noun for model in models)
    return [noun for noun, count in counts.most_common() if count >= COMMON]


def object_card(models: Sequence[FurnitureModel], cameras: Tensor) -> Mapping[str, Any]:
    """What the prior's `scorefield.json` says beside its vocabulary."""
    ranges = CameraRanges.of_vectors(cameras)
    creators = sorted({m.creator for m in models if m.source == "BlendSwap-CC-BY"})
    return {
        "templates": ["a {}", "a red {}", "a {}, white background"],
        "cameras": asdict(ranges),
        "concepts": common_nouns(models),
        "sources": [
            {"file": name, "licence": source.licence, "credit": source.credit}
            for name, source in SOURCES.items()
        ],
        "creators": creators,
    }


def caption_of(rng: np.random.Generator, model: FurnitureModel, view: ViewSettings) -> str:
    """What is said of a view: the thing, often by its full name, and its paint.

    The colour is said where the thing was painted in it, since only then it is known. The side that
    is seen is not said: the camera tells it, and a word for it would be all that is heeded.
    """
    name = model.name if rng.random() < 0.3 else model.noun
    caption = _with_article(name if view.color is None else f"{view.color} {name}")
    if view.white and rng.random() < 0.5:
        caption += ", white background"
    return caption


def _with_article(name: str) -> str:
    if name.endswith("s") and not name.endswith(_PLURALS):
        return name
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _training_views(
    models: Sequence[FurnitureModel], views: tuple[int, int], seed: int, out: Path, progress: bool
) -> tuple[dict[str, Tensor], list[str]]:
    """Views of the models for training and their captions, rendered once.

    With the "views" (n, size, size, 3) come the "cameras" (n, 7), the number of the "model" and
    whether it is "plain", as at least every other one is.

    views: of each model of a common noun, and of each other.
    """
    path, told = out / "views.safetensors", out / "captions.txt"
    if not path.exists():
        counts = Counter(model.noun for model in models)
        images, captions, cameras, shown, plain = [], [], [], [], []
        for number, model in enumerate(
            tqdm(models, desc="rendering things", unit="thing", disable=not progress)
        ):
            count = views[counts[model.noun] < COMMON]
            if model.held_out or not count:
                continue
            renderer = Renderer(load_model(model))
            rng = np.random.default_rng([seed, number])
            for i in range(count):
                view = draw_view(rng, plain=i % 2 == 0)
                images.append(_bytes(renderer.render(view, SIZE)))
                captions.append(caption_of(rng, model, view))
                cameras.append((view.azimuth, view.elevation, view.distance))
                shown.append(number)
                plain.append(view.plain)
        azimuth, elevation, distance = zip(*cameras, strict=True)
        told.write_text("\n".join(captions) + "\n", "utf-8")
        content = {
            "views": torch.from_numpy(np.stack(images)),
            "cameras": camera_vector(Cameras.at(azimuth, elevation, distance)),
            "model": torch.tensor(shown),
            "plain": torch.tensor(plain),
        }
        with whole_file(path) as part:
            save_file(content, part)
    content = load_file(path)
    if "plain" not in content:
        raise ValueError(f"{path}: is of an earlier version; remove it, and it is rendered again")
    return content, told.read_text("utf-8").split("\n")[:-1]


def _curriculum(
    models: Sequence[FurnitureModel], shown: Int[Tensor, " n"], plain: Bool[Tensor, " n"]
) -> Curriculum:
    """What the training begins with, as far as there is any.

    shown: the number of the model of each view.
    """
    fronted = torch.tensor([models[number].noun in FRONTED for number in shown.tolist()])
    parts = zip(OBJECTS_CURRICULUM, (plain & fronted, plain), strict=True)
    return [(until, chosen) for until, chosen in parts if chosen.any()]


def render_held_out(
    models: Sequence[FurnitureModel], folder: Path, *, progress: bool = True
) -> Path:
    """Pictures of the models that are kept apart, in folders by noun, for judges."""
    if folder.is_dir():
        return folder
    held_out = [(number, model) for number, model in enumerate(models) if model.held_out]
    with whole_folder(folder) as part:
        for number, model in tqdm(held_out, desc="rendering for judges", disable=not progress):
            renderer = Renderer(load_model(model))
            rng = np.random.default_rng([number])
            target = part / model.noun.replace(" ", "_")
            target.mkdir(exist_ok=True)
            for i in range(_JUDGED_VIEWS):
                image = _bytes(renderer.render(draw_view(rng), SIZE))
                Image.fromarray(image).save(target / f"{number:03d}-{i:02d}.png")
    return folder


def _bytes(image: Float[np.ndarray, "size size 3"]) -> UInt8[np.ndarray, "size size 3"]:
    return (image * 255).round().astype(np.uint8)
