"""Videos on sheets: film strips, and many as one."""

import pytest
import torch

from scorefield.images import film_strips, side_by_side


def test_film_strips_have_a_row_per_video_and_its_frames_in_order() -> None:
    videos = torch.rand(2, 3, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    sheet = film_strips(videos, pad=1)
    assert sheet.shape == (3, 2 * 5 + 1, 3 * 6 + 1)
    assert torch.equal(sheet[:, 6:10, 7:12], videos[1, 1])
    assert bool((sheet[:, :, 6] == 1).all())  # between frames
    large = film_strips(videos, pad=1, enlarge=2)
    assert torch.equal(large[:, 1:9:2, 1:11:2], videos[0, 0])
    assert film_strips(videos, ["one", "two"]).shape[1] == film_strips(videos).shape[1] + 2 * 12


def test_side_by_side_keeps_the_time() -> None:
    videos = torch.rand(4, 3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    frames = side_by_side(videos, pad=1)
    assert frames.shape == (3, 3, 11, 11)
    assert torch.equal(frames[2, :, 6:10, 1:5], videos[2, 2])


def test_what_cannot_be_shown_is_refused() -> None:
    with pytest.raises(ValueError, match="need a video with frames"):
        film_strips(torch.zeros(1, 0, 3, 4, 4))
    with pytest.raises(ValueError, match="enlarge must be at least 1, got 0"):
        side_by_side(torch.zeros(1, 2, 3, 4, 4), enlarge=0)
