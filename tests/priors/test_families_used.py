"""What docs/stable-diffusion.md says each family of images can be used for."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_models import SIZES, TINY

from scorefield.perception.correspondence.dift import features
from scorefield.priors.loading import load_prior
from scorefield.sds.edit import EditSettings, Method, edit
from scorefield.sds.objective import distill

Tiny = Callable[[str], Path]
VIDEOS = ("clip", "text-to-video", "animate-diff", "wan", "wan-two-experts", "wan-per-token",
          "cog-video-x", "ltx")  # fmt: skip
PROMPTS = {"ddpm": "", "ddpm-classes": "star", "dit": "goldfish"}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TINY if name not in VIDEOS])
def test_images_have_features_are_edited_and_distil(tiny: Tiny, name: str) -> None:
    prior = load_prior(tiny(name), **SIZES.get(name, {}))
    prompt = PROMPTS.get(name, "a red cup")
    images = torch.rand(1, 3, prior.image_size, prior.image_size,
                        generator=torch.Generator().manual_seed(0))  # fmt: skip
    maps = features(prior, images, prompt)
    assert len(maps) == 1 and maps.ndim == 4
    assert float(maps.std()) > 0

    leaf = images.clone().requires_grad_()
    z = prior.encode(leaf)
    level = prior.schedule.at_fraction(torch.tensor(0.5))
    distill(prior.guided(prompt, 1.0), z, level, torch.zeros_like(z)).loss.backward()
    assert leaf.grad is not None and bool(leaf.grad.isfinite().all()) and bool(leaf.grad.any())

    if name in PROMPTS:
        return
    methods: list[Method] = ["sdedit", "inversion", "inpaint", "dds", "pds"]
    if name in ("sd", "sdxl"):
        methods.append("prompt-to-prompt")
    for method in methods:
        source = None if method in ("sdedit", "inpaint") else "a cup"
        mask = torch.ones_like(images) if method == "inpaint" else None
        settings = EditSettings(method, steps=2)
        edited = edit(prior, images, prompt, source=source, mask=mask, settings=settings)
        assert edited.shape == images.shape and bool(edited.isfinite().all())
    if "prompt-to-prompt" not in methods:
        with pytest.raises(ValueError, match="has no UNet2DConditionModel of cross-attention"):
            settings = EditSettings("prompt-to-prompt", steps=2)
            edit(prior, images, prompt, source="a cup", settings=settings)
