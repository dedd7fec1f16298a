"""Time of DIFT features on the embedded prior, as a share of the reference's way in the same run.

The reference (Tang et al. 2023) encodes each of the eight copies. Its network ends at the wanted
block, as ours does; the last line is a network that is run to its end. For Stable Diffusion,
`scorefield info FOLDER` counts operations.

    OMP_NUM_THREADS=1 python benchmarks/perception/correspondence/features_cost.py
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from scorefield.priors import load_prior
from scorefield.priors.features.extraction import extract_features
from scorefield.priors.features.network_cost import network_cost
from scorefield.priors.features.taps import layer_path, tapped

ENSEMBLE = 8

prior = load_prior("shapes")
cost = network_cost(prior)
until = {layer.name: layer.fraction for layer in cost.layers}
level = prior.schedule.at_log_snr(2.0)
images = torch.rand(4, 3, prior.image_size, prior.image_size)
path = layer_path(prior.model, "up0")


@torch.no_grad()
def reference(image: Tensor, to_the_end: bool = False) -> None:
    """Every copy encoded and noised."""
    latents = prior.encode(image.repeat(ENSEMBLE, 1, 1, 1))
    z = level.add_noise(latents, torch.randn_like(latents))
    if to_the_end:
        prior.condition(None)(z, level)
    else:
        with tapped(prior.model, [path]):
            prior.condition(None)(z, level)


def seconds(run: Callable[[], object], repeats: int = 3) -> float:
    """The fastest of some runs, for other work on the machine only ever adds."""
    times = []
    for _ in range(repeats + 1):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times[1:])


ours = seconds(
    lambda: extract_features(prior, images, ["up0"], level, ensemble=ENSEMBLE, batch_size=32)
)
theirs = seconds(lambda: [reference(image[None]) for image in images])
whole = seconds(lambda: [reference(image[None], to_the_end=True) for image in images])
assert cost.encode is not None
counted = (cost.encode + ENSEMBLE * until["up0"]) / (ENSEMBLE * (cost.encode + until["up0"]))
print(f"ours: {ours / len(images):.3f} CPU seconds an image")
print(f"of encoding every copy: {ours / theirs:.2f} measured, {counted:.2f} by operations")
print(f"of that and running to the end: {ours / whole:.2f} measured")
