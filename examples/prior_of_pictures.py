"""A prior without training: the exact denoiser of a set of images.

Renders 64 houses of the procedural world, treats them as the whole distribution, and distils a
plain image and a 3D scene from it. With a folder of your own images, use
`EmpiricalPrior.from_folder(path, size=64)`.

    python examples/prior_of_pictures.py
"""

from scorefield.images import save_image
from scorefield.priors import EmpiricalPrior, ImagePrior, PixelCodec
from scorefield.sds import TextTo3D, TextTo3DSettings
from scorefield.world import draw_scene, render


def main(path: str = "prior_of_pictures.png", count: int = 256, steps: int = 150) -> None:
    """Distil a house."""
    scenes = [draw_scene(7, i, category="house", color="blue") for i in range(count)]
    images = render(scenes).images
    labels = [f"a blue house, {scene.view}" for scene in scenes]
    exemplars = EmpiricalPrior(2 * images - 1, labels)
    prior = ImagePrior(exemplars, PixelCodec(), image_size=64, name="houses")

    task = TextTo3D(prior, TextTo3DSettings("a blue house", scale=1.0, steps=steps))
    for step in range(steps):
        metrics = task.step(step)
        if step % 30 == 0:
            print(step, {name: round(float(value), 3) for name, value in metrics.items()})
    save_image(path, task.preview(steps))


if __name__ == "__main__":
    main()
