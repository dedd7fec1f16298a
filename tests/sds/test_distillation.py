"""Distillation of a module of one's own."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor, nn
from untrained import untrained_shapes

from scorefield.priors import load_prior
from scorefield.priors.prior import ImagePrior
from scorefield.runs import run
from scorefield.runs.job import Job, begin
from scorefield.sds import SDS, VSD, DistillationSettings, ModuleDistillation, Objective
from scorefield.sds.distillation import _check_module
from scorefield.sds.image_distillation import ImageDistillation, ImageSettings
from scorefield.sds.nerf.scene_distillation import TextTo3D
from scorefield.sds.nerf.settings import TextTo3DSettings
from scorefield.sds.nerf.texture.distillation import TextureDistillation
from scorefield.sds.nerf.texture.settings import TextureSettings
from scorefield.sds.nerf.texture.user_mesh import UserMesh
from scorefield.sds.svg.distillation import TextToSvg
from scorefield.sds.svg.settings import TextToSvgSettings


class Shifted(nn.Module):
    """Pixels, moved sideways at random: what it renders depends on the step's generator."""

    def __init__(self, size: int, channels: int = 3) -> None:
        super().__init__()
        self.pixels = nn.Parameter(torch.full((2, channels, size, size), 0.5))

    def forward(self, generator: torch.Generator) -> Tensor:
        shift = int(torch.randint(0, 4, (), generator=generator))
        return self.pixels.roll(shift, -1)


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> ImagePrior:
    torch.manual_seed(0)
    return load_prior(untrained_shapes(tmp_path_factory.mktemp("prior") / "tiny"))


@pytest.mark.parametrize("objective", [SDS(), VSD()], ids=["sds", "vsd"])
def test_a_module_resumes_bit_for_bit(
    prior: ImagePrior, tmp_path: Path, objective: Objective
) -> None:
    """Module, Adam, phi and phi's Adam: all are in the checkpoint."""
    settings = DistillationSettings("a red mushroom", steps=4, objective=objective, image=0.1)

    class Killed(ModuleDistillation):
        def step(self, step: int) -> Mapping[str, float]:
            if step == 3:
                raise KeyboardInterrupt
            return super().step(step)

    def go(folder: str, task: ModuleDistillation, resume: bool = False) -> ModuleDistillation:
        options = {"preview_every": 2, "checkpoint_every": 2}
        run(task, tmp_path / folder, resume=resume, progress=False, **options)
        return task

    whole = go("whole", ModuleDistillation(prior, settings, Shifted(prior.image_size)))
    with pytest.raises(KeyboardInterrupt):
        go("parts", Killed(prior, settings, Shifted(prior.image_size)))
    task = ModuleDistillation(prior, settings, Shifted(prior.image_size))
    parts = go("parts", task, resume=True)
    assert torch.equal(whole.images(), parts.images())
    assert not torch.equal(whole.images(), torch.full_like(whole.images(), 0.5))
    phi, other = whole.distillation.phi, parts.distillation.phi
    assert (phi is None) == (other is None) == isinstance(objective, SDS)
    if phi is not None and other is not None:
        for name, value in phi.parameters.items():
            assert torch.equal(value, other.parameters[name]), name
    for name in ("metrics.jsonl", "previews/000002.png", "previews/000004.png", "final.png"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


@pytest.mark.parametrize("channels", [1, 4])
def test_images_of_another_shape_are_refused_before_the_first_step(
    prior: ImagePrior, channels: int
) -> None:
    with pytest.raises(ValueError, match=r"must return images \(batch, 3, height, width\)"):
        ModuleDistillation(
            prior, DistillationSettings("a red mushroom"), Shifted(prior.image_size, channels)
        )


class Rendered(Shifted):
    """What a function makes of the pixels."""

    def __init__(self, size: int, render: Callable[[Tensor], Any]) -> None:
        super().__init__(size)
        self.render = render

    def forward(self, generator: torch.Generator) -> Any:
        return self.render(super().forward(generator))


BAD_RENDERS: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "from -1": (
        lambda x: 2 * x - 2,
        r"images in \[0, 1\]; got values from -1 to -1; end it in sig",
    ),
    "to 255": (lambda x: 255 * x, r"got values from 127.5 to 127.5; .*divide by 255"),
    "not a number": (lambda x: x / 0 - x / 0, r"images in \[0, 1\]; got values from nan"),
    "detached": (lambda x: x.detach(), r"no graph to its parameters.*nn\.Parameter"),
    "a tuple": (lambda x: (x, x), r"images \(batch, 3, height, width\); got a tuple"),
}


