"""Memory, time and device waits with models of the size of Stable Diffusion 1.5 and SDXL, on a GPU.

    python benchmarks/gpu.py --out runs/gpu
    python benchmarks/gpu.py --device cpu --small --out runs/gpu-small

Needs no network and no weights: the models of random_models.py have the shapes of the published
ones, in 16 bit with the autoencoder of SDXL in float32, as `load_prior` has them.

Parts, in their order; one that is unlikely to end within `--minutes` is left out and named:

- memory: the most that is allocated beside the weights, of a step of text-to-3d at its defaults
  and of decoding as `sample` does, at 1024 pixels, without and with --low-memory.
- sds: a step of score distillation on one rendered image of 64 pixels, encoder and its gradient
  included: ours and threestudio's (stable_diffusion_guidance.py at 28d9d80, restated), in turns;
  and the encoder with its gradient and the network alone, which both need.
- waits: how often a step of text-to-3d waits for the device, by torch.cuda.set_sync_debug_mode.
- overhead: `sample`, diffusers' pipeline and SDS on latents over the network alone, as in
  overhead.py.
- trace: two steps of text-to-3d in a profiler: .trace.json for a browser, .trace.txt for eyes.
- layouts: one guided evaluation in float32, bfloat16 and float16, with channels last or first, and
  compiled.

A part that fails is named, and the others are measured; the exit code is 1 then. Writes
results.json after every part, and table.md. On a CPU memory and waits are not measured.
"""

import argparse
import contextlib
import gc
import io
import json
import os
import statistics
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import diffusers
import torch
from overhead import rounds, works_of
from random_models import CHAIN, MODELS, load
from torch import Tensor

from scorefield.acceleration import compile_models, lay_out_channels_last
from scorefield.priors.condition import Condition
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.noise import noise_generator
from scorefield.sds.distillation import Distillation
from scorefield.sds.nerf.presets import PRESETS
from scorefield.sds.nerf.scene_distillation import TextTo3D
from scorefield.sds.nerf.settings import TextTo3DSettings
from scorefield.sds.presets import settings_for
from scorefield.sds.settings import DistillationSettings

GIB = 2**30
LIMITS = {  # GiB beside the weights
    ("sd15", "text-to-3d step"): 6.0,
    ("sdxl", "text-to-3d step"): 10.0,
    ("sdxl", "text-to-3d step, low memory"): 10.0,
    ("sd15", "decode 1024"): 2.0,
    ("sdxl", "decode 1024, low memory"): 2.0,
}
MINUTES = {"memory": 0.7, "sds": 0.7, "waits": 0.2, "overhead": 1.0, "layouts": 2.5, "trace": 0.5}
"""Expected of a part on a GPU, which is left out where there is less time."""


@dataclass
class Report:
    """What was measured: rows of (model, part, what, value, unit), and what was left out."""

    about: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What fails within it is noted; what comes after it is measured all the same."""
        started, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        except Exception as error:
            reason = next(iter(str(error).strip().splitlines()), "")
            self.failed.append(f"{name} ({type(error).__name__}: {reason})")
            traceback.print_exc()
        took = f"{time.perf_counter() - started:.1f} s, {time.process_time() - cpu:.1f} s of CPU"
        print(f"-- {name}: {took}", flush=True)

    def add(self, model: str, part: str, what: str, value: float | None, unit: str) -> None:
        """A row; a value of None was not measured."""
        value = None if value is None else float(f"{value:.4g}")
        limit = LIMITS.get((model, what)) if part == "memory" else None
        row = {"model": model, "part": part, "what": what, "value": value, "unit": unit}
        self.rows.append(row if limit is None else {**row, "limit": limit})
        shown = "not measured" if value is None else f"{value} {unit}"
        print(f"{model:5} {part:9} {what:30} {shown}", flush=True)

    def table(self) -> str:
        """All rows in Markdown."""
        lines = ["| model | part | what | value | limit |", "|---|---|---|---|---|"]
        for row in self.rows:
            value = "not measured" if row["value"] is None else f"{row['value']} {row['unit']}"
            line = [row["model"], row["part"], row["what"], value, str(row.get("limit", ""))]
            lines.append(f"| {' | '.join(line)} |")
        lines += ["", *(f"Left out: {one}." for one in self.left_out)]
        return "\n".join([*lines, *(f"Failed: {one}." for one in self.failed), ""])

    def write(self, folder: Path) -> None:
        """results.json and table.md, whole."""
        files = {"results.json": json.dumps(asdict(self), indent=2), "table.md": self.table()}
        for name, content in files.items():
            (folder / f".{name}").write_text(content)
            os.replace(folder / f".{name}", folder / name)


def scene(prior: FrozenPrior, small: bool) -> TextTo3D:
    """text-to-3d at the defaults of the prior's kind, or with the smallest field."""
    settings = settings_for(TextTo3DSettings, "a red mushroom", prior, PRESETS)
    return TextTo3D(prior, replace(settings, field="voxels") if small else settings)


