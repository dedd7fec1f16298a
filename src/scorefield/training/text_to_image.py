"""Text-to-image priors from images: codec, latents, denoiser, and the folder that results."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline
from jaxtyping import Float, UInt8
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTokenizer

from scorefield.cameras import orbit
from scorefield.files import whole_file, whole_folder, write_json
from scorefield.images import contact_sheet
from scorefield.integrity import write_seal
from scorefield.priors.families import from_pipeline
from scorefield.priors.loading import pipeline_class
from scorefield.training.codec import encode_all
from scorefield.training.diffusion import Curriculum, DiffusionTask, TextToLatents
from scorefield.training.settings import TrainingSettings
from scorefield.views import CameraRanges, camera_vector

__all__ = ["PriorCard", "TextToImageTask", "cached_latents", "make_pipeline", "save_prior"]

SHARD_SIZE = "12MB"
"""Largest file of weights that is written."""

_SEEN, _SIDES = 6, 4  # prompts that a preview shows, and from how many sides, with cameras


@dataclass(frozen=True)
class PriorCard:
    """What a trained prior says of itself in `scorefield.json`.

    name: of the prior and of its folder.
    guidance_scale: at which its samples look best.
    vocabulary: the words it was trained on.
    more: further entries of `scorefield.priors.families.Card` or for people.
    """

    name: str
    guidance_scale: float
    vocabulary: Sequence[str]
    more: Mapping[str, Any] = field(default_factory=dict)


class TextToImageTask(DiffusionTask):
    """The diffusion training, with images of what it draws by now.

    codec: what made the latents; decodes the previews.
    prompts, guidance_scale: of the previews.
    module, cameras, low_noise, curriculum, heeds_cameras: as of `DiffusionTask`; with cameras,
        previews show the first six prompts, each from four sides.
    """

    def __init__(
        self,
        codec: AutoencoderKL,
        means: Float[Tensor, "n c h w"],
        stds: Float[Tensor, "n c h w"],
        captions: Sequence[str],
        tokenizer: CLIPTokenizer,
        settings: TrainingSettings,
        *,
        prompts: Sequence[str],
        guidance_scale: float,
        module: TextToLatents | None = None,
        cameras: Tensor | None = None,
        low_noise: float | int = 1.0,
        curriculum: Curriculum = (),
        heeds_cameras: bool = False,
    ) -> None:
        super().__init__(
            means,
            stds,
            captions,
            tokenizer,
            settings,
            module=module,
            cameras=cameras,
            low_noise=low_noise,
            curriculum=curriculum,
            heeds_cameras=heeds_cameras,
        )
        self.codec, self.tokenizer = codec, tokenizer
        self.prompts, self.guidance_scale = list(prompts), guidance_scale

    def preview(self, step: int) -> Float[Tensor, "3 height width"]:
        """A sample of each prompt; with cameras from front, side, back and other side."""
        pipeline = make_pipeline(self.codec, self.averaged(), self.tokenizer)
        prompts, vectors, told = self.prompts, None, None
        if self.cameras is not None:
            prompts = [one for one in prompts[:_SEEN] for _ in range(_SIDES)]
            vectors = camera_vector(orbit(_SIDES)).repeat(len(prompts) // _SIDES, 1)
            told = asdict(CameraRanges.of_vectors(self.cameras))
        prior = from_pipeline(pipeline, guidance_scale=self.guidance_scale, cameras=told)
        images = prior.generate(prompts, cameras=vectors, steps=20, seed=100, batch_size=24)
        return contact_sheet(images.cpu(), columns=12)


def make_pipeline(
    codec: AutoencoderKL, module: TextToLatents, tokenizer: CLIPTokenizer
) -> DiffusionPipeline:
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
    pipeline = pipeline_class("StableDiffusionPipeline")
    return pipeline(
        vae=codec,
        text_encoder=module.text_encoder,
        tokenizer=tokenizer,
        unet=module.unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def save_prior(pipeline: DiffusionPipeline, folder: Path, card: PriorCard) -> Path:
    """Write a pipeline, its networks halved in place, with its card."""
    for network in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        network.half()
    content = {
        "name": card.name,
        "guidance_scale": card.guidance_scale,
        "vocabulary": list(card.vocabulary),
        **card.more,
    }
    with whole_folder(folder) as part:
        pipeline.save_pretrained(part, safe_serialization=True, max_shard_size=SHARD_SIZE)
        write_json(part / "scorefield.json", content)
        write_seal(part)
    return folder


def cached_latents(
    vae: AutoencoderKL,
    images: UInt8[Tensor, "n h w 3"],
    path: Path,
    settings: TrainingSettings,
    *,
    progress: bool = False,
) -> tuple[Float[Tensor, "n c lh lw"], Float[Tensor, "n c lh lw"]]:
    """The codes of all images, computed once."""
    saved = load_file(path) if path.exists() else {}
    if not saved or len(saved["means"]) != len(images):
        device = torch.device(settings.device).type
        with torch.autocast(
            device, settings.precision, enabled=settings.precision != torch.float32
        ):
            means, stds = encode_all(vae, images, progress=progress)
        saved = {"means": means.half(), "stds": stds.half()}
        with whole_file(path) as part:
            save_file(saved, part)
    return saved["means"].float(), saved["stds"].float()
