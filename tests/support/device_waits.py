"""How often a step waits for its device, counted on one that the CPU pretends to be."""

from collections import Counter

import pytest
import torch
from torch import Tensor, nn
from torch.utils import backend_registration

from scorefield.devices import to_device
from scorefield.priors.codec import PixelCodec
from scorefield.priors.condition import Condition
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.noise import noise_generator
from scorefield.priors.schedule import DiscreteSchedule
from scorefield.runs.loop import Task
from scorefield.runs.metrics import SentMetrics
from scorefield.sds.image_distillation import ImageDistillation, ImageSettings
from scorefield.sds.nerf import radiance_field
from scorefield.sds.nerf.fields import VoxelGrid
from scorefield.sds.nerf.scene_distillation import TextTo3D
from scorefield.sds.nerf.settings import TextTo3DSettings
from scorefield.sds.svg.distillation import TextToSvg
from scorefield.sds.svg.settings import TextToSvgSettings
from tests.support import pretend_device

pytestmark = pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch has no backends in Python",
)
PROMPT = "a red mushroom"


class Grey(nn.Module):
    """A network that has weights and reads its condition, and no more."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, z: Tensor, timestep: Tensor, told: Tensor) -> Tensor:
        return self.layer(z) + told[:, :, None, None] + 1e-3 * timestep[:, None, None, None]


class Lengths:
    """The length of each prompt, whatever its words."""

    device = torch.device("cpu")

    def encode(self, prompts: list[str]) -> Condition:
        told = torch.tensor([[float(len(prompt))] for prompt in prompts])
        return Condition({"told": to_device(told, self.device)})

    def to(self, device: torch.device | str) -> "Lengths":
        self.device = torch.device(device)
        return self


def make_prior() -> FrozenPrior:
    torch.manual_seed(0)
    parts = (Grey(), Lengths(), PixelCodec(), DiscreteSchedule.scaled_linear())
    return FrozenPrior("grey", *parts, "epsilon", shape=(3, 32, 32))


@pytest.fixture(scope="module")
def prior() -> FrozenPrior:
    return make_prior().to(pretend_device.install())


def waits_of(task: Task, step: int = 2) -> Counter[str]:
    task.step(1)
    with pretend_device.waits() as found:
        task.step(step)
    return found


def scene(prior: FrozenPrior, **settings: object) -> TextTo3D:
    lit = {"shaded": 1.0, "albedo_steps": 0.0, "textureless": 0.0, "views": 1, "samples": 16}
    return TextTo3D(prior, TextTo3DSettings(PROMPT, **{**lit, **settings}))  # type: ignore[arg-type]


def test_what_is_read_blocks_or_depends_on_data_is_counted() -> None:
    device = pretend_device.install()
    with pretend_device.waits() as found:
        x = torch.arange(4.0).to(device)
        assert (x + 1).sum().item() == 10
        assert x[x > 1].shape == (2,)
        assert x.nonzero().shape == (3, 1)
        assert x.cpu().tolist() == [0, 1, 2, 3]
        assert x.to("cpu", non_blocking=True) is not None
        torch.nonzero_static(x, size=3)
    assert found == {
        "copy to the device": 1, "_local_scalar_dense": 1, "mask": 1, "nonzero": 1,
        "copy to the host": 1,
    }  # fmt: skip


@pytest.mark.parametrize("rays_at_once", [2**14, 2**10])
def test_a_scene_waits_twice_a_step_whatever_its_chunks(
    prior: FrozenPrior, monkeypatch: pytest.MonkeyPatch, rays_at_once: int
) -> None:
    monkeypatch.setattr(radiance_field, "RAYS_AT_ONCE", rays_at_once)
    # every eighth step looks at the occupancy as well
    assert waits_of(scene(prior), step=8) == {"copy to the host": 2}


def test_a_scene_of_hash_tables_waits_no_more(prior: FrozenPrior) -> None:
    assert waits_of(scene(prior, field="hash")) == {"copy to the host": 2}


def test_images_do_not_wait(prior: FrozenPrior) -> None:
    settings = ImageSettings(PROMPT, images=1, pixels=True)
    assert waits_of(ImageDistillation(prior, settings)) == {}


def test_a_drawing_waits_for_its_gradient(prior: FrozenPrior) -> None:
    settings = TextToSvgSettings(PROMPT, start="random", views=1)
    assert sum(waits_of(TextToSvg(prior, settings)).values()) <= 2


def test_a_sample_is_looked_at_once(prior: FrozenPrior) -> None:
    with pretend_device.waits() as found:
        prior.generate_latents(PROMPT, steps=4)
    assert found == {"copy to the host": 1}


def test_the_pretended_device_draws_what_the_cpu_draws(prior: FrozenPrior) -> None:
    here = make_prior().generate_latents(PROMPT, steps=2)
    torch.testing.assert_close(prior.generate_latents(PROMPT, steps=2).cpu(), here)


def test_metrics_are_read_late_in_their_order() -> None:
    device = pretend_device.install()
    sent = SentMetrics({"loss": torch.tensor(2.5).to(device), "paths": 3.0, "fit": Tensor([4])[0]})
    assert sent.read() == {"loss": 2.5, "paths": 3.0, "fit": 4.0}
    assert list(sent.read()) == ["loss", "paths", "fit"]


def test_a_pyramid_that_is_held_is_summed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    field = VoxelGrid(8, 2)
    sums = []
    interpolate = torch.nn.functional.interpolate
    monkeypatch.setattr(
        torch.nn.functional, "interpolate", lambda *a, **k: sums.append(1) or interpolate(*a, **k)
    )
    points = torch.rand(5, 3, generator=noise_generator(0, 0)) - 0.5
    with field.held():
        held = [field.density(points), field(points)[0], field.total_variation()]
    assert len(sums) == 1
    for one, other in zip(held, [field.density(points), field(points)[0]], strict=False):
        assert torch.equal(one, other)
    with torch.no_grad():
        field.levels[0] += 1.0
    assert not torch.equal(field.density(points), held[0])
