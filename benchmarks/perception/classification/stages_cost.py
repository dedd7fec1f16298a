"""CPU time per evaluation of fixed stages, as a share of the published loop's in the same run.

    OMP_NUM_THREADS=1 python benchmarks/perception/classification/stages_cost.py

The loop is that of Li et al. 2023 (`eval_prob_adaptive.py`): stages of labels kept and timesteps,
batches of 32 rows with the label outermost, the noise of each timestep shared by all labels, mean
squared errors. Here it calls the network as it is. Both see the same image and take turns; the
median of the ratios counts, for other work on the machine comes and goes.
"""

import time
from statistics import median

import torch
from torch import Tensor

from scorefield.perception.classification.classify import classify
from scorefield.perception.classification.error_measure import ErrorMeasure
from scorefield.perception.classification.stopping import Stages
from scorefield.priors import load_prior
from scorefield.world import draw_scene, render
from scorefield.world.objects import CATEGORIES

KEEP, SAMPLES, BATCH, TURNS = (5, 1), (4, 20), 32, 21

prior = load_prior("shapes")
labels = sorted(CATEGORIES)[:12]
prompts = [f"a {label}" for label in labels]
image = render([draw_scene(2, 0, category=labels[0])], prior.image_size).images
text = prior.text.encode(prompts).tensors["encoder_hidden_states"]
alphas = prior.schedule.alphas_cumprod.float()  # type: ignore[attr-defined]


@torch.inference_mode()
def published() -> int:
    """Evaluations made."""
    x = prior.encode(image)
    noise = torch.randn(max(SAMPLES), *x.shape[1:])
    steps = torch.arange(max(SAMPLES)) * (len(alphas) // max(SAMPLES))
    left, known, done = list(range(len(labels))), dict[int, list[Tensor]](), set[int]()
    for keep, samples in zip(KEEP, SAMPLES, strict=True):
        taken = [k for k in range(0, len(steps), len(steps) // samples) if k not in done]
        done.update(taken)
        rows = torch.tensor([(label, k) for label in left for k in taken])
        errors = []
        for part in rows.split(BATCH):
            alpha = alphas[steps[part[:, 1]]].view(-1, 1, 1, 1)
            eps = noise[part[:, 1]]
            found = prior.model(
                alpha.sqrt() * x + (1 - alpha).sqrt() * eps,
                steps[part[:, 1]],
                encoder_hidden_states=text[part[:, 0]],
            ).sample
            errors.append((found - eps).square().mean((1, 2, 3)))
        for label, one in zip(left, torch.cat(errors).split(len(taken)), strict=True):
            known.setdefault(label, []).append(one)
        left = sorted(left, key=lambda label: float(torch.cat(known[label]).mean()))[:keep]
    return sum(len(one) for parts in known.values() for one in parts)


def ours() -> int:
    """Evaluations made."""
    found = classify(
        prior,
        image,
        labels,
        policy=Stages(KEEP, SAMPLES),
        measure=ErrorMeasure(spacing="fraction", log_snr=(-12, 12)),
        budget=len(labels) * max(SAMPLES),
        batch_size=BATCH,
    )
    return int(found.evaluations[0])


ratios, times = [], []
for _ in range(TURNS):
    pair = []
    for run in (ours, published):
        start = time.process_time()
        evaluations = run()
        pair.append((time.process_time() - start) / evaluations)
    ratios.append(pair[0] / pair[1])
    times.append(pair)
mine, theirs = (1000 * min(column) for column in zip(*times, strict=True))
print(f"ours {mine:.2f} ms, published {theirs:.2f} ms per evaluation; ratios", end=" ")
print(f"{min(ratios):.2f} to {max(ratios):.2f}, median {median(ratios):.2f}")
