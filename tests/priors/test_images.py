import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scorefield.images import contact_sheet, load_image, save_gif, save_image


def ramp(height=6, width=8):
    values = torch.arange(3 * height * width) % 256
    return values.view(3, height, width).float() / 255


def test_images_come_back_exactly(tmp_path):
    path = save_image(tmp_path / "new" / "a.png", ramp())
    assert torch.equal(load_image(path), ramp())


def test_values_are_clamped_and_grey_is_fine(tmp_path):
    image = torch.tensor([[[-1.0, 0.5, 2.0]]])
    back = load_image(save_image(tmp_path / "a.png", image))
    torch.testing.assert_close(back[:, 0], torch.tensor([[0.0, 128 / 255, 1.0]] * 3))


def test_reading_cuts_the_middle_square(tmp_path):
    image = torch.zeros(3, 4, 8)
    image[:, :, 2:6] = 1
    assert torch.equal(load_image(save_image(tmp_path / "a.png", image), 4), torch.ones(3, 4, 4))


def test_transparency_becomes_white(tmp_path):
    Image.new("RGBA", (2, 2), (255, 0, 0, 0)).save(tmp_path / "a.png")
    assert torch.equal(load_image(tmp_path / "a.png"), torch.ones(3, 2, 2))


def test_a_gif_has_its_frames_and_speed(tmp_path):
    frames = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    path = save_gif(tmp_path / "a.gif", frames, fps=10.0)
    with Image.open(path) as gif:
        assert gif.n_frames == 4
        assert gif.info["duration"] == 100
        assert gif.info["loop"] == 0


def test_frames_of_a_gif_share_a_palette_that_has_the_rare_colours_too(tmp_path):
    across = torch.linspace(0, 1, 64).expand(64, 64)
    frames = torch.stack([torch.stack([across, across.T, across * i / 9]) for i in range(10)])
    frames[:, 1] *= 0.5
    frames[7, :, 20, 20] = torch.tensor([0.0, 1.0, 1.0])  # one pixel of 40,960
    with Image.open(save_gif(tmp_path / "a.gif", frames)) as gif:
        seen = []
        for number in range(10):
            gif.seek(number)
            seen.append(torch.from_numpy(np.array(gif.convert("RGB"))).permute(2, 0, 1) / 255)
    error = torch.stack(seen) - frames
    assert error[7, :, 20, 20].abs().max() < 0.1
    cube = (1 * 0.5 * 0.9 / 256) ** (1 / 3)  # side of 256 cubes that fill these colours
    assert error.square().mean().sqrt() < 1.5 * cube / 12**0.5
    flat = (across > 0.5).float().expand(3, 3, 64, 64)
    with Image.open(save_gif(tmp_path / "b.gif", flat)) as gif:
        assert np.array_equal(np.array(gif.convert("RGB"))[..., 0] / 255, flat[0, 0].numpy())


def test_a_contact_sheet_has_rows_in_order():
    images = torch.stack([torch.full((3, 4, 5), i / 10) for i in range(5)])
    sheet = contact_sheet(images, columns=3, pad=2)
    assert sheet.shape == (3, 2 + 2 * 6, 2 + 3 * 7)
    assert (sheet[:, 2:6, 2:7] == 0).all()
    assert (sheet[:, 8:12, 9:14] == 0.4).all()
    assert (sheet[:, 8:12, 16:] == 1).all()
    assert contact_sheet(images).shape == (3, 2 + 2 * 6, 2 + 3 * 7)


def test_labels_are_written_under_their_images():
    sheet = contact_sheet(torch.zeros(2, 3, 8, 30), columns=2, labels=["side", ""])
    assert sheet.shape == (3, 2 + 22, 2 + 2 * 32)
    assert (sheet[:, 10:22, 2:32] < 1).any()
    assert (sheet[:, 10:22, 34:64] == 1).all()


def test_what_is_not_possible_is_refused(tmp_path):
    with pytest.raises(ValueError, match="one per image"):
        contact_sheet(torch.zeros(2, 3, 4, 4), labels=["one"])
    with pytest.raises(ValueError, match="at least one image"):
        contact_sheet(torch.zeros(0, 3, 4, 4))
    with pytest.raises(ValueError, match=r"\(3, H, W\)"):
        save_image(tmp_path / "a.png", torch.zeros(2, 4, 4))


@pytest.mark.parametrize(
    ("values", "refusal"),
    [
        (np.full((4, 4), 70000, np.int32), "32-bit integers from 70000 to 70000"),
        (np.full((4, 4), 128.0, np.float32), "floating-point numbers from 128 to 128"),
        (np.array([[0.5, np.nan]], np.float32), "floating-point numbers from nan"),
        (np.array([[-0.1, 0.5]], np.float32), r"floating-point numbers from -0\.1"),
    ],
)
def test_values_without_a_known_range_are_refused(tmp_path, values, refusal):
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=refusal):
        load_image(tmp_path / "a.tif")


def test_floats_in_range_are_taken_as_they_are(tmp_path):
    Image.fromarray(np.array([[0.0, 0.25], [0.5, 1.0]], np.float32)).save(tmp_path / "a.tif")
    assert load_image(tmp_path / "a.tif")[2].tolist() == [[0.0, 0.25], [0.5, 1.0]]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_keep_their_depth(tmp_path, suffix):
    Image.fromarray(np.array([[0, 257, 40000, 65535]], np.uint16)).save(tmp_path / f"a.{suffix}")
    expected = torch.tensor([0, 257, 40000, 65535]) / 65535
    torch.testing.assert_close(load_image(tmp_path / f"a.{suffix}")[0, 0], expected)


def test_a_header_of_nonsense_is_named_as_a_damaged_image(tmp_path: Path) -> None:
    path = tmp_path / "image.tiff"
    Image.new("RGB", (4, 4), "red").save(path)
    raw = bytearray(path.read_bytes())
    kind = next(k for k in (3, 4) if struct.pack("<HH", 273, k) in raw)
    entry = raw.index(struct.pack("<HH", 273, kind))
    raw[entry + 2 : entry + 4] = struct.pack("<H", 11)  # where strips begin, as a float
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"image\.tiff: cannot be read as an image \('float'"):
        load_image(path)
