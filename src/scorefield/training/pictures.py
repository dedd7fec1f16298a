"""Train a text-to-image prior on a folder of pictures with captions."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from jaxtyping import Float, UInt8
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from scorefield.files import whole_file
from scorefield.runs.distributed import DistributedContext
from scorefield.training.codec import CodecTask, make_codec, scale_latents
from scorefield.training.diffusion import Curriculum, TextToLatents
from scorefield.training.folder import (
    BACKGROUNDS,
    CaptionedImage,
    image_views,
    read_folder,
    words_of,
)
from scorefield.training.recipes import (
    PICTURES_CODEC,
    PICTURES_DENOISER,
    PictureSettings,
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
from scorefield.training.tokenizer import make_tokenizer
from scorefield.training.warm_start import WarmStart

__all__ = ["GUIDANCE_SCALE", "train_pictures", "train_views"]

GUIDANCE_SCALE = 3.0
"""Default guidance of what is trained."""

SIZE = 64
"""Side of the pictures, pixels."""

_PREVIEWS = 6  # of the denoiser: each takes as long as dozens of steps
_SHOWN = 24  # captions that one shows


def train_pictures(
    folder: Path,
    out: Path,
    *,
    name: str | None = None,
    pictures: PictureSettings | None = None,
    codec: TrainingSettings = PICTURES_CODEC,
    denoiser: TrainingSettings = PICTURES_DENOISER,
    card: Mapping[str, Any] | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Train a prior on the pictures of a folder; returns the finished prior's folder.

    folder: pictures and captions, as `scorefield.training.folder.read_folder` takes them.
    out: holds the views, the latents, a run folder per stage, and at last the prior. An
        interrupted training goes on with `resume` at its last checkpoint.
    name: of the prior; None takes the folder's.
    pictures: how pictures become training data.
    codec, denoiser: of the two trainings.
    card: further entries of the prior's `scorefield.json`.

    Raises:
        ValueError: the folder has no pictures, a picture no caption, or `out` holds another
            training; the decoder alone is to be trained without a start, or with other channels.
    """
    pictures = pictures or PictureSettings()
    name = name or folder.resolve().name
    found = read_folder(folder)
    with DistributedContext(codec.device).first_ahead():
        images, captions = _views(found, pictures, denoiser.seed, out, progress)
    grounds = [f", {word} background" for word in BACKGROUNDS]
    return train_views(
        images,
        captions,
        out,
        name=name,
        prompts=preview_captions(found),
        words=words_of([*captions, *grounds]),
        pictures=pictures,
        codec=codec,
        denoiser=denoiser,
        card={} if card is None else card,
        resume=resume,
        progress=progress,
    )


def train_views(
    images: UInt8[Tensor, "n size size 3"],
    captions: Sequence[str],
    out: Path,
    *,
    name: str,
    prompts: Sequence[str],
    words: Sequence[str],
    pictures: PictureSettings,
    codec: TrainingSettings,
    denoiser: TrainingSettings,
    card: Mapping[str, Any],
    cameras: Float[Tensor, "n 7"] | None = None,
    low_noise: float | int = 1.0,
    curriculum: Curriculum = (),
    guidance_scale: float = GUIDANCE_SCALE,
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Train codec and denoiser on views that are made already; returns the prior's folder.

    images, captions: one caption each; "" teaches the codec alone.
    prompts: of the previews.
    words: that prompts may hold.
    cameras: of the images, as `scorefield.views.camera_vector` has them, for a prior that is told
        cameras.
    low_noise, curriculum: as `DiffusionTask` takes them; a start that is told cameras is past the
        curriculum.
    The rest is as `train_pictures` has it.

    Raises:
        ValueError: the decoder alone is to be trained without a start, or with other channels.
    """
    start = None if pictures.start is None else WarmStart(pictures.start)
    codec_task = CodecTask(images, codec, _codec(pictures, start, codec.seed))
    run_training(codec_task, out / "codec", resume, progress)
    vae = codec_task.averaged()

    told = [i for i, caption in enumerate(captions) if caption]
    processes = codec_task.processes
    with processes.first_ahead():
        means, stds = cached_latents(
            vae, images[told], out / "latents.safetensors", codec, progress=progress
        )
    if not pictures.decoder_only:
        scale_latents(vae, means)
    tokenizer = make_tokenizer(words)
    torch.manual_seed(denoiser.seed)
    module = TextToLatents(tokenizer, pictures.channels, cameras is not None)
    task = TextToImageTask(
        vae,
        means * vae.config.scaling_factor,
        stds * vae.config.scaling_factor,
        [captions[i] for i in told],
        tokenizer,
        denoiser,
        prompts=prompts,
        guidance_scale=guidance_scale,
        module=start.denoiser(module, tokenizer) if start else module,
        cameras=None if cameras is None else cameras[told],
        low_noise=low_noise,
        curriculum=[(until, chosen[told]) for until, chosen in curriculum],
        heeds_cameras=start is not None and start.unet.class_embedding is not None,
    )
    run_training(task, out / "denoiser", resume, progress, previews=_PREVIEWS)
    content = PriorCard(name, guidance_scale, words, card)
    pipeline = make_pipeline(vae, task.averaged(), tokenizer)
    processes.once(save_prior, pipeline, out / name, content)
    return out / name


def _codec(settings: PictureSettings, start: WarmStart | None, seed: int) -> AutoencoderKL:
    """The codec to train, with the weights of the start; its encoder frozen where that is asked."""
    torch.manual_seed(seed)
    network = make_codec(settings.channels)
    if start is None:
        if settings.decoder_only:
            raise ValueError("the decoder alone can only be trained from a prior; name one")
        return network
    network = start.codec(network)
    if settings.decoder_only:
        channels = start.vae.config.latent_channels
        if channels != settings.channels:
            raise ValueError(
                f"the latents of {settings.start} have {channels} channels, and with its decoder "
                f"alone they stay so; got {settings.channels}"
            )
        network.register_to_config(scaling_factor=start.vae.config.scaling_factor)
        network.encoder.requires_grad_(False)
        network.quant_conv.requires_grad_(False)
    return network


def preview_captions(pictures: Sequence[CaptionedImage], count: int = _SHOWN) -> list[str]:
    """What most pictures show: the first captions of all, the `count` commonest, by name."""
    firsts = Counter(picture.captions[0] for picture in pictures if picture.captions)
    return sorted(caption for caption, _ in firsts.most_common(count))


def _views(
    found: Sequence[CaptionedImage],
    settings: PictureSettings,
    seed: int,
    out: Path,
    progress: bool,
) -> tuple[UInt8[Tensor, "n size size 3"], list[str]]:
    """All views and their captions, made once and kept in `out`."""
    path, told = out / "views.safetensors", out / "captions.txt"
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        views, captions = [], []
        for number, picture in enumerate(
            tqdm(found, desc="reading pictures", unit="picture", disable=not progress)
        ):
            count = settings.views if picture.captions else settings.codec_views
            rng = np.random.default_rng([seed, number])
            images, texts = image_views(picture, count, SIZE, rng, mirror=settings.mirror)
            views.append(images)
            captions.extend(texts)
        told.write_text("\n".join(captions) + "\n", "utf-8")
        with whole_file(path) as part:
            save_file({"views": torch.cat(views)}, part)
    return load_file(path)["views"], told.read_text("utf-8").split("\n")[:-1]
