"""Cubics and their chords."""

import pytest
import torch

from scorefield.sds.vector.flatten import TOLERANCE, Chords, chords, flatten


def cubics(kind: str, size: float) -> torch.Tensor:
    """100 of a kind, some of them with cusps, loops and turns back."""
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(100, 4, 2, generator=generator, dtype=torch.double)
    if kind == "short handle":
        points[:, 1] = points[:, 0]
    elif kind == "loop":
        points[:, 3] = points[:, 0]
    elif kind == "nearly flat":
        points[..., 1] *= 1e-3
    elif kind == "cusp":
        cross = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
        points = cross + 0.02 * (points - 0.5)
    elif kind == "hook":
        hook = torch.tensor([[0.0, 0.0], [0.99, 0.0], [1.0, 0.0], [1.0, 0.02]])
        points = hook + 0.002 * (points - 0.5)
    return points * size


@pytest.mark.parametrize("size", [1.0, 20.0, 500.0])
@pytest.mark.parametrize("kind", ["random", "short handle", "loop", "nearly flat", "cusp", "hook"])
def test_curves_lie_within_the_tolerance_of_their_chords(kind: str, size: float) -> None:
    control = cubics(kind, size)
    cut = chords(control, torch.zeros(len(control)))
    fine = Chords(cut.pieces * 16, cut.share)
    number, open_ends = torch.arange(len(control)), torch.zeros(len(control), dtype=torch.bool)
    coarse, dense = (flatten(control, number, open_ends, c, False) for c in (cut, fine))
    for one in range(len(control)):
        corners = coarse.vertices[coarse.line == one]
        between = dense.vertices[dense.line == one]
        start, end = corners[:-1], corners[1:]
        points = torch.stack([between[i : len(between) - 16 + i : 16] for i in range(16)], dim=1)
        along = (end - start)[:, None]
        share = ((points - start[:, None]) * along).sum(-1) / along.square().sum(-1)
        foot = start[:, None] + share.clamp(0, 1)[..., None] * along
        assert (points - foot).norm(dim=-1).max() < TOLERANCE


def test_a_straight_line_has_one_chord_and_a_curve_no_more_than_wang_says() -> None:
    line = torch.tensor([[0.0, 0.0], [10.0, 0.0], [20.0, 0.0], [30.0, 0.0]])
    assert chords(line[None], torch.tensor([8.0])).pieces.tolist() == [1]
    control = cubics("random", 500.0)
    bends = control.diff(dim=1, n=2).norm(dim=-1).amax(dim=1)
    wang = (0.75 / TOLERANCE * bends).sqrt().ceil()
    count = chords(control, torch.zeros(len(control))).pieces
    assert (count <= wang + 1).all() and count.sum() < 0.8 * wang.sum()