@pytest.mark.parametrize("name", BAD_RENDERS)
def test_what_a_module_must_not_render_is_refused(prior: ImagePrior, name: str) -> None:
    render, words = BAD_RENDERS[name]
    settings = DistillationSettings("a red mushroom")
    with pytest.raises(ValueError, match=words):
        ModuleDistillation(prior, settings, Rendered(prior.image_size, render))


def test_rounding_at_the_ends_is_no_other_range(prior: ImagePrior) -> None:
    module = Rendered(prior.image_size, lambda x: 2 * x + 1e-5)
    assert ModuleDistillation(prior, DistillationSettings("a red mushroom"), module).steps


def test_what_holds_nothing_to_train_is_refused(prior: ImagePrior) -> None:
    # the types of arguments are checked while the tests run, so this check is asked by itself
    with pytest.raises(ValueError, match=r"must be a torch.nn.Module; got a function"):
        _check_module(lambda generator: torch.zeros(1, 3, 8, 8))
    constant = Shifted(prior.image_size).requires_grad_(False)
    with pytest.raises(ValueError, match="no graph to its parameters"):
        ModuleDistillation(prior, DistillationSettings("a red mushroom"), constant)


def test_a_module_of_other_shapes_is_another_run(prior: ImagePrior, tmp_path: Path) -> None:
    settings = DistillationSettings("a red mushroom", steps=1)
    begin(ModuleDistillation(prior, settings, Shifted(8)), tmp_path)
    other = ModuleDistillation(prior, settings, Shifted(16))
    with pytest.raises(ValueError, match=r"made with module_shapes\.pixels.* = .*8.*, now .*16"):
        begin(other, tmp_path, resume=True)


def test_another_model_of_the_same_name_is_another_run(tmp_path: Path) -> None:
    torch.manual_seed(0)
    folder = untrained_shapes(tmp_path / "prior")
    settings = DistillationSettings("a red mushroom", steps=1)

    def job(dtype: torch.dtype = torch.float32) -> ModuleDistillation:
        return ModuleDistillation(load_prior(folder, dtype=dtype), settings, Shifted(8))

    begin(job(), tmp_path / "run")
    begin(job(), tmp_path / "run", resume=True)
    with pytest.raises(ValueError, match='made with dtype = "float32", now dtype = "bfloat16"'):
        begin(job(torch.bfloat16), tmp_path / "run", resume=True)
    trained = job()
    with torch.no_grad():
        next(trained.distillation.prior.network.parameters()).mul_(1.02)
    with pytest.raises(ValueError, match="made with weights = "):
        begin(trained, tmp_path / "run", resume=True)


def test_unknown_words_are_refused_before_the_first_step(prior: ImagePrior) -> None:
    with pytest.raises(ValueError, match="xyzzy"):
        ModuleDistillation(
            prior, DistillationSettings("a xyzzy mushroom"), Shifted(prior.image_size)
        )


def test_all_generators_are_jobs(prior: ImagePrior) -> None:
    settings = {"prompt": "a red mushroom", "steps": 7}
    box = UserMesh(trimesh.creation.box(), np.eye(4))
    jobs = [
        ModuleDistillation(prior, DistillationSettings(**settings), Shifted(prior.image_size)),
        ImageDistillation(prior, ImageSettings(**settings)),
        TextTo3D(prior, TextTo3DSettings(**settings)),
        TextureDistillation(prior, TextureSettings(**settings), box),
        TextToSvg(prior, TextToSvgSettings(**settings, start="layers", trace_steps=5)),
    ]
    assert all(isinstance(job, Job) for job in jobs)
    assert [job.steps for job in jobs] == [7, 7, 7, 7, 12]
    for job in jobs:  # the schedules span the steps: with others it is another run
        assert json.loads(json.dumps(job.config()))["steps"] == 7
