"""The recipe of the embedded prior `shapes`: a miniature Stable Diffusion, from nothing.

And on from there, told cameras in place of words for views.
"""

import os
from dataclasses import asdict
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from jaxtyping import UInt8
from safetensors.torch import save_file
from torch import Tensor, nn

from scorefield.files import whole_folder
from scorefield.integrity import write_seal
from scorefield.runs.distributed import DistributedContext
from scorefield.training.codec import CodecTask, scale_latents
from scorefield.training.data import world_images
from scorefield.training.diffusion import TextToLatents
from scorefield.training.judge import JudgeTask
from scorefield.training.recipes import (
    CODEC,
    DIFFUSION,
    JUDGE,
    JUDGE_IMAGES,
    SHAPES_IMAGES,
)
from scorefield.training.settings import TrainingSettings
from scorefield.training.task import run_training
from scorefield.training.text_to_image import (
    PriorCard,
    TextToImageTask,
    cached_latents,
    make_pipeline,
    save_prior,
)
from scorefield.training.tokenizer import WORDS, make_tokenizer
from scorefield.training.warm_start import WarmStart
from scorefield.views import VIEWS, CameraRanges, camera_vector
from scorefield.world import CATEGORIES, COLORS, FRONTED, WorldScene, draw_scene
from scorefield.world.scenes import cameras_of

GUIDANCE_SCALE = 3.5
"""Default guidance of the shipped prior, chosen on samples with seed 100."""

_TEMPLATES = ("a red {}, front view", "a photo of a red {}", "a flat icon of a red {}")
_SEEN_TEMPLATES = ("a red {}", *_TEMPLATES[1:])  # the camera says the view

WORLD_SEED, JUDGE_SEED = 0, 1
"""World seeds of the images that the prior and the judge are trained on."""


def preview_prompts() -> list[str]:
    """Two captions of each category, in turn in each of the colours."""
    colors = list(COLORS)
    return [f"a {colors[i % 8]} {name}" for i, name in enumerate([*CATEGORIES] * 2)]


