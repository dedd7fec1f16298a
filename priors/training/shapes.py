"""The recipe of the embedded prior `shapes`: a miniature Stable Diffusion, from nothing."""

from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
from jaxtyping import Float, UInt8
from safetensors.torch import load_file, save_file
from torch import Tensor

from scorefield.files import whole_file, write_json
from scorefield.images import contact_sheet
from scorefield.integrity import write_seal
from scorefield.priors.prior import FrozenPrior
from scorefield.priors.training.codec import CodecTask, encode_all, scale_latents
from scorefield.priors.training.data import world_images
from scorefield.priors.training.diffusion import DiffusionTask, TextToLatents
from scorefield.priors.training.judge import JudgeTask
from scorefield.priors.training.recipes import (
    CODEC,
    DIFFUSION,
    JUDGE,
    JUDGE_PICTURES,
    SHAPES_PICTURES,
)
from scorefield.priors.training.settings import TrainingSettings
from scorefield.priors.training.task import run_training
from scorefield.priors.training.tokenizer import WORDS, make_tokenizer
from scorefield.priors.world import CATEGORIES, COLORS, FRONTED, draw_scene

GUIDANCE_SCALE = 3.5
"""Default guidance of the shipped prior, chosen on samples with seed 100."""

WORLD_SEED, JUDGE_SEED = 0, 1
"""World seeds of the pictures that the prior and the judge are trained on."""


class ShapesTask(DiffusionTask):
    """The diffusion training, with pictures of what it draws by now.

    codec: what made the latents; decodes the previews.
    """

    def __init__(
        self,
        codec: AutoencoderKL,
        means: Float[Tensor, "n c h w"],
        stds: Float[Tensor, "n c h w"],
        captions: Sequence[str],
        settings: TrainingSettings,
    ) -> None:
        super().__init__(means, stds, captions, make_tokenizer(), settings)
        self.codec = codec

    def preview(self, step: int) -> Float[Tensor, "3 height width"]:
        """Two samples of each category, in turn in each of the colours."""
        colors = list(COLORS)
        prompts = [f"a {colors[i % 8]} {name}" for i, name in enumerate([*CATEGORIES] * 2)]
        pipeline = make_pipeline(self.codec, self.averaged())
        prior = FrozenPrior.from_pipeline(pipeline, guidance_scale=GUIDANCE_SCALE)
        images = prior.generate(prompts, steps=20, seed=100, batch_size=24)
        return contact_sheet(images.cpu(), columns=12)


def make_pipeline(codec: AutoencoderKL, module: TextToLatents) -> StableDiffusionPipeline:
    """The standard pipeline around trained parts."""
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        rescale_betas_zero_snr=True,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    return StableDiffusionPipeline(
        vae=codec,
        text_encoder=module.text_encoder,
        tokenizer=make_tokenizer(),
        unet=module.unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def train_shapes(
    out: Path,
    *,
    pictures: int = SHAPES_PICTURES,
    codec: TrainingSettings = CODEC,
    diffusion: TrainingSettings = DIFFUSION,
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Train codec, text encoder and denoiser; returns the folder of the finished pipeline.

    out: holds the pictures, the latents, a run folder per stage, and at last `shapes`. An
        interrupted training goes on with `resume` at its last checkpoint.
    pictures: size of the training set.
    """
    images = world_images(WORLD_SEED, pictures, out / "data", progress=progress)
    codec_task = CodecTask(images, codec)
    run_training(codec_task, out / "codec", codec, resume, progress)
    vae = codec_task.averaged()
    means, stds = _latents(vae, images, out / f"latents-{codec.steps}.safetensors", codec)
    scale_latents(vae, means)
    scale = vae.config.scaling_factor
    scenes = [draw_scene(WORLD_SEED, index) for index in range(pictures)]
    # The views are learnt last, and have a meaning where there is a front: those come up twice.
    drawn = [i for i, scene in enumerate(scenes) for _ in range(1 + (scene.category in FRONTED))]
    captions = [scenes[i].caption for i in drawn]
    task = ShapesTask(vae, means[drawn] * scale, stds[drawn] * scale, captions, diffusion)
    run_training(task, out / "denoiser", diffusion, resume, progress)
    return save_prior(make_pipeline(vae, task.averaged()), out / "shapes")


def train_judge(
    out: Path,
    *,
    pictures: int = JUDGE_PICTURES,
    settings: TrainingSettings = JUDGE,
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Train the judge on renders of its own; returns the file of its weights."""
    images = world_images(JUDGE_SEED, pictures, out / "data", progress=progress)
    scenes = [draw_scene(JUDGE_SEED, index) for index in range(pictures)]
    task = JudgeTask(images, scenes, settings)
    run_training(task, out / "judge", settings, resume, progress)
    path = out / "judge" / "judge.safetensors"
    with whole_file(path) as part:
        save_file({k: v.half().contiguous() for k, v in task.averaged().state_dict().items()}, part)
    return path


def save_prior(pipeline: StableDiffusionPipeline, folder: Path) -> Path:
    """Write a pipeline, its networks halved in place, with the card that names its vocabulary."""
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        part.half()
    pipeline.save_pretrained(folder, safe_serialization=True)
    card = {"name": "shapes", "guidance_scale": GUIDANCE_SCALE, "vocabulary": WORDS}
    write_json(folder / "scorefield.json", card)
    write_seal(folder)
    return folder


def _latents(
    vae: AutoencoderKL, images: UInt8[Tensor, "n h w 3"], path: Path, settings: TrainingSettings
) -> tuple[Float[Tensor, "n c lh lw"], Float[Tensor, "n c lh lw"]]:
    """The codes of all pictures, computed once."""
    saved = load_file(path) if path.exists() else {}
    if not saved or len(saved["means"]) != len(images):
        device = torch.device(settings.device).type
        with torch.autocast(
            device, settings.precision, enabled=settings.precision != torch.float32
        ):
            means, stds = encode_all(vae, images)
        saved = {"means": means.half(), "stds": stds.half()}
        with whole_file(path) as part:
            save_file(saved, part)
    return saved["means"].float(), saved["stds"].float()
