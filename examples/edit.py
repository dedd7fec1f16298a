"""Change an image in four ways: SDEdit, edit-friendly inversion, prompt-to-prompt, inpainting.

Renders three red things, makes them blue, and draws them in rows: the image, the four edits.

    python examples/edit.py
"""

import torch

from scorefield.images import contact_sheet, save_image
from scorefield.priors import load_prior
from scorefield.priors.editing import (
    AttentionEdit,
    edit_friendly_invert,
    inpaint,
    prompt_to_prompt,
    sdedit,
)
from scorefield.priors.editing.prompt_to_prompt import tokenizer_of
from scorefield.world import draw_scene, render

OBJECTS = ("mushroom", "cup", "lamp")


def main(path: str = "edit.png", steps: int = 50) -> None:
    """Draw the sheet."""
    prior = load_prior("shapes")
    scenes = [draw_scene(3, i, category=name, color="red") for i, name in enumerate(OBJECTS)]
    pictures = render(scenes).images
    latents = prior.encode(pictures)
    sources = [f"a red {name}" for name in OBJECTS]
    targets = [f"a blue {name}" for name in OBJECTS]

    # What the image is now and what it shall be; each a denoiser.
    now, then = prior.guided(sources), prior.guided(targets)

    noised = sdedit(then, latents, strength=0.6, steps=steps)

    maps = edit_friendly_invert(now, latents, steps=steps)
    print("replayed to", float((maps.replay(now) - latents).abs().max()))
    replayed = maps.replay(then, skip=steps * 2 // 5)

    steered = []
    for i, (source, target) in enumerate(zip(sources, targets, strict=True)):
        edit = AttentionEdit.replacement(tokenizer_of(prior), source, target)
        one = edit_friendly_invert(prior.guided(source), latents[i : i + 1], steps=steps)
        steered += prompt_to_prompt(prior, edit, noise_maps=one, skip=steps * 2 // 5)[1]

    mask = torch.zeros(1, 1, 64, 64)
    mask[..., :40, :] = 1  # the upper part
    painted = inpaint(prior, pictures, mask, targets, steps=steps)

    edits = [prior.decode(one) for one in (noised, replayed, torch.stack(steered))]
    rows = torch.stack([pictures, *edits, painted], dim=1)  # (object, way, 3, H, W)
    save_image(path, contact_sheet(rows.flatten(0, 1), columns=rows.shape[1]))


if __name__ == "__main__":
    main()
