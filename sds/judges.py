"""What says whether an image shows a prompt: the embedded judge, or CLIP."""

import colorsys
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.hub import hub_file
from scorefield.integrity import check_finite_weights, check_seal
from scorefield.priors.prior import ImagePrior
from scorefield.world import CATEGORIES, COLORS, FRONTED
from scorefield.world.judge import Judge

__all__ = ["ClipJudge", "ClipRank", "Looks", "PromptJudge", "WorldJudge", "parse_prompt"]


@dataclass(frozen=True)
class Looks:
    """What a judge makes of images of one prompt: one entry per image.

    retrieved: the image leads back to the prompt.
    category: the prompt's category is seen; None: the judge knows no categories.
    color: the prompt's colour is seen; None: the prompt names none, or the judge knows none.
    front: the image looks like a front view; None: nothing with a front is judged.
    """

    retrieved: list[bool]
    category: list[bool] | None = None
    color: list[bool] | None = None
    front: list[bool] | None = None


@runtime_checkable
class PromptJudge(Protocol):
    """What says whether images show a prompt."""

    name: str

    def check(self, prompt: str) -> None:
        """Raise ValueError for a prompt that cannot be judged."""

    def paint(self, prompt: str) -> tuple[float, float, float]:
        """The one colour, RGB in [0, 1], that bare geometry is shown in."""
        ...

    def look(self, images: Float[Tensor, "b 3 h w"], prompt: str) -> Looks:
        """Judge images in [0, 1]."""
        ...


def parse_prompt(prompt: str) -> tuple[str, str | None]:
    """The world's category and colour (None if not named) in a prompt.

    Raises:
        ValueError: no category, several, or several colours.
    """
    words = prompt.lower().replace(",", " ").split()
    categories = [word for word in CATEGORIES if word in words]
    colors = [word for word in COLORS if word in words]
    if len(categories) != 1 or len(colors) > 1:
        raise ValueError(
            f"{prompt!r} cannot be judged: it must name one category of {', '.join(CATEGORIES)} "
            f"and at most one colour of {', '.join(COLORS)}; reword it, or judge by images of "
            "your own labels (--labels) or with CLIP (--clip-model)"
        )
    return categories[0], colors[0] if colors else None


class WorldJudge:
    """The embedded judge: an image leads back to its prompt by category and, if named, colour."""

    name = "embedded judge"

    def __init__(self, judge: Judge) -> None:
        self.judge = judge

    def check(self, prompt: str) -> None:
        """Raise ValueError unless the prompt names one category of the world."""
        parse_prompt(prompt)

    def paint(self, prompt: str) -> tuple[float, float, float]:
        """The prompt's colour, red without one: the world has no white objects to compare with."""
        hue, saturation, value = COLORS[parse_prompt(prompt)[1] or "red"]
        return colorsys.hsv_to_rgb(hue / 360, saturation, value)

    def look(self, images: Float[Tensor, "b 3 h w"], prompt: str) -> Looks:
        """Category, colour and, where the object has a front, view."""
        category, color = parse_prompt(prompt)
        verdict = self.judge(images)
        categories = [name == category for name in verdict.categories]
        colors = [name == color for name in verdict.colors] if color else None
        return Looks(
            retrieved=[a and b for a, b in zip(categories, colors or categories, strict=True)],
            category=categories,
            color=colors,
            front=[v == "front view" for v in verdict.views] if category in FRONTED else None,
        )


class ClipJudge:
    """CLIP R-Precision: of all prompts of a list, the image is most similar to its own.

    model, processor: transformers' CLIPModel and CLIPProcessor.
    prompts: the list, the judged prompts among them.
    """

    def __init__(
        self, model: Any, processor: Any, prompts: Sequence[str], name: str = "CLIP"
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.processor = processor
        self.prompts = list(dict.fromkeys(prompts))
        self.name = name

    @classmethod
    def load(cls, source: str | os.PathLike[str], prompts: Sequence[str]) -> "ClipJudge":
        """CLIP from a folder, or from the hub by id: the only case in which anything is fetched.

        Raises:
            ValueError: it cannot be loaded; one line that says why.
        """
        from transformers import CLIPModel, CLIPProcessor

        source = os.fspath(source)
        local = Path(source).is_dir()
        if local:
            check_seal(source)
        try:
            if not local:
                hub_file(source, "config.json")  # at most seconds without a hub
            model, found = CLIPModel.from_pretrained(
                source, local_files_only=local, use_safetensors=True, output_loading_info=True
            )
            if missing := sorted(found["missing_keys"]):
                raise ValueError(f"its weights lack {missing[0]}")
            processor = CLIPProcessor.from_pretrained(source, local_files_only=local)
        except Exception as error:  # a damaged file may raise anything
            reason = (str(error).strip() or repr(error)).splitlines()[0]
            raise ValueError(
                f"{source}: no CLIP could be loaded ({reason}); give a folder with safetensors "
                "weights or a hub id such as openai/clip-vit-base-patch32"
            ) from error
        check_finite_weights(model.state_dict(), source)
        return cls(model, processor, prompts, name=f"CLIP {Path(source).name}")

    def check(self, prompt: str) -> None:
        """Raise ValueError unless the prompt is one of the list."""
        if prompt not in self.prompts:
            raise ValueError(
                f"{prompt!r} is not among the {len(self.prompts)} prompts it would be ranked "
                "against; make the judge with all prompts"
            )

    def paint(self, prompt: str) -> tuple[float, float, float]:
        """White, as DreamFusion."""
        return (1.0, 1.0, 1.0)

    def look(self, images: Float[Tensor, "b 3 h w"], prompt: str) -> Looks:
        """Rank the list of prompts for every image."""
        self.check(prompt)
        own = self.prompts.index(prompt)
        return Looks([first == own for first in self.similarity(images).argmax(1).tolist()])

    @torch.no_grad()
    def similarity(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b prompts"]:
        """CLIP's logits of every image in [0, 1] and every prompt of the list."""
        pixels = (images.detach().float().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
        inputs = self.processor(
            text=self.prompts,
            images=list(pixels.permute(0, 2, 3, 1).numpy()),
            padding=True,
            truncation=True,
            return_tensors="pt",
        )
        logits: Tensor = self.model(**inputs.to(self.model.device)).logits_per_image
        return logits.float().cpu()


@dataclass(frozen=True)
class ClipRank:
    """How well images fit a prompt, by CLIP: chooses the sample that a drawing is traced from.

    source: a folder, or a hub id: the only case in which anything is fetched.
    """

    source: str

    def __call__(
        self, prior: ImagePrior, prompt: str, images: Float[Tensor, "n 3 h w"], seed: int
    ) -> Float[Tensor, " n"]:
        """CLIP's logits; the prior and the seed are of no matter."""
        return ClipJudge.load(self.source, [prompt]).similarity(images)[:, 0]
