"""Clusters, their enlargement, the metrics against figures done by hand, and the drawings."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scorefield.perception.segmentation.clustering import (
    KMeansClusters,
    NormalisedCut,
    bilinear_masks,
    guided_masks,
    largest_first,
    nearest_masks,
    one_hot,
    resized_argmax,
)
from scorefield.perception.segmentation.drawing import draw_overlay, label_colors, save_labels
from scorefield.perception.segmentation.metrics import (
    boundary_f,
    class_counts,
    image_miou,
    mean_iou,
    overlaps,
    same_names,
    set_miou,
)


def halves(side: int = 8, at: int = 4) -> torch.Tensor:
    labels = torch.zeros(side, side, dtype=torch.long)
    labels[:, at:] = 1
    return labels


def blobs(noise: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    """A map of three regions whose vectors are far apart, and the regions."""
    truth = torch.zeros(6, 6, dtype=torch.long)
    truth[:, 2:4], truth[4:] = 1, 2
    centres = 3 * torch.eye(3)
    generator = torch.Generator().manual_seed(0)
    maps = centres[truth].permute(2, 0, 1) + noise * torch.randn(3, 6, 6, generator=generator)
    return maps[None], truth


@pytest.mark.parametrize("clusters", [KMeansClusters(), KMeansClusters(unit=True), NormalisedCut()])
def test_clusters_find_regions_that_are_far_apart(clusters: KMeansClusters | NormalisedCut) -> None:
    maps, truth = blobs()
    found = clusters(maps, 3)[0]
    assert image_miou(found, truth) == 1
    assert torch.equal(found, clusters(maps, 3)[0])  # nothing is left to chance
    joint = clusters(torch.cat([maps, maps.flip(-1)]), 3)
    assert torch.equal(joint[0], joint[1].flip(-1))  # a label means the same in both


def test_clusters_of_equal_cells_and_of_too_few() -> None:
    flat = torch.ones(1, 3, 2, 2)
    assert KMeansClusters()(flat, 3).unique().numel() == 1
    with pytest.raises(ValueError, match=r"k must lie in 1 ... 4.*got 5"):
        KMeansClusters()(flat, 5)
    with pytest.raises(ValueError, match="not finite"):
        KMeansClusters()(flat * torch.nan, 2)
    assert NormalisedCut()(flat, 1).unique().numel() == 1


def test_labels_are_numbered_from_the_largest() -> None:
    labels = torch.tensor([[5, 5, 2], [7, 2, 2], [2, 5, 7]])
    assert largest_first(labels).tolist() == [[1, 1, 0], [2, 0, 0], [0, 1, 2]]


def test_enlarged_masks_meet_half_way_between_cells() -> None:
    image = torch.zeros(3, 8, 8)
    labels = torch.tensor([[0, 1], [0, 1]])
    for masks in (nearest_masks, bilinear_masks):
        scores = masks(labels, image, 2)
        assert torch.allclose(scores.sum(0), torch.ones(8, 8))
        assert torch.equal(scores.argmax(0), halves())
        assert torch.equal(resized_argmax(scores, (16, 16)), halves(16, 8))


def test_one_mask_at_a_time_is_the_argmax_of_all() -> None:
    scores = torch.randn(5, 6, 7, generator=torch.Generator().manual_seed(0))
    whole = torch.nn.functional.interpolate(scores[None], (20, 31), mode="bilinear")[0]
    assert torch.equal(resized_argmax(scores, (20, 31)), whole.argmax(0))


def test_a_guided_mask_follows_the_images_edge() -> None:
    labels = torch.zeros(4, 4, dtype=torch.long)
    labels[:, 2:] = 1
    image = torch.zeros(3, 32, 32)
    image[:, :, 14:] = 1  # the cells say 16
    found = guided_masks(labels, image, 2).argmax(0)
    assert torch.equal(found, halves(32, 14))
    assert not torch.equal(bilinear_masks(labels, image, 2).argmax(0), halves(32, 14))


def test_overlap_by_hand() -> None:
    truth = halves()
    found = halves(8, 5)  # 40 pixels of cluster 0, 8 of them in region 1
    assert overlaps(found, truth).tolist() == [[32, 8], [0, 24]]
    expected = (32 / 40 + 24 / 32) / 2
    assert image_miou(found, truth) == pytest.approx(expected)
    assert image_miou(1 - found, truth) == pytest.approx(expected)  # names do not matter
    assert mean_iou(class_counts(found, truth, 2)) == pytest.approx(expected)


def test_conventions_differ_where_they_should() -> None:
    truth = halves()
    pieces = truth.clone()
    pieces[:4, :4] = 2  # region 0 in two pieces
    assert image_miou(pieces, truth, many_to_one=True) == 1
    assert image_miou(pieces, truth) == pytest.approx((0.5 + 1) / 2)
    # clusters exchanged between images: right by image, wrong for shared ones
    assert set_miou([truth, 1 - truth], [truth, truth], shared=False) == 1
    assert set_miou([truth, 1 - truth], [truth, truth], shared=True) == pytest.approx(1 / 3)
    # a region without a cluster counts, a class that no image shows does not
    assert image_miou(torch.zeros(8, 8, dtype=torch.long), truth) == pytest.approx(0.25)
    assert image_miou(truth, 2 * truth) == 1


def test_ignored_pixels_count_nowhere() -> None:
    truth = halves()
    found = truth.clone()
    found[0] = 1
    truth[0] = -1
    assert image_miou(found, truth) == 1
    with pytest.raises(ValueError, match="cannot be compared"):
        image_miou(found[:4], truth)


def test_a_one_to_one_match_is_the_best_of_all() -> None:
    """Against every permutation, on random labels."""
    from itertools import permutations

    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        found, truth = torch.randint(0, 4, (2, 8, 8), generator=generator)
        table = overlaps(found, truth)
        ious = table / (table.sum(1, keepdims=True) + table.sum(0) - table)
        best = max(np.mean([ious[i, p[i]] for i in range(4)]) for p in permutations(range(4)))
        assert image_miou(found, truth) == pytest.approx(best)


def test_boundaries_by_hand() -> None:
    truth = halves(16, 8)
    assert boundary_f(truth, truth) == 1
    assert boundary_f(halves(16, 9), truth) == 1  # one pixel is tolerated
    assert boundary_f(halves(16, 10), truth) == 0
    assert boundary_f(halves(16, 10), truth, tolerance=2) == 1
    flat = torch.zeros(16, 16, dtype=torch.long)
    assert boundary_f(flat, flat) == 1 and boundary_f(flat, truth) == 0
    both = truth.clone()
    both[:, :2] = 2  # a second line: precision 1/2, recall 1
    assert boundary_f(both, truth) == pytest.approx(2 / 3)


def test_clusters_take_the_names_of_regions() -> None:
    truth = halves()
    found = torch.where(truth == 0, 2, 0)
    found[0, 0] = 1
    renamed = same_names(found, truth)
    assert renamed[1, 0] == 0 and renamed[0, 7] == 1 and renamed[0, 0] == 2


def test_label_files_keep_the_labels(tmp_path: Path) -> None:
    labels = torch.arange(40).reshape(5, 8)
    path = save_labels(tmp_path / "deep" / "labels.png", labels)
    with Image.open(path) as picture:
        assert picture.mode == "P"
        assert np.array_equal(np.array(picture), labels.numpy())
        shown = np.array(picture.convert("RGB"))
    assert np.allclose(shown[0, 3] / 255, label_colors(40)[3], atol=1 / 255)
    assert len({tuple(color) for color in label_colors(40).tolist()}) == 40
    with pytest.raises(ValueError, match="256 labels; got 257"):
        save_labels(path, torch.tensor([[256]]))


def test_overlay_parts_regions_with_lines() -> None:
    drawn = draw_overlay(torch.zeros(3, 8, 8), halves(), side=32)
    assert drawn.shape == (3, 32, 32)
    assert bool((drawn[:, :, 16] == 1).all()) and bool((drawn[:, :, 15] < 0.9).all())
    assert draw_overlay(torch.zeros(3, 500, 20), torch.zeros(500, 20).long()).shape == (3, 500, 20)


def test_one_hot() -> None:
    assert one_hot(torch.tensor([[1, 0]]), 3).tolist() == [[[0, 1]], [[1, 0]], [[0, 0]]]
