"""What sampling and distilling add to the time of the network alone.

    python benchmarks/overhead.py
    python benchmarks/overhead.py --device cuda --side 64 --width 320

On a random U-Net in the shape of Stable Diffusion's, narrower: `sample` without and with guidance,
one SDS step on latents, diffusers' own pipeline and a loop of DDIM written out by hand, each over
the same evaluations of the bare network. All take turns in one process, in CPU time on a CPU and in
wall time elsewhere; `times_the_network` are medians over the rounds of the ratio within a round.

What is added does not depend on the network, and drowns in the noise of a large one. So it is
measured once more by itself, on latents of `--added-side` cells and with a network that answers at
once: `added_ms` an evaluation, of which `network_ms_of_3_percent` would be 3%, for networks that
take longer it is less.
"""

import argparse
import contextlib
import io
import json
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from torch import Tensor

from scorefield.priors.codec import LatentCodec
from scorefield.priors.condition import Condition
from scorefield.priors.families.unets import UNetAdapter
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.sampling import sample
from scorefield.priors.schedule import DiscreteSchedule
from scorefield.sds.objective import PromptedDenoisers, distill

TOKENS, DIM = 77, 768


class Hidden:
    """Random hidden states in place of a text encoder: prompts cost nothing."""

    def __init__(self, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(0)
        self.states = torch.randn(2, TOKENS, DIM, generator=generator).to(device)

    def encode(self, prompts: list[str]) -> Condition:
        """The second for the empty prompt, else the first."""
        rows = torch.stack([self.states[int(prompt == "")] for prompt in prompts])
        return Condition({"encoder_hidden_states": rows})

    def to(self, device: torch.device | str) -> "Hidden":
        """Move; returns self."""
        self.states = self.states.to(device)
        return self


def make(width: int, side: int, device: torch.device) -> tuple[FrozenPrior, Any]:
    """The prior and diffusers' pipeline of the same random network."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=side,
        block_out_channels=(width, 2 * width, 4 * width, 4 * width),
        layers_per_block=2,
        cross_attention_dim=DIM,
        attention_head_dim=8,
    )
    vae = AutoencoderKL(
        block_out_channels=(32,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
        timestep_spacing="trailing",
    )  # fmt: skip
    options: dict[str, Any] = {"safety_checker": None, "feature_extractor": None}
    with contextlib.redirect_stderr(io.StringIO()):
        pipeline = StableDiffusionPipeline(
            vae, None, None, unet, scheduler, requires_safety_checker=False, **options
        )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(device)
    prior = FrozenPrior(
        "random",
        UNetAdapter(unet),
        Hidden(device),
        LatentCodec(vae),
        DiscreteSchedule.scaled_linear(),
        "epsilon",
        shape=(4, side, side),
    ).to(device)
    return prior, pipeline


def rounds(
    works: dict[str, Callable[[], object]], count: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds of each work, which take turns."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(count + 1):
        for name, work in works.items():
            start = clock()
            work()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if number:  # the first round warms up
                seconds[name].append(clock() - start)
    return seconds


def works_of(
    prior: FrozenPrior, pipeline: Any, steps: int
) -> tuple[dict[str, Callable[[], object]], dict[str, str]]:
    """What is timed, each of so many evaluations, and which network alone each is compared with."""
    device, shape = prior.device, prior.latent_shape
    z = torch.randn(1, *shape, generator=torch.Generator().manual_seed(1)).to(device)
    states = prior.text.encode(["a", ""]).tensors["encoder_hidden_states"]
    alphas = prior.schedule.alphas_cumprod.tolist()

    @torch.no_grad()
    def bare(rows: int) -> None:
        t = torch.full((rows,), 500.0, device=device)
        for _ in range(steps):
            prior.model(z.repeat(rows, 1, 1, 1), t, states[:rows])

    @torch.no_grad()
    def by_hand(scale: float) -> Tensor:
        x, times = z, [round(1000 * (1 - i / steps)) - 1 for i in range(steps)] + [0]
        for now, then in pairwise(times):
            t = torch.tensor(now, device=device)
            uncond, cond = prior.model(x.repeat(2, 1, 1, 1), t, states.flip(0)).sample.chunk(2)
            eps = uncond + scale * (cond - uncond)
            clean = (x - (1 - alphas[now]) ** 0.5 * eps) / alphas[now] ** 0.5
            x = alphas[then] ** 0.5 * clean + (1 - alphas[then]) ** 0.5 * eps
        return x

    def piped(scale: float) -> object:
        return pipeline(
            num_inference_steps=steps, guidance_scale=scale, latents=z, output_type="latent",
            prompt_embeds=states[:1], negative_prompt_embeds=states[1:],
        )  # fmt: skip

    def sds() -> Tensor:
        level = prior.schedule.at_timestep(500)
        return distill(denoisers, z, level, torch.zeros_like(z)).gradient

    denoisers = PromptedDenoisers.of(prior, "a", 7.5)
    plain, guided = prior.guided("a", 1.0), prior.guided("a", 7.5)
    works: dict[str, Callable[[], object]] = {
        "network": lambda: bare(1),
        "sample": lambda: sample(plain, shape, steps=steps, device=device),
        "diffusers": lambda: piped(1.0),
        "network, two rows": lambda: bare(2),
        "sample, guided": lambda: sample(guided, shape, steps=steps, device=device),
        "diffusers, guided": lambda: piped(7.5),
        "by hand, guided": lambda: by_hand(7.5),
        "SDS": lambda: [sds() for _ in range(steps)],
    }
    one = ("sample", "diffusers")
    return works, {
        name: "network" if name in one else "network, two rows"
        for name in works
        if not name.startswith("network")
    }


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--side", type=int, default=16)
    parser.add_argument("--added-side", type=int, default=64)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    device = torch.device(given.device)

    prior, pipeline = make(given.width, given.side, device)
    works, floors = works_of(prior, pipeline, given.steps)
    seconds = rounds(works, given.rounds, device)
    times = {
        name: statistics.median(a / b for a, b in zip(seconds[name], seconds[floor], strict=True))
        for name, floor in floors.items()
    }

    prior, pipeline = make(32, given.added_side, device)
    prior.model.forward = lambda z, *_, **__: UNet2DConditionOutput(sample=z)
    works, floors = works_of(prior, pipeline, given.steps)
    empty = rounds({name: works[name] for name in floors}, given.rounds, device)
    added = {name: 1e3 * statistics.median(empty[name]) / given.steps for name in floors}
    print(
        json.dumps(
            {
                "device": str(device),
                "torch": torch.__version__,
                "network_ms": round(1e3 * statistics.median(seconds["network"]) / given.steps, 2),
                "times_the_network": {name: round(value, 3) for name, value in times.items()},
                "added_ms": {name: round(value, 3) for name, value in added.items()},
                "network_ms_of_3_percent": {name: round(v / 0.03) for name, v in added.items()},
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
