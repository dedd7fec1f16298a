"""The method `scorefield` of nerfstudio: `ns-train scorefield --prompt "a red mushroom"`.

nerfstudio's trainer, random cameras, fields, viewer and checkpoints; this library's march,
penalties and distillation, so that any prior and any objective can be the teacher.
"""

from dataclasses import dataclass

from nerfstudio.engine.optimizers import AdamOptimizerConfig
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.plugins.types import MethodSpecification

from scorefield.sds.nerf.nerfstudio.model import ScorefieldModelConfig
from scorefield.sds.nerf.nerfstudio.pipeline import (
    OrbitDataManagerConfig,
    ScorefieldPipelineConfig,
)

__all__ = ["METHOD", "method"]


@dataclass
class FieldAdamConfig(AdamOptimizerConfig):
    """Adam as `field_optimizer` has it."""

    lr: float = 0.01
    eps: float = 1e-15
    betas: tuple[float, float] = (0.9, 0.99)


def method() -> MethodSpecification:
    """The method with its defaults, made anew.

    No scheduler of nerfstudio is used: what it saves of one, torch from 2.6 on does not load.
    """
    config = TrainerConfig(
        method_name="scorefield",
        max_num_iterations=300,
        steps_per_save=100,
        steps_per_eval_batch=0,
        steps_per_eval_image=100,
        steps_per_eval_all_images=0,
        pipeline=ScorefieldPipelineConfig(
            datamanager=OrbitDataManagerConfig(), model=ScorefieldModelConfig()
        ),
        optimizers={
            "fields": {"optimizer": FieldAdamConfig(), "scheduler": None},
            "background": {"optimizer": FieldAdamConfig(lr=0.001), "scheduler": None},
        },
        vis="viewer+tensorboard",
    )
    return MethodSpecification(config, "Text to 3D: distil any diffusion prior (scorefield).")


METHOD = method()
"""What nerfstudio finds through the entry point `nerfstudio.method_configs`."""
