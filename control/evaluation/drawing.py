"""Images of rollouts: paths in the plane, and videos."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scorefield.control.data.windows import frames_to_tensor
from scorefield.control.environments.planar import Layout
from scorefield.files import whole_file
from scorefield.images import save_gif, save_mp4

if TYPE_CHECKING:
    from scorefield.control.evaluation.rollout import Rollout

_SUCCESS, _FAILURE = "#2a6fbb", "#d1495b"


def draw_paths(
    layout: Layout,
    rollouts: "Mapping[str, Sequence[Rollout]]",
    path: str | os.PathLike[str],
    columns: int = 6,
) -> Path:
    """Draws the ways that policies took: successes blue, failures red and ending in a cross.

    Args:
        layout: the planar world.
        rollouts: by the title of their panel.
        path: a .png.
        columns: panels beside each other.
    """
    # matplotlib is slow to import, and few need it.
    from matplotlib.figure import Figure

    columns = min(columns, len(rollouts))
    rows = -(-len(rollouts) // columns)
    width, height = (high - low for low, high in zip(layout.low, layout.high, strict=True))
    figure = Figure(figsize=(2.2 * columns, (2.2 * height / width + 0.35) * rows), dpi=110)
    panels: Any = figure.subplots(rows, columns, squeeze=False)
    for panel in panels.flat[len(rollouts) :]:
        panel.set_visible(False)
    for panel, (title, shown) in zip(panels.flat, rollouts.items(), strict=False):
        _panel(panel, layout, shown)
        panel.set_title(title, fontsize=8)
    figure.tight_layout(pad=0.4)
    with whole_file(path) as part:
        figure.savefig(part)
    return Path(path)


def _panel(panel: Any, layout: Layout, rollouts: "Sequence[Rollout]") -> None:
    from matplotlib.patches import Circle

    for disc in layout.discs:
        panel.add_patch(Circle(tuple(disc), layout.radius, color="0.55"))
    panel.axhline(layout.goal, color="#3a9e4f", linewidth=1)
    for one in rollouts:
        color = _SUCCESS if one.success else _FAILURE
        panel.plot(*one.states[:, :2].T, color=color, linewidth=0.5, alpha=0.6)
        if not one.success:
            panel.plot(*one.states[-1, :2], "x", color=color, markersize=3)
    panel.set_xlim(layout.low[0], layout.high[0])
    panel.set_ylim(layout.low[1], layout.high[1])
    panel.set_aspect("equal")
    panel.set_xticks([])
    panel.set_yticks([])


def write_video(rollouts: "Sequence[Rollout]", path: str | os.PathLike[str], rate: float) -> Path:
    """Writes the frames of rollouts side by side, each resting on its last one, as a .gif or .mp4.

    Args:
        rollouts: with frames.
        path: an .mp4 needs imageio-ffmpeg.
        rate: frames per second.

    Raises:
        ValueError: a rollout was made without frames.
    """
    frames = [one.frames for one in rollouts if one.frames is not None]
    if len(frames) < len(rollouts) or not frames:
        raise ValueError("a rollout has no frames; ask for them with roll_out(frames=...)")
    longest = max(map(len, frames))
    side_by_side = np.concatenate(
        [np.concatenate([f, f[-1:].repeat(longest - len(f), 0)]) for f in frames], axis=2
    )
    write = save_gif if Path(path).suffix == ".gif" else save_mp4
    return write(path, frames_to_tensor(side_by_side), rate)
