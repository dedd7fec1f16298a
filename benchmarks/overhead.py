"""What sampling and distilling add to the time of the network alone.

    python benchmarks/overhead.py
    python benchmarks/overhead.py --device cuda --side 64 --width 320

On a random U-Net in the shape of Stable Diffusion's, narrower: `sample` without and with guidance,
one SDS step on latents, and diffusers' own pipeline with guidance, each over the same evaluations
of the bare network. All take turns in one process, in CPU time on a CPU and in wall time elsewhere;
the figures are medians over the rounds of the ratio within a round.
"""

import argparse
import contextlib
import io
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models import AutoencoderKL
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


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--side", type=int, default=16)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    device = torch.device(given.device)
    prior, pipeline = make(given.width, given.side, device)
    steps, shape = given.steps, prior.latent_shape
    z = torch.randn(1, *shape, generator=torch.Generator().manual_seed(1)).to(device)
    states = prior.text.encode(["a", ""]).tensors["encoder_hidden_states"]

    @torch.no_grad()
    def bare(rows: int, times: int) -> None:
        t = torch.full((rows,), 500.0, device=device)
        for _ in range(times):
            prior.model(z.repeat(rows, 1, 1, 1), t, states[:rows])

    def sds() -> Tensor:
        level = prior.schedule.at_timestep(500)
        return distill(denoisers, z, level, torch.zeros_like(z)).gradient

    denoisers = PromptedDenoisers.of(prior, "a", 7.5)
    plain, guided = prior.guided("a", 1.0), prior.guided("a", 7.5)
    embeds = {"prompt_embeds": states[:1], "negative_prompt_embeds": states[1:]}
    works: dict[str, Callable[[], object]] = {
        "network": lambda: bare(1, steps),
        "sample": lambda: sample(plain, shape, steps=steps, device=device),
        "network, two rows": lambda: bare(2, steps),
        "sample, guided": lambda: sample(guided, shape, steps=steps, device=device),
        "diffusers, guided": lambda: pipeline(
            num_inference_steps=steps, guidance_scale=7.5, latents=z, output_type="latent", **embeds
        ),
        "SDS": lambda: [sds() for _ in range(steps)],
    }
    seconds = rounds(works, given.rounds, device)
    over = {"sample": "network"}
    figures = {
        name: statistics.median(
            mine / floor
            for mine, floor in zip(spent, seconds[over.get(name, "network, two rows")], strict=True)
        )
        for name, spent in seconds.items()
        if not name.startswith("network")
    }
    alone = statistics.median(seconds["network"]) / steps
    print(
        json.dumps(
            {
                "device": str(device),
                "torch": torch.__version__,
                "network_ms": round(1e3 * alone, 2),
                "times_the_network": {name: round(value, 3) for name, value in figures.items()},
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
