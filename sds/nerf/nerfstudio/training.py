"""nerfstudio's trainer in this process, and the scenes that it has saved."""

import copy
import os
import random
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nerfstudio.configs.method_configs import all_methods
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.utils.eval_utils import eval_setup

from scorefield.priors.prior import ImagePrior
from scorefield.sds.nerf.nerfstudio.adapters import FieldOfNerfstudio
from scorefield.sds.nerf.nerfstudio.method import METHOD
from scorefield.sds.nerf.nerfstudio.model import ScorefieldModel
from scorefield.sds.nerf.radiance_field import RadianceField

__all__ = ["load_nerfstudio_scene", "train"]


def train(config: TrainerConfig, prior: ImagePrior) -> Path:
    """Train to the end with nerfstudio's trainer; returns the run's `config.yml`.

    A run that has a checkpoint goes on from its last one, to the number of iterations in the
    config. Nothing is written before the prior has accepted the prompt.

    Args:
        config: of the method `scorefield`.
        prior: the teacher.

    Raises:
        ValueError: words the prior does not know, or settings it refuses.
    """
    config = copy.deepcopy(config)
    torch.manual_seed(config.machine.seed)
    np.random.seed(config.machine.seed)  # noqa: NPY002  (nerfstudio draws from it)
    random.seed(config.machine.seed)
    done = _steps_done(config.get_checkpoint_dir())
    if done:
        config.load_dir = config.get_checkpoint_dir()
        config.max_num_iterations -= done  # nerfstudio counts them from the checkpoint on
    trainer: Any = config.setup(local_rank=0, world_size=1)
    with _numpy_scalars():
        trainer.setup()
    trainer.pipeline.begin(prior)
    config.save_config()
    if config.max_num_iterations > 0:
        trainer.train()
    found: Path = config.get_base_dir() / "config.yml"
    return found


def load_nerfstudio_scene(
    config: str | os.PathLike[str], radius: float = 1.0
) -> tuple[RadianceField, str]:
    """The scene in a run of nerfstudio, as its last checkpoint has it, and its prompt or "".

    A run of the method `scorefield` gives its scene; of another method, such as nerfacto, the
    model's field is taken. The folder of the run may have been moved. nerfstudio's configs are YAML
    that can run code: load those that you trust.

    Args:
        config: the run's `config.yml`.
        radius: of the sphere around the origin, in the run's units, that becomes the unit sphere;
            scenes of `scorefield` fill it already.

    Raises:
        ValueError: there is no such run, no checkpoint, or no field in its model.
    """
    path = Path(config).resolve()
    if len(path.parents) < 4 or not list((path.parent / "nerfstudio_models").glob("*.ckpt")):
        raise ValueError(f"{path} belongs to no run of nerfstudio with a checkpoint beside it")
    all_methods.setdefault(METHOD.config.method_name, METHOD.config)

    def found_here(loaded: TrainerConfig) -> TrainerConfig:
        loaded.output_dir = path.parents[3]
        loaded.experiment_name, loaded.method_name = path.parents[2].name, path.parents[1].name
        loaded.timestamp = path.parent.name
        return loaded

    with _numpy_scalars():
        loaded, pipeline, _, _ = eval_setup(path, update_config_callback=found_here)
    model = pipeline.model
    prompt = loaded.pipeline.model.prompt or ""
    if isinstance(model, ScorefieldModel):
        return model.scene, prompt
    field = getattr(model, "field", None)
    if field is None:
        raise ValueError(f"{path}: the method {loaded.method_name} has no field to take a mesh of")
    scene = RadianceField(FieldOfNerfstudio(field, radius))
    return scene.to(next(field.parameters()).device).eval(), prompt


def _steps_done(folder: Path) -> int:
    """How many updates the last checkpoint in a folder has; 0 without one."""
    steps = [int(one.stem.partition("-")[2]) for one in folder.glob("step-*.ckpt")]
    return max(steps) + 1 if steps else 0


def _numpy_scalars() -> AbstractContextManager[Any]:
    """Inside, checkpoints load whose learning rates are numpy's, as nerfstudio's schedulers'."""
    scalar: Any = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int64)]
    old = (scalar, "numpy.core.multiarray.scalar")  # numpy 1's name of it
    allowed: list[Any] = [scalar, old, np.dtype, *kinds]
    return torch.serialization.safe_globals(allowed)