def most_beside(before: int, device: torch.device, work: Callable[[], object]) -> float | None:
    """GiB that are allocated at the most during the work, above a number of bytes."""
    if device.type != "cuda":
        work()
        return None
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    work()
    return (torch.cuda.max_memory_allocated(device) - before) / GIB


def memory(name: str, prior: FrozenPrior, report: Report, given: argparse.Namespace) -> None:
    """Peaks beside the weights."""
    device = prior.device
    prior.condition(["a red mushroom", ""])  # what is kept of prompts belongs to the weights
    gc.collect()
    before = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0

    def two_steps() -> None:
        job = scene(prior, given.small)
        for step in range(2):
            job.step(step)

    side = (128 if given.small else 1024) // prior.codec.factor
    latents = torch.randn(4, prior.codec.channels, side, side, device=device)
    vae = prior.codec.vae
    for mode in ("", ", low memory"):
        if mode:  # as load_prior does
            vae.enable_slicing()
            vae.enable_gradient_checkpointing()
            prior.codec.always_in_tiles = True
        peak = most_beside(before, device, two_steps)
        report.add(name, "memory", f"text-to-3d step{mode}", peak, "GiB")
        gc.collect()
        # four images are asked for and counted with their decoding: theirs are 48 MiB
        peak = most_beside(before, device, lambda: prior.decode_in_parts(latents))
        report.add(name, "memory", f"decode 1024{mode}", peak, "GiB")
    vae.disable_slicing()
    vae.disable_gradient_checkpointing()
    prior.codec.always_in_tiles = False


def sds(name: str, prior: FrozenPrior, report: Report, given: argparse.Namespace) -> None:
    """Ours beside threestudio's step, and what both need."""
    image = torch.rand(1, 3, 64, 64, device=prior.device, requires_grad=True)
    distillation = Distillation(prior, DistillationSettings("a red mushroom", scale=101.0))
    denoisers = distillation.denoisers("a red mushroom")
    rows = prior.condition(["a red mushroom", ""]).condition.tensors
    rows = {key: value.to(prior.dtype) for key, value in rows.items()}
    alphas = torch.as_tensor(prior.schedule.alphas_cumprod, device=prior.device).float()

    def encoded() -> Tensor:
        size = [prior.image_size] * 2
        return prior.encode(torch.nn.functional.interpolate(image, size, mode="bilinear"))

    def network(z: Tensor, t: Tensor) -> Tensor:
        with torch.no_grad():
            return prior.network(z.to(prior.dtype).repeat(2, 1, 1, 1), t.repeat(2), **rows).float()

    def ours() -> None:
        distilled, _ = distillation.look(image, denoisers, 0.5, noise_generator(0, 0))
        distilled.loss.backward()

    def theirs() -> None:
        latents = encoded()
        t = torch.randint(20, 981, (1,), device=prior.device)
        noise = torch.randn_like(latents)
        noisy = alphas[t].sqrt() * latents + (1 - alphas[t]).sqrt() * noise
        cond, uncond = network(noisy.detach(), t).chunk(2)
        guided = cond + 100.0 * (cond - uncond)
        gradient = torch.nan_to_num((1 - alphas[t]).view(-1, 1, 1, 1) * (guided - noise))
        target = (latents - gradient).detach()
        (0.5 * torch.nn.functional.mse_loss(latents, target, reduction="sum")).backward()

    def needed() -> None:
        latents = encoded()
        found = network(latents.detach(), torch.tensor([500], device=prior.device))
        latents.backward(found[:1])

    works: dict[str, Callable[[], object]] = {"ours": ours, "threestudio": theirs, "needed": needed}
    seconds = rounds(works, given.rounds, prior.device)
    for what, taken in seconds.items():
        report.add(name, "sds", what, 1e3 * statistics.median(taken), "ms")
    for floor in ("threestudio", "needed"):
        ratio = statistics.median(
            a / b for a, b in zip(seconds["ours"], seconds[floor], strict=True)
        )
        report.add(name, "sds", f"ours / {floor}", ratio, "times")


def waits(name: str, prior: FrozenPrior, report: Report, given: argparse.Namespace) -> None:
    """Synchronisations in one step after the first."""
    job = scene(prior, given.small)
    job.step(1)
    if prior.device.type != "cuda":
        return report.add(name, "waits", "text-to-3d step", None, "")
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            job.step(2)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    count = sum("synchroniz" in str(one.message) for one in told)
    return report.add(name, "waits", "text-to-3d step", count, "waits")


