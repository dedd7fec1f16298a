"""Windows: the reference's padding on cases written out, and mapped data like data in memory."""

from pathlib import Path

import numpy as np
import pytest
import torch

from scorefield.control.data.episode import Episode
from scorefield.control.data.episodes import Episodes, write_episodes
from scorefield.control.data.spaces import Horizons
from scorefield.control.data.windows import Windows


def counting(*lengths: int, camera: bool = False) -> list[Episode]:
    """Episode e, step t has the state [100 e + t] and the action [-(100 e + t)]."""
    episodes = []
    for number, steps in enumerate(lengths):
        values = 100.0 * number + np.arange(steps)[:, None]
        images = np.zeros((steps, 4, 6, 3), dtype=np.uint8)
        images[:, 0, 0, 0] = np.arange(steps)
        cameras = {"top": images} if camera else {}
        episodes.append(Episode(values, -values, cameras))
    return episodes


def test_windows_written_out() -> None:
    windows = Windows(
        Episodes.of(counting(5, 4)), Horizons(n_obs_steps=2, n_action_steps=2, horizon=4)
    )
    # Before an episode one step is repeated, after it one: 5 + 1 + 1 - 4 + 1 = 4, and 3.
    assert len(windows) == 7
    batch = windows.batch(range(7))
    assert batch["state"][..., 0].tolist() == [
        [0, 0],
        [0, 1],
        [1, 2],
        [2, 3],
        [100, 100],
        [100, 101],
        [101, 102],
    ]
    assert (-batch["action"][..., 0]).tolist() == [
        [0, 0, 1, 2],
        [0, 1, 2, 3],
        [1, 2, 3, 4],
        [2, 3, 4, 4],
        [100, 100, 101, 102],
        [100, 101, 102, 103],
        [101, 102, 103, 103],
    ]


@pytest.mark.parametrize(("to", "ta", "tp"), [(2, 8, 16), (1, 1, 1), (3, 1, 4), (4, 4, 8)])
def test_windows_agree_with_a_literal_loop(to: int, ta: int, tp: int) -> None:
    lengths = (20, 17, 33)
    windows = Windows(Episodes.of(counting(*lengths)), Horizons(to, ta, tp))
    expected = []
    for number, length in enumerate(lengths):
        for start in range(-(to - 1), length - tp + (ta - 1) + 1):
            steps = [min(max(step, 0), length - 1) for step in range(start, start + tp)]
            expected.append([100 * number + step for step in steps])
    actions = -windows.batch(torch.arange(len(windows)))["action"][..., 0]
    assert len(windows) == len(expected) and actions.tolist() == expected


def test_images_become_channels_first_in_0_1() -> None:
    windows = Windows(Episodes.of(counting(5, camera=True)), Horizons(2, 2, 4))
    images = windows.batch([3])["top"]
    assert images.shape == (1, 2, 3, 4, 6) and images.dtype == torch.float32
    assert torch.allclose(images[0, :, 0, 0, 0] * 255, torch.tensor([2.0, 3.0]))
    assert float(images[0, :, 1:].max()) == 0


def test_mapped_windows_equal_those_in_memory(tmp_path: Path) -> None:
    given = counting(9, 12, camera=True)
    mapped = Windows(Episodes.open(write_episodes(tmp_path / "a", given)), Horizons(2, 4, 8))
    held = Windows(Episodes.of(given), Horizons(2, 4, 8))
    assert isinstance(mapped.episodes.state, np.memmap)
    for name, tensor in held.batch([5, 0, 5]).items():
        assert torch.equal(mapped.batch([5, 0, 5])[name], tensor)


def test_what_has_no_window_is_refused() -> None:
    with pytest.raises(ValueError, match=r"episode 1 has 6 steps; windows of 16 need 8"):
        Windows(Episodes.of(counting(9, 6)), Horizons(2, 8, 16))
    windows = Windows(Episodes.of(counting(9)), Horizons(2, 8, 16))
    with pytest.raises(IndexError, match="from 0 to"):
        windows.batch([len(windows)])
