"""The race on handwritten digits: accuracy, calibration, and whether its confidence is kept.

    OMP_NUM_THREADS=1 python benchmarks/perception/classification/race.py

The figures of RESULTS.md that `digits.py` does not print: `inflation`
of the embedded priors, all 450 held-out digits, and how often a race loses the label that all draws
name, on held-out digits 200 to 449 with draws of another seed.
"""

from collections.abc import Sequence

import numpy as np
import torch
from classifier_cases import digits_cases

from scorefield.perception.classification.calibration import brier_score, expected_calibration_error
from scorefield.perception.classification.classify import classify, run_races
from scorefield.perception.classification.error_measure import ErrorMeasure
from scorefield.perception.classification.noise_inflation import noise_inflation
from scorefield.perception.classification.paired_errors import PairedErrors, Request
from scorefield.perception.classification.stopping import Race
from scorefield.priors.loading import load_prior
from scorefield.world import draw_scene, render

DRAWS, SEED = 32, 7
LABELS = [str(digit) for digit in range(10)]

torch.set_num_threads(1)
prior = load_prior("digits")
images, names = digits_cases("held-out").draw(range(450))
truth = torch.tensor(names)

shapes = load_prior("shapes")
scenes = [draw_scene(9, i) for i in range(4)]
prompts = [f"a {scene.color} {scene.category}" for scene in scenes]
for log_snr in (-2.0, 0.0, 2.0):
    world = noise_inflation(shapes, render(scenes).images, prompts, log_snrs=[log_snr])
    written = noise_inflation(prior, images[:4], LABELS, log_snrs=[log_snr])
    print(f"inflation at log-SNR {log_snr:g}: {world:.1f} on shapes, {written:.1f} on digits")

found = classify(prior, images, LABELS, policy=Race(0.9, inflation=1.0), batch_size=500)
right = found.log_likelihoods.argmax(1) == truth
print(
    f"{int(right.sum())} of {len(right)} right, {float(found.evaluations.double().mean()):.0f} "
    f"evaluations each, {int((~found.decided).sum())} undecided; expected calibration error "
    f"{expected_calibration_error(found.probabilities, truth):.3f}, Brier score "
    f"{brier_score(found.probabilities, truth):.3f}"
)

# every draw of every label, so that races can be replayed
source = PairedErrors(
    prior.condition(LABELS), prior.encode(images[200:]), ErrorMeasure(), seed=SEED,
    items=list(range(250)), batch_size=500,
)  # fmt: skip
errors = [source.evaluate([Request(i, tuple(range(10)), 0, DRAWS)])[0] for i in range(250)]
named = [int(one.sum(2).mean(1).argmin()) for one in errors]


class Replay:
    """Errors that are there, from the draw `start` on."""

    def __init__(self, start: int) -> None:
        self.order = [*range(start, DRAWS), *range(start)]

    def evaluate(self, requests: Sequence[Request]) -> list[np.ndarray]:
        """Those asked for."""
        return [errors[r.image][list(r.prompts)][:, self.order[r.start : r.stop]] for r in requests]


for confidence in (0.5, 0.9, 0.99):
    lost = 0
    for start in range(0, DRAWS, 4):  # the golden ratio's draws from another start are as even
        found = run_races(
            Replay(start), 250, LABELS, [[i] for i in range(10)],
            policy=Race(confidence, inflation=1.0), budget=10 * DRAWS,
        )  # fmt: skip
        lost += sum(
            int(a) != b for a, b in zip(found.log_likelihoods.argmax(1), named, strict=True)
        )
    print(f"confidence {confidence}: {lost} of {8 * 250} races lose the label all draws name")
