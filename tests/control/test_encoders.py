"""What is seen as a condition: places, crops, order, frozen features."""

import copy

import pytest
import torch
from torch import nn

from scorefield.control.data.spaces import PolicySpaces
from scorefield.control.networks.encoders import ObservationEncoder, ResNet, SpatialSoftmax, cropped
from scorefield.control.networks.settings import EncoderSettings
from scorefield.control.policies.sharded_generator import ShardedGenerator
from scorefield.priors.noise import noise_generator

SMALL = EncoderSettings(width=16, keypoints=4)
SPACES = PolicySpaces(
    state=3,
    action=2,
    low=(-1.0, -1.0),
    high=(1.0, 1.0),
    images={"front": (64, 64), "wrist": (48, 32)},
)


def observations(batch: int = 2, steps: int = 2) -> dict[str, torch.Tensor]:
    generator = noise_generator(0)
    return {
        "state": torch.rand(batch, steps, 3, generator=generator),
        "front": torch.rand(batch, steps, 3, 64, 64, generator=generator),
        "wrist": torch.rand(batch, steps, 3, 48, 32, generator=generator),
    }


def test_spatial_softmax_says_where_a_peak_is() -> None:
    softmax = SpatialSoftmax(1, 1)
    nn.init.constant_(softmax.project.weight, 1e4)
    nn.init.zeros_(softmax.project.bias)
    heat = torch.zeros(1, 1, 5, 9)
    heat[0, 0, 1, 6] = 1
    # Row 1 of 5 is y = -0.5, column 6 of 9 is x = 0.5.
    torch.testing.assert_close(softmax(heat), torch.tensor([[0.5, -0.5]]))


def test_resnet18_has_its_published_size() -> None:
    # He et al. 2016: 11,689,512 with the classifier of 513,000; a group norm has a batch norm's
    # two numbers per channel.
    assert sum(p.numel() for p in ResNet(64).parameters()) == 11_689_512 - 513_000
    assert ResNet(16)(torch.zeros(1, 3, 96, 96)).shape == (1, 128, 3, 3)
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in ResNet(16).modules())


def test_the_middle_is_cropped_in_use_and_anywhere_in_training() -> None:
    images = torch.arange(10.0 * 10).reshape(1, 1, 1, 10, 10).expand(40, 2, 3, 10, 10)
    middle = cropped(images, 0.8)
    assert torch.equal(middle, images[..., 1:9, 1:9])
    random = cropped(images, 0.8, ShardedGenerator(noise_generator(0)))
    corners = random[:, 0, 0, 0, 0]
    assert set(corners.tolist()) == {10.0 * y + x for y in range(3) for x in range(3)}
    assert torch.equal(random[:, 0], random[:, 1])
    assert torch.equal(random, cropped(images, 0.8, ShardedGenerator(noise_generator(0))))


def test_observations_come_one_after_another() -> None:
    encoder = ObservationEncoder(SPACES, 2, SMALL)
    assert encoder.size == 2 * (3 + 2 * 8)
    seen = observations()
    condition = encoder(seen)
    assert condition.shape == (2, encoder.size)
    later = {name: tensor.clone() for name, tensor in seen.items()}
    later["front"][:, 1] = 0
    changed = (encoder(later) - condition).abs()
    assert changed[:, :19].max() == 0 and changed[:, 19 + 3 : 19 + 11].max() > 0
    torch.testing.assert_close(condition[:, :3], seen["state"][:, 0])


def test_a_frozen_prior_is_seen_with_and_neither_saved_nor_copied() -> None:
    encoder = ObservationEncoder(SPACES, 2, EncoderSettings(keypoints=4, prior="shapes"))
    names = {name for name, _ in encoder.named_parameters()}
    assert names == {
        f"cameras.{c}.1.project.{w}" for c in range(len(SPACES.images)) for w in ("weight", "bias")
    }
    twin = copy.deepcopy(encoder)
    assert twin.cameras[0][0]._prior.prior is encoder.cameras[0][0]._prior.prior
    seen = observations(batch=1)
    condition = encoder(seen)
    torch.testing.assert_close(twin(seen), condition)
    condition.sum().backward()
    assert encoder.cameras[0][1].project.weight.grad is not None


@pytest.mark.parametrize(
    "settings", [{"width": 20}, {"keypoints": 0}, {"crop": 0.0}, {"fraction": 1.5}]
)
def test_bad_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        EncoderSettings(**settings)  # type: ignore[arg-type]
