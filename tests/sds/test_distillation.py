"""Distillation of a module of one's own."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from scorefield.priors import load_prior
from scorefield.priors.prior import ImagePrior
from scorefield.runs.folder import RunFolder
from scorefield.runs.loop import optimise
from scorefield.sds import SDS, VSD, DistillationSettings, ModuleDistillation, Objective


class Shifted(nn.Module):
    """Pixels, moved sideways at random: what it renders depends on the step's generator."""

    def __init__(self, size: int, channels: int = 3) -> None:
        super().__init__()
        self.pixels = nn.Parameter(torch.full((2, channels, size, size), 0.5))

    def forward(self, generator: torch.Generator) -> Tensor:
        shift = int(torch.randint(0, 4, (), generator=generator))
        return self.pixels.roll(shift, -1)


@pytest.fixture(scope="module")
def prior() -> ImagePrior:
    return load_prior("shapes")


@pytest.mark.parametrize("objective", [SDS(), VSD()], ids=["sds", "vsd"])
def test_a_module_resumes_bit_for_bit(
    prior: ImagePrior, tmp_path: Path, objective: Objective
) -> None:
    """Module, Adam, phi and phi's Adam: all are in the checkpoint."""

    def go(folder: str, steps: int, resume: bool = False) -> ModuleDistillation:
        settings = DistillationSettings("a red mushroom", steps=4, objective=objective, image=0.1)
        task = ModuleDistillation(settings, prior, Shifted(prior.image_size))
        optimise(
            task,
            steps=steps,
            folder=RunFolder.create(tmp_path / folder, task.config(), resume=resume),
            preview_every=2,
            checkpoint_every=2,
            progress=False,
            resume=resume,
        )
        return task

    whole = go("whole", 4)
    go("parts", 2)
    parts = go("parts", 4, resume=True)
    assert torch.equal(whole.images(), parts.images())
    assert not torch.equal(whole.images(), torch.full_like(whole.images(), 0.5))
    phi, other = whole.distillation.phi, parts.distillation.phi
    assert (phi is None) == (other is None) == isinstance(objective, SDS)
    if phi is not None and other is not None:
        for name, value in phi.parameters.items():
            assert torch.equal(value, other.parameters[name]), name
    for name in ("metrics.jsonl", "previews/000004.png"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


@pytest.mark.parametrize("channels", [1, 4])
def test_images_of_another_shape_are_refused_before_the_first_step(
    prior: ImagePrior, channels: int
) -> None:
    with pytest.raises(ValueError, match=r"must return images \(batch, 3, height, width\)"):
        ModuleDistillation(
            DistillationSettings("a red mushroom"), prior, Shifted(prior.image_size, channels)
        )


def test_unknown_words_are_refused_before_the_first_step(prior: ImagePrior) -> None:
    with pytest.raises(ValueError, match="xyzzy"):
        ModuleDistillation(
            DistillationSettings("a xyzzy mushroom"), prior, Shifted(prior.image_size)
        )
