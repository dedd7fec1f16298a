"""Random cameras and the update of the method `scorefield`, for nerfstudio's trainer."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from nerfstudio.cameras.cameras import Cameras as NerfstudioCameras
from nerfstudio.data.datamanagers.random_cameras_datamanager import (
    RandomCamerasDataManager,
    RandomCamerasDataManagerConfig,
    random_train_pose,
)
from nerfstudio.engine.callbacks import (
    TrainingCallback,
    TrainingCallbackAttributes,
    TrainingCallbackLocation,
)
from nerfstudio.pipelines.base_pipeline import VanillaPipeline, VanillaPipelineConfig
from torch import Tensor

from scorefield.priors.loading import load_prior
from scorefield.priors.noise import noise_generator
from scorefield.priors.prior import ImagePrior
from scorefield.sds.nerf.nerfstudio.adapters import cameras_of
from scorefield.sds.nerf.nerfstudio.model import settings_of
from scorefield.sds.nerf.optimizer import falling_rate
from scorefield.sds.nerf.scene_distillation import SceneLook, TextTo3D

__all__ = [
    "OrbitDataManager",
    "OrbitDataManagerConfig",
    "ScorefieldPipeline",
    "ScorefieldPipelineConfig",
]

_CAMERAS = 1
"""Key of the cameras' random numbers, beside the step."""

_FRONT = 90.0
"""The angle around z, as nerfstudio's random cameras count it, of a camera on +x."""


@dataclass
class OrbitDataManagerConfig(RandomCamerasDataManagerConfig):
    """nerfstudio's random cameras, several per update, where the embedded prior knows objects."""

    _target: type = dataclasses.field(default_factory=lambda: OrbitDataManager)
    num_eval_angles: int = 16
    eval_resolution: int = 128
    train_images_per_batch: int = 4
    radius_mean: float = 3.0
    radius_std: float = 0.1
    focal_range: tuple[float, float] = (1.374, 1.374)  # 40 degrees
    vertical_rotation_range: tuple[float, float] = (-75.0, 15.0)  # 60 to -10 degrees of elevation
    jitter_std: float = 0.03


class OrbitDataManager(RandomCamerasDataManager):
    """Random cameras that depend on seed and step alone; nerfstudio's own takes one per batch."""

    config: OrbitDataManagerConfig

    def next_cameras(self, step: int, seed: int) -> NerfstudioCameras:
        """The cameras of an update."""
        config = self.config
        warmup = config.horizontal_rotation_warmup
        half = 180.0 * min(step / warmup, 1.0) if warmup else 180.0
        state = torch.get_rng_state()
        torch.set_rng_state(noise_generator(seed, step, _CAMERAS).get_state())
        cameras, _, _ = random_train_pose(
            config.train_images_per_batch,
            config.train_resolution,
            "cpu",
            radius_mean=config.radius_mean,
            radius_std=config.radius_std,
            focal_range=config.focal_range,
            vertical_rotation_range=config.vertical_rotation_range,
            jitter_std=config.jitter_std,
            center=config.center,
            central_rotation_range=(_FRONT - half, _FRONT + half),
        )
        torch.set_rng_state(state)
        return cameras

    def get_train_rays_per_batch(self) -> int:
        """Of all cameras."""
        return self.config.train_images_per_batch * self.config.train_resolution**2


@dataclass
class ScorefieldPipelineConfig(VanillaPipelineConfig):
    """Random cameras and a scene."""

    _target: type = dataclasses.field(default_factory=lambda: ScorefieldPipeline)


class ScorefieldPipeline(VanillaPipeline):
    """An update: what random cameras see of the scene pleases the prior a little more."""

    _trainer: Any = None
    _seen: tuple[SceneLook, torch.Generator] | None = None

    def get_training_callbacks(self, attributes: TrainingCallbackAttributes) -> list[Any]:
        """The rate before an update, and what VSD learns after it."""
        self._trainer = attributes.trainer
        before, after = (
            TrainingCallbackLocation.BEFORE_TRAIN_ITERATION,
            TrainingCallbackLocation.AFTER_TRAIN_ITERATION,
        )
        return [
            *super().get_training_callbacks(attributes),
            TrainingCallback([before], self._set_rates),
            TrainingCallback([after], self._learn),
        ]

    @property
    def steps(self) -> int:
        """All updates, those before a resume included."""
        start: int = self._trainer._start_step
        return start + int(self._trainer.config.max_num_iterations)

    def begin(self, prior: ImagePrior | None = None) -> None:
        """Takes on a prior, or loads the one of the configuration; needs the trainer to be set up.

        Raises:
            ValueError: the prior cannot be loaded, or knows too little.
        """
        config, cameras = self.config.model, self.config.datamanager
        if prior is None:
            prior = load_prior(config.prior, device=self.device, dtype=None)
        settings = settings_of(
            config.settings,
            config.prompt or "",
            prior,
            steps=self.steps,
            seed=self._trainer.config.machine.seed,
            size=cameras.train_resolution,
            views=cameras.train_images_per_batch,
        )
        self.model.begin(prior, settings)

    def get_train_loss_dict(self, step: int) -> tuple[Any, dict[str, Tensor], dict[str, Any]]:
        """What the cameras of a step cost: nothing to show, the losses, the metrics."""
        if self.model.job is None:
            self.begin()
        job: TextTo3D = self.model.job
        seed = job.settings.seed
        generator = noise_generator(seed, step)
        job.refresh(step, generator)
        cameras = cameras_of(self.datamanager.next_cameras(step, seed)).to(dtype=torch.float32)
        seen = job.look(cameras, step / self.steps, generator)
        self._seen = (seen, generator)
        return {}, {"distillation": seen.loss, "penalties": seen.penalty}, dict(seen.metrics)

    @torch.no_grad()
    def get_eval_loss_dict(self, step: int) -> tuple[Any, dict[str, Tensor], dict[str, Any]]:
        """The losses of the step, which nothing learns from."""
        kept = self._seen
        found = self.get_train_loss_dict(step)
        self._seen = kept
        return found

    def _set_rates(self, step: int) -> None:
        optimizers = self._trainer.optimizers
        for name, optimizer in optimizers.optimizers.items():
            rate = optimizers.config[name]["optimizer"].lr
            for group in optimizer.param_groups:
                group["lr"] = falling_rate(rate, step / self.steps)

    def _learn(self, step: int) -> None:
        if self._seen is not None:
            self.model.job.learn(*self._seen)
