"""One reader of images: a path, an array, a tensor, one or many, all become the same batch."""

import numpy as np
import pytest
import torch
from PIL import Image

from scorefield.images import as_image, as_images, each_image, load_image, save_image


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def test_all_forms_of_an_image_are_one(pixels: np.ndarray, tmp_path_factory) -> None:
    expected = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    path = tmp_path_factory.mktemp("images") / "image.png"
    save_image(path, expected[0])
    first = pixels.transpose(2, 0, 1)
    forms = [
        path, str(path), Image.fromarray(pixels), pixels, first, pixels[None], first[None],
        torch.from_numpy(pixels), torch.from_numpy(first), pixels / 255, expected, expected[0],
        expected.double(), [path], [pixels],
    ]  # fmt: skip
    for form in forms:
        found = as_images(form)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected)
    both = as_images([path, pixels, expected])
    assert both.shape == (3, 3, 6, 8) and torch.equal(both[0], both[2])
    assert torch.equal(as_image(path), expected[0])


def test_grey_is_three_equal_channels(pixels: np.ndarray) -> None:
    grey = pixels[..., 0]
    for form in (grey, grey[None], grey[..., None], torch.from_numpy(grey)):
        found = as_images(form)
        assert found.shape == (1, 3, 6, 8)
        assert torch.equal(found[0, 0], found[0, 2])
        torch.testing.assert_close(found[0, 0], torch.from_numpy(grey) / 255)


def test_a_fourth_channel_is_opacity_over_white(pixels: np.ndarray, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("images") / "image.png"
    opacity = np.linspace(0, 255, 48).astype(np.uint8).reshape(6, 8, 1)
    pixels = np.concatenate([pixels, opacity], axis=2)
    Image.fromarray(pixels).save(path)
    for form in (pixels, pixels[None], torch.from_numpy(pixels) / 255):
        # Pillow rounds what it blends to 8 bits.
        torch.testing.assert_close(as_images(form), as_images(path), atol=1 / 255, rtol=0)


def test_files_give_their_middle_square(pixels: np.ndarray, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("images") / "image.png"
    Image.fromarray(pixels).save(path)
    assert torch.equal(as_images(path, 4)[0], load_image(path, 4))
    assert torch.equal(as_images(Image.fromarray(pixels), 4)[0], load_image(path, 4))
    assert as_images(pixels, 4).shape == (1, 3, 6, 8)


def test_gradients_flow() -> None:
    images = torch.rand(2, 3, 4, 4, requires_grad=True)
    as_images(images).sum().backward()
    assert images.grad is not None and torch.equal(images.grad, torch.ones_like(images))


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.full((3, 4, 4), 200.0), "divide by 255"),
        (torch.full((3, 4, 4), -1.0), "rescale from"),
        (torch.full((3, 4, 4), torch.nan), "lie in"),
        (torch.ones(3, 4, 4, dtype=torch.int64), "uint8"),
        (torch.rand(2, 5, 4, 6), "got shape"),
        (torch.rand(4, 8, 8), "got shape"),
        (torch.rand(0, 3, 4, 4), "got shape"),
        (torch.rand(3), "got shape"),
        ([], "list of images"),
        ([torch.rand(3, 4, 4), torch.rand(3, 8, 4)], "one size; got 4x4, 4x8"),
        ("nowhere.png", "nowhere.png: there is no such file"),
    ],
)
def test_what_is_no_image_is_refused(images: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        as_images(images)


def test_images_one_by_one_may_differ_in_size() -> None:
    large, small = torch.rand(2, 3, 8, 8), torch.rand(3, 4, 6)
    found = each_image([large, small])
    assert [tuple(one.shape) for one in found] == [(3, 8, 8), (3, 8, 8), (3, 4, 6)]
    assert torch.equal(found[1], large[1]) and torch.equal(found[2], small)
    assert len(each_image(large)) == 2 and len(each_image(small)) == 1
    with pytest.raises(ValueError, match="give an image, a batch"):
        each_image([])


def test_one_image_is_one() -> None:
    with pytest.raises(ValueError, match="give one image; got 2"):
        as_image(torch.rand(2, 3, 4, 4))


def test_a_flipped_array_is_read() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    swapped = frame[..., ::-1]  # from BGR to RGB, as OpenCV's frames are
    assert torch.equal(as_images(swapped), as_images(swapped.copy()))
