from pathlib import Path

import pytest
import tiny_models
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from scorefield.priors.codec import LatentCodec, PixelCodec


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(3, 3, 32, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def codec(tiny_sd: Path) -> LatentCodec:
    return LatentCodec(AutoencoderKL.from_pretrained(tiny_sd, subfolder="vae"))


def test_encode_is_the_scaled_posterior_mean(codec: LatentCodec, images: Tensor) -> None:
    latents = codec.encode(images)
    assert latents.shape == (3, codec.channels, 32 // codec.factor, 64 // codec.factor)
    expected = 0.18215 * codec.vae.encode(2 * images - 1).latent_dist.mean
    torch.testing.assert_close(latents, expected)
    assert torch.equal(latents, codec.encode(images))  # nothing is drawn


def test_decode_undoes_the_scale(codec: LatentCodec) -> None:
    latents = torch.randn(2, 4, 4, 8, generator=torch.Generator().manual_seed(1))
    expected = codec.vae.decode(latents / 0.18215).sample / 2 + 0.5
    torch.testing.assert_close(codec.decode(latents), expected.clamp(0, 1))
    far = 100 * latents
    assert float(codec.decode_unclamped(far).max()) > 1
    assert torch.equal(codec.decode_unclamped(far).clamp(0, 1), codec.decode(far))


def test_items_do_not_depend_on_their_batch(codec: LatentCodec, images: Tensor) -> None:
    latents = codec.encode(images)
    pictures = codec.decode(latents)
    for i in range(len(images)):
        alone = codec.encode(images[i : i + 1])
        torch.testing.assert_close(alone, latents[i : i + 1], rtol=1e-5, atol=1e-6)
        alone = codec.decode(latents[i : i + 1])
        torch.testing.assert_close(alone, pictures[i : i + 1], rtol=1e-5, atol=1e-6)


def test_frozen_yet_differentiable(codec: LatentCodec, images: Tensor) -> None:
    assert not any(p.requires_grad for p in codec.vae.parameters())
    images = images.clone().requires_grad_()
    codec.decode(codec.encode(images)).sum().backward()
    assert images.grad is not None
    assert all(bool((item != 0).any()) for item in images.grad)


def test_encode_gradient_agrees_with_finite_differences(tiny_sd: Path, images: Tensor) -> None:
    codec = LatentCodec(AutoencoderKL.from_pretrained(tiny_sd, subfolder="vae").double())
    x = images[:1].double().requires_grad_()
    direction, cotangent = (
        torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
        for shape in (x.shape, (1, 4, 4, 8))
    )
    (gradient,) = torch.autograd.grad((codec.encode(x) * cotangent).sum(), x)
    h = 1e-5
    ahead, behind = (codec.encode(x.detach() + s * h * direction) for s in (1, -1))
    difference = ((ahead - behind) / (2 * h) * cotangent).sum()
    torch.testing.assert_close((gradient * direction).sum(), difference, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_dtype_of_the_caller_is_kept(
    codec: LatentCodec, images: Tensor, dtype: torch.dtype
) -> None:
    latents = codec.encode(images.to(dtype))
    assert latents.dtype == dtype
    assert codec.decode(latents).dtype == dtype


@pytest.mark.parametrize("shape", [(36, 64), (64, 36)])
def test_sizes_that_do_not_divide(codec: LatentCodec, shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"{shape[0]}x{shape[1]} pixels.* multiple of 8"):
        codec.encode(torch.zeros(1, 3, *shape))


def test_frames_of_a_video_are_coded_one_by_one(codec: LatentCodec, images: Tensor) -> None:
    video = images[None, :, :, :16, :16].repeat(2, 1, 1, 1, 1)
    latents = codec.encode(video)
    assert latents.shape == (2, 3, 4, 2, 2)
    torch.testing.assert_close(latents[1], codec.encode(video[1]), rtol=1e-5, atol=1e-6)
    pictures = codec.decode(latents)
    assert pictures.shape == video.shape
    torch.testing.assert_close(pictures[0], codec.decode(latents[0]), rtol=1e-5, atol=1e-6)


def test_latents_of_flows_are_shifted() -> None:
    vae = tiny_models.vae(shift_factor=0.25, scaling_factor=2.0)
    codec = LatentCodec(vae)
    images = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    mean = vae.encode(2 * images - 1).latent_dist.mean
    torch.testing.assert_close(codec.encode(images), 2 * (mean - 0.25))
    expected = (vae.decode(mean).sample / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(codec.decode(codec.encode(images)), expected)


def test_pixels_are_scaled_and_clamped(images: Tensor) -> None:
    codec = PixelCodec()
    torch.testing.assert_close(codec.encode(images), 2 * images - 1)
    torch.testing.assert_close(codec.decode(codec.encode(images)), images)
    z = torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0]).reshape(5, 1, 1, 1).expand(5, 3, 1, 1)
    assert codec.decode(z)[:, 0, 0, 0].tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]
    assert codec.to("cpu") is codec


def test_grey_pixels_are_the_luma(images: Tensor) -> None:
    codec = PixelCodec(channels=1)
    z = codec.encode(images)
    assert z.shape == (len(images), 1, *images.shape[2:])
    red, green, blue = images.unbind(1)
    torch.testing.assert_close(z[:, 0], 2 * (0.299 * red + 0.587 * green + 0.114 * blue) - 1)
    grey = codec.decode(z)
    assert grey.shape == images.shape
    torch.testing.assert_close(codec.encode(grey), z)
    with pytest.raises(ValueError, match="3, or 1 for grey"):
        PixelCodec(channels=2)