def overhead(name: str, prior: FrozenPrior, report: Report, given: argparse.Namespace) -> None:
    """Over the network alone; the pipeline of SDXL is conditioned otherwise, and left out."""
    if name != "sd15":
        return
    options: dict[str, Any] = {"safety_checker": None, "feature_extractor": None}
    scheduler = diffusers.DDIMScheduler(**CHAIN, clip_sample=False, timestep_spacing="trailing")
    with contextlib.redirect_stderr(io.StringIO()):
        pipeline = diffusers.StableDiffusionPipeline(
            prior.codec.vae, None, None, prior.model, scheduler, requires_safety_checker=False,
            **options,
        )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    works, floors = works_of(prior, pipeline, 3 if given.small else 10)
    seconds = rounds(works, given.rounds, prior.device)
    for what, floor in floors.items():
        ratio = statistics.median(a / b for a, b in zip(seconds[what], seconds[floor], strict=True))
        report.add(name, "overhead", what, ratio, "times the network")


def layouts(name: str, prior: FrozenPrior, report: Report, given: argparse.Namespace) -> None:
    """One guided evaluation; random weights lose nothing by a change of their type."""
    z = torch.randn(2, *prior.latent_shape, generator=torch.Generator().manual_seed(0))
    z = z.to(prior.device)
    level = prior.schedule.at_timestep(500).expand(2)
    rows = prior.condition(["a red mushroom", ""]).condition.tensors

    def evaluate() -> Tensor:
        told = {name: tensor.to(prior.dtype) for name, tensor in rows.items()}
        return prior.predict(z, level, Condition(told)).eps

    def timed(what: str) -> Tensor:
        taken = rounds({what: evaluate}, 3 * given.rounds, prior.device)[what]
        report.add(name, "layouts", what, 1e3 * statistics.median(taken), "ms")
        return evaluate()

    half = torch.float16 if prior.device.type == "cuda" else torch.bfloat16
    exact = None
    for dtype in dict.fromkeys((torch.float32, torch.bfloat16, half)):
        prior.network.to(dtype)
        value = timed(str(dtype).removeprefix("torch."))
        if exact is None:
            exact = value
            continue
        error = ((value - exact).norm() / exact.norm()).item()
        report.add(name, "layouts", f"{dtype} beside float32".removeprefix("torch."), error, "")
    for layer in prior.network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.weight.data = layer.weight.data.contiguous()
    timed("channels first")
    lay_out_channels_last(prior.network)
    started = time.perf_counter()
    compile_models(prior.network)
    # a trial need not generate code, which takes a CPU minutes
    backend = "aot_eager" if given.small else None
    with torch.compiler.set_stance("default", force_backend=backend):
        evaluate()
        report.add(name, "layouts", "compiling", time.perf_counter() - started, "s")
        timed("compiled")


def trace(name: str, prior: FrozenPrior, report: Report, given: argparse.Namespace) -> None:
    """Where two steps of text-to-3d spend their time."""
    job = scene(prior, given.small)
    job.step(1)
    with torch.profiler.profile() as profiler:
        for step in (2,) if given.small else (2, 3):
            job.step(step)
    profiler.export_chrome_trace(str(given.out / f"{name}.trace.json"))
    column = "self_device_time_total" if prior.device.type == "cuda" else "self_cpu_time_total"
    found = profiler.key_averages().table(sort_by=column, row_limit=40)
    (given.out / f"{name}.trace.txt").write_text(found)


PARTS = {
    "memory": memory, "sds": sds, "waits": waits, "overhead": overhead, "trace": trace,
    "layouts": layouts,
}  # fmt: skip


def main() -> int:
    """Measure what was asked for, within the time; 1 where a part failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", type=torch.device)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, help="of turns; 5, or 2 with --small")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    given = parser.parse_args()
    given.rounds = given.rounds or (2 if given.small else 5)
    given.out.mkdir(parents=True, exist_ok=True)
    on_gpu = given.device.type == "cuda"
    device = torch.cuda.get_device_name(given.device) if on_gpu else str(given.device)
    versions = {"torch": torch.__version__, "diffusers": diffusers.__version__}
    report = Report({"device": device, "small": given.small, **versions})
    end = time.perf_counter() + 60 * given.minutes
    for name in given.models:
        with report.part(f"making {name}"):
            prior = load(name, given.small, given.device)
            for part in (one for one in PARTS if one in given.parts):
                if on_gpu and time.perf_counter() + 60 * MINUTES[part] > end:
                    report.left_out.append(f"{part} of {name}, for lack of time")
                    continue
                with report.part(f"{part} of {name}"):
                    PARTS[part](name, prior, report, given)
                report.write(given.out)
            del prior
        gc.collect()
    report.write(given.out)
    print(report.table())
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
