"""Classify images by the prior that draws them: no classifier is trained.

Renders three objects, lets the embedded prior race eight labels on each, and prints what it found
and what it cost.

    python examples/classify.py
"""

from scorefield.perception.classification.classify import classify
from scorefield.perception.classification.stopping import Race
from scorefield.priors.loading import load_prior
from scorefield.world import draw_scene, render


def main(count: int = 3, confidence: float = 0.99) -> None:
    """Print a line per image."""
    prior = load_prior("shapes")
    labels = ["mushroom", "lamp", "chair", "table", "tree", "cup", "boat", "duck"]
    prompts = {label: [f"a {label}"] for label in labels}
    scenes = [draw_scene(200, i, category=label) for i, label in enumerate(labels[:count])]
    found = classify(prior, render(scenes).images, prompts, policy=Race(confidence), progress=True)
    for i, scene in enumerate(scenes):
        print(
            f"a {scene.color} {scene.category}: {found.best[i]}, "
            f"{int(found.evaluations[i])} evaluations, confidence {float(found.confidence[i]):.3f}"
        )


if __name__ == "__main__":
    main()