def train_shapes(
    out: Path,
    *,
    count: int = SHAPES_IMAGES,
    codec: TrainingSettings = CODEC,
    diffusion: TrainingSettings = DIFFUSION,
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Train codec, text encoder and denoiser; returns the folder of the finished pipeline.

    out: holds the images, the latents, a run folder per stage, and at last `shapes`. An
        interrupted training goes on with `resume` at its last checkpoint.
    count: images of the training set.
    """
    images, processes = _images(out, count, codec.device, progress)
    codec_task = CodecTask(images, codec)
    run_training(codec_task, out / "codec", resume, progress)
    vae = codec_task.averaged()
    path = out / f"latents-{codec.steps}.safetensors"
    with processes.first_ahead():
        means, stds = cached_latents(vae, images, path, codec, progress=progress)
    scale_latents(vae, means)
    scale = vae.config.scaling_factor
    scenes, drawn = _scenes(count)
    captions = [scenes[i].caption for i in drawn]
    tokenizer = make_tokenizer()
    task = TextToImageTask(
        vae,
        means[drawn] * scale,
        stds[drawn] * scale,
        captions,
        tokenizer,
        diffusion,
        prompts=preview_prompts(),
        guidance_scale=GUIDANCE_SCALE,
    )
    run_training(task, out / "denoiser", resume, progress)
    pipeline = make_pipeline(vae, task.averaged(), tokenizer)
    processes.once(save_shapes, pipeline, out / "shapes")
    return out / "shapes"


def train_shapes_with_cameras(
    out: Path,
    *,
    start: str | os.PathLike[str] = "shapes",
    count: int = SHAPES_IMAGES,
    diffusion: TrainingSettings = DIFFUSION,
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Train a prior of the world on that is told cameras; returns the finished pipeline's folder.

    It begins as `start`, whose codec it keeps. Its captions do not name views: the camera says
    them, and a word for what it is told anyway would be all that it heeds.

    out: holds the images, the latents, a run folder of the denoiser, and at last `shapes-cameras`.
        An interrupted training goes on with `resume` at its last checkpoint.
    count: images of the training set.

    Raises:
        PriorError: the start cannot be loaded, or is no text-to-image prior of the recipe's kind.
    """
    begun = WarmStart(start)
    images, processes = _images(out, count, diffusion.device, progress)
    vae = begun.vae.to(diffusion.device)
    with processes.first_ahead():
        means, stds = cached_latents(
            vae, images, out / "latents.safetensors", diffusion, progress=progress
        )
    scale = vae.config.scaling_factor
    scenes, drawn = _scenes(count)
    cameras = camera_vector(cameras_of(scenes))
    words = sorted({*WORDS} - {*" ".join(VIEWS).split()})
    tokenizer = make_tokenizer(words)
    torch.manual_seed(diffusion.seed)
    module = TextToLatents(tokenizer, means.shape[1], cameras=True)
    task = TextToImageTask(
        vae,
        means[drawn] * scale,
        stds[drawn] * scale,
        [scenes[i].caption.replace(f", {scenes[i].view}", "") for i in drawn],
        tokenizer,
        diffusion,
        prompts=[f"a red {name}" for name in sorted(FRONTED)],
        guidance_scale=GUIDANCE_SCALE,
        module=begun.denoiser(module, tokenizer),
        cameras=cameras[drawn],
    )
    run_training(task, out / "denoiser", resume, progress)
    name = "shapes-cameras"
    more = {"templates": _SEEN_TEMPLATES, "cameras": asdict(CameraRanges.of_vectors(cameras))}
    pipeline = make_pipeline(vae, task.averaged(), tokenizer)
    content = PriorCard(name, GUIDANCE_SCALE, words, more)
    processes.once(save_prior, pipeline, out / name, content)
    return out / name


def _images(
    out: Path, count: int, device: str, progress: bool
) -> tuple[UInt8[Tensor, "count 64 64 3"], DistributedContext]:
    """The training set, rendered by the first of the processes."""
    processes = DistributedContext(device)
    with processes.first_ahead():
        return world_images(WORLD_SEED, count, out / "data", progress=progress), processes


def _scenes(count: int) -> tuple[list[WorldScene], list[int]]:
    """The scenes of the training set, and the numbers of those that are trained on.

    The views are learnt last, and have a meaning where there is a front: those come up twice.
    """
    scenes = [draw_scene(WORLD_SEED, index) for index in range(count)]
    return scenes, [
        i for i, scene in enumerate(scenes) for _ in range(1 + (scene.category in FRONTED))
    ]


def train_judge(
    out: Path,
    *,
    count: int = JUDGE_IMAGES,
    settings: TrainingSettings = JUDGE,
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Train the judge on renders of its own; returns the file of its weights.

    out: holds the images, the run folder `classifier`, and at last the sealed folder `judge`.
    """
    with DistributedContext(settings.device).first_ahead():
        images = world_images(JUDGE_SEED, count, out / "data", progress=progress)
    scenes = [draw_scene(JUDGE_SEED, index) for index in range(count)]
    task = JudgeTask(images, scenes, settings)
    run_training(task, out / "classifier", resume, progress)
    task.processes.once(_save_judge, task.averaged(), out / "judge")
    return out / "judge" / "judge.safetensors"


def _save_judge(network: nn.Module, folder: Path) -> None:
    with whole_folder(folder) as part:
        weights = {k: v.half().contiguous() for k, v in network.state_dict().items()}
        save_file(weights, part / "judge.safetensors")
        write_seal(part)


def save_shapes(pipeline: DiffusionPipeline, folder: Path) -> Path:
    """Write a pipeline as the embedded prior's folder, its networks halved in place."""
    return save_prior(
        pipeline, folder, PriorCard("shapes", GUIDANCE_SCALE, WORDS, {"templates": _TEMPLATES})
    )
