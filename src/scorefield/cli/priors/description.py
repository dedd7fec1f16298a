"""What `scorefield info` says of a prior's use: how it is sampled and distilled, and its memory."""

from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

from torch import nn

from scorefield.cli.command import Outcome
from scorefield.priors.codec import TILE, LatentCodec
from scorefield.priors.codec_memory import codec_memory
from scorefield.priors.families.classes import LabelConditioner, NoPrompts
from scorefield.priors.families.stable_video import ImageConditioner
from scorefield.priors.features.memory import memory_estimate, weights_memory
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.text import (
    ClipTextConditioner,
    Conditioner,
    PipelineConditioner,
    PromptConditioner,
)
from scorefield.sds.nerf import presets as scenes
from scorefield.sds.presets import Preset, kind_of, presets_of
from scorefield.sds.svg import presets as drawings
from scorefield.views import VIEWS

GIB = 2**30


def describe(prior: FrozenPrior, prompt: str | None) -> Outcome:
    """Scale, steps, precision, memory and presets of a prior, as metrics and as lines."""
    kind = kind_of(prior)
    made = {} if prior.is_video else {"scene": scenes.PRESETS, "drawing": drawings.PRESETS}
    presets = {
        generator: [one.fitted(prior) for one in presets_of(kind, found)]
        for generator, found in made.items()
    }
    memory = memory_of(prior, prompt)
    said = prompts_of(prior)
    metrics = {
        "kind": kind,
        **said.metrics,
        "dtype": str(prior.dtype).removeprefix("torch."),
        "guidance_scale": prior.guidance_scale,
        "steps": prior.steps,
        "memory_bytes": memory,
        "presets": {g: [one.name for one in found] for g, found in presets.items()},
    }
    lines = [
        f"sampled in {prior.steps} steps at guidance scale {prior.guidance_scale:g}",
        *said.lines,
        f"memory in {metrics['dtype']}: "
        + ", ".join(f"{name} {size / GIB:.2g} GiB" for name, size in memory.items()),
    ]
    for generator, found in presets.items():
        lines += ["", *_shown(generator, found)]
    return Outcome(metrics, lines)


def prompts_of(prior: FrozenPrior) -> Outcome:
    """What a prior can be told: words, classes or nothing, views, and prompts to begin with."""
    text = prior.text
    words = getattr(text, "vocabulary", None)
    labels = list(text.names) if isinstance(text, LabelConditioner) else None
    known = sorted(words or ()) if labels is None else labels
    kind = "text"
    line = f"prompts: any text{_limit(text)}"
    if labels is not None:
        kind = "classes"
        line = f"prompts: one of {len(known)} classes ({_some(known)})"
    elif words is not None:
        kind = "vocabulary"
        line = f"prompts: {len(known)} words ({_some(known)})"
    elif isinstance(text, ImageConditioner):
        kind, line = "images", "prompts: paths of images, each of which a video is made of"
    elif isinstance(text, NoPrompts):
        kind, line = "none", "prompts: none, it is unconditional"
    views = [view for view in VIEWS if words is None or set(view.split()) <= words]
    if kind not in ("text", "vocabulary"):
        views = []
    lines = [line]
    if views or prior.cameras is None:
        lines.append(f"views: {', '.join(views) or 'it has no words for them'}")
    cameras = None if prior.cameras is None else asdict(prior.cameras)
    if cameras is not None:
        ranges = (f"{name} {low:g} to {high:g}" for name, (low, high) in cameras.items())
        lines.append(f"cameras: any azimuth, {', '.join(ranges)}")
    if prior.templates:
        lines.append(f"such as: {'; '.join(prior.templates)}")
    if prior.concepts:
        lines.append(f"{len(prior.concepts)} things: {', '.join(prior.concepts)}")
    return Outcome(
        {
            "prompts": kind,
            "words": known,
            "views": views,
            "cameras": cameras,
            "templates": list(prior.templates),
            "concepts": list(prior.concepts),
        },
        lines,
    )


def _limit(text: Conditioner) -> str:
    if isinstance(text, PipelineConditioner):
        return f" of up to {text.limit} tokens"
    if isinstance(text, ClipTextConditioner):
        return f" of up to {text.tokenizer.model_max_length} tokens"
    return ""


def _some(words: Sequence[str], all_of: int = 48, most: int = 8) -> str:
    """All of a few words, and the first ones of many."""
    if len(words) <= all_of:
        return ", ".join(words)
    return ", ".join(words[:most]) + ", ..."


def memory_of(prior: FrozenPrior, prompt: str | None) -> dict[str, int]:
    """Bytes by what needs them, on the safe side: weights, and what a row or an image adds.

    A row is one image under one prompt through the network; guidance makes two of an image.
    """
    found = {"network": weights_memory(prior.network)}
    if isinstance(prior.text, PromptConditioner):
        found["text encoders"] = sum(map(weights_memory, prior.text.modules()))
    vae = getattr(prior.codec, "vae", None)
    if isinstance(vae, nn.Module):
        found["codec"] = weights_memory(vae)
    needed = memory_estimate(prior, prompt=prompt)
    found["a row of the network"] = needed.row
    if needed.codec:
        found["an image decoded"] = needed.codec
        if isinstance(prior.codec, LatentCodec) and prior.image_size > TILE:
            frames = prior.frames or 1
            found["in tiles"] = int(codec_memory(prior.codec, TILE, frames))
    return found


def _shown(generator: str, presets: list[Preset]) -> list[str]:
    """The preset that is chosen, with its values, and the names of the others."""
    command = {"scene": "text-to-3d", "drawing": "text-to-svg"}[generator]
    if not presets:
        return [f"{command}: no preset"]
    chosen, *others = presets
    lines = [f"{command}: preset {chosen.name} ({chosen.source})"]
    values = {"objective": chosen.objective, **chosen.values}
    lines += [f"  {name}: {_value(value)}" for name, value in values.items()]
    if others:
        lines.append(f"  others, by --preset: {', '.join(one.name for one in others)}")
    return lines


def _value(value: Any) -> str:
    if is_dataclass(value) and not isinstance(value, type):
        return ", ".join(f"{name} {one}" for name, one in asdict(value).items())
    return f"{value:g}" if isinstance(value, float) else str(value)
