"""The recipe of the embedded prior `shapes`: a miniature Stable Diffusion, from nothing."""

from pathlib import Path

from diffusers import DiffusionPipeline
from safetensors.torch import save_file
from torch import nn

from scorefield.files import whole_folder
from scorefield.integrity import write_seal
from scorefield.runs.distributed import DistributedContext
from scorefield.training.codec import CodecTask, scale_latents
from scorefield.training.data import world_images
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
from scorefield.world import CATEGORIES, COLORS, FRONTED, draw_scene

GUIDANCE_SCALE = 3.5
"""Default guidance of the shipped prior, chosen on samples with seed 100."""

_TEMPLATES = ("a red {}, front view", "a photo of a red {}", "a flat icon of a red {}")

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
    processes = DistributedContext(codec.device)
    with processes.first_ahead():
        images = world_images(WORLD_SEED, count, out / "data", progress=progress)
    codec_task = CodecTask(images, codec)
    run_training(codec_task, out / "codec", resume, progress)
    vae = codec_task.averaged()
    path = out / f"latents-{codec.steps}.safetensors"
    with processes.first_ahead():
        means, stds = cached_latents(vae, images, path, codec)
    scale_latents(vae, means)
    scale = vae.config.scaling_factor
    scenes = [draw_scene(WORLD_SEED, index) for index in range(count)]
    # The views are learnt last, and have a meaning where there is a front: those come up twice.
    drawn = [i for i, scene in enumerate(scenes) for _ in range(1 + (scene.category in FRONTED))]
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
