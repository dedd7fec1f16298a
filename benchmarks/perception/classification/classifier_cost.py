"""Network evaluations of a race against a fixed schedule, and the race's own overhead.

    OMP_NUM_THREADS=1 python benchmarks/perception/classification/classifier_cost.py

A mixture of 48 Gaussians in 64 dimensions stands for the network; its cost is nothing, so that the
time per evaluation is that of noise, levels and bookkeeping. With a real prior the accuracy is
measured by `renders.py`.
"""

import time

import torch

from scorefield.perception.classification.classify import classify
from scorefield.perception.classification.stopping import Race, Stages, StoppingRule
from scorefield.priors.exact.gaussian_mixture import GaussianMixturePrior

LABELS, DIMENSIONS, IMAGES = 48, 64, 40

labels = [str(label) for label in range(LABELS)]
means = torch.randn(LABELS, DIMENSIONS, generator=torch.Generator().manual_seed(0)) * 0.4
prior = GaussianMixturePrior(means, torch.full((LABELS,), 0.7), labels=labels)
truth = torch.arange(IMAGES) % LABELS
x = torch.cat(
    [prior.restrict(labels[label]).sample(1, seed=i) for i, label in enumerate(truth.tolist())]
)

policies: dict[str, StoppingRule] = {
    "stages 1/10": Stages((5, 1), (1, 10)),
    "stages 4/40": Stages((5, 1), (4, 40)),
    "stages 25/250": Stages((5, 1), (25, 250)),
    "race 0.9": Race(0.9, inflation=1),
    "race 0.99": Race(0.99, inflation=1),
}
for name, policy in policies.items():
    start = time.perf_counter()
    found = classify(prior, x, labels, policy=policy, budget=4000, batch_size=1024)
    seconds = time.perf_counter() - start
    accuracy = (found.log_likelihoods.argmax(dim=1) == truth).double().mean()
    mean = found.evaluations.double().mean()
    print(
        f"{name}: accuracy {accuracy:.3f}, {mean:.0f} evaluations per image, "
        f"{1e6 * seconds / (mean * IMAGES):.0f} us each"
    )
