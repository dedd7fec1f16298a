"""Pairs of photographs and the homographies that are found between them."""

import pytest
import torch
from photograph_evaluation import evaluate_photographs, sift_matches
from photograph_pairs import draw_photograph_pairs
from torch.nn import functional

from scorefield.perception.correspondence.metrics import corner_error


def colours_at(image: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    grid = (points / image.shape[-1] * 2 - 1)[None, None]
    return functional.grid_sample(image[None], grid, align_corners=False)[0, :, 0].T


def test_a_homography_takes_points_to_where_they_are() -> None:
    for pair in draw_photograph_pairs(3, 4, "homography", size=128):
        source, target = pair.keypoints(8)
        assert len(source) > 100
        blurred = functional.avg_pool2d(pair.images, 5, 1, 2)  # the views have other resolutions
        there = colours_at(blurred[0], source)
        error = (there - colours_at(blurred[1], target)).abs().mean()
        unmoved = (there - colours_at(blurred[1], source)).abs().mean()
        aside = (there - colours_at(blurred[1], (target + 2).clamp(0, 128))).abs().mean()
        assert error < 0.5 * aside and error < 0.3 * unmoved


def test_a_photometric_change_moves_nothing() -> None:
    first, again = (draw_photograph_pairs(3, 2, "photometric")[1] for _ in range(2))
    assert torch.equal(first.homography, torch.eye(3))
    source, target = first.keypoints()
    assert torch.equal(source, target) and len(source) == 256
    assert first.name == "flower" and torch.equal(first.images, again.images)
    assert 0.02 < float((first.images[0] - first.images[1]).abs().mean()) < 0.5
    with pytest.raises(ValueError, match="16 to 427"):
        draw_photograph_pairs(3, 1, size=500)


def test_sift_finds_the_homography() -> None:
    pair = draw_photograph_pairs(4, 1, "homography")[0]
    found, inliers = sift_matches(pair.images).homography()
    assert int(inliers.sum()) > 20
    assert corner_error(found.detach(), pair.homography, (256, 256)) < 2


@pytest.mark.slow
def test_a_descriptor_of_places_is_right_where_nothing_moves() -> None:
    """One that knows its place only, which is right for photometric changes and no others."""

    def place(images: torch.Tensor) -> torch.Tensor:
        # cosines of unit circles: a vector for each place, of which neighbours are the nearest
        line = torch.linspace(0.0, 1.5, 64)
        rows, columns = line[:, None].expand(64, 64), line.expand(64, 64)
        maps = torch.stack([rows.sin(), rows.cos(), columns.sin(), columns.cos()])
        return maps.expand(len(images), -1, -1, -1)

    found = evaluate_photographs({"place": place}, n=1, seed=5, side=64)
    assert found["photometric"]["place"]["corners within 1 px"] == 1
    assert found["photometric"]["place"]["pck@0.01"] == 1
    assert found["homography"]["place"]["corners within 5 px"] == 0
    assert found["homography"]["SIFT keypoints"]["corners within 10 px"] == 1
    assert "pck@0.1" not in found["both"]["SIFT keypoints"]
    assert evaluate_photographs({}, n=0, seed=5, side=64) == {}
