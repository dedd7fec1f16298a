"""Matching, on maps whose right answer is known."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from scorefield.perception.correspondence import nearest
from scorefield.perception.correspondence.dift import match
from scorefield.perception.correspondence.drawing import draw_matches
from scorefield.perception.correspondence.matches import Matches
from scorefield.perception.correspondence.matching import (
    DualSoftmax,
    NearestPixel,
    SoftArgmax,
    cell_centres,
    match_features,
    mutual_matches,
    nearest_cell,
    vectors_at,
)
from scorefield.perception.correspondence.metrics import (
    corner_error,
    keypoint_accuracy,
    resampled_accuracy,
)
from scorefield.perception.correspondence.nearest import largest_elsewhere, nearest_both_ways
from scorefield.perception.correspondence.sift import SiftFusion, joined_sift
from scorefield.priors.loading import load_prior

SIZE = (32, 48)


def random_map(seed: int, channels: int = 16, height: int = 8, width: int = 12) -> Tensor:
    return torch.randn(channels, height, width, generator=torch.Generator().manual_seed(seed))


def angles(height: int, width: int, step: float) -> Tensor:
    """A map whose vectors turn linearly along both axes, the cosine's maximum known everywhere."""
    rows, columns = torch.arange(height) * step, torch.arange(width) * step
    maps = [rows[:, None].expand(-1, width), columns.expand(height, -1)]
    return torch.stack([f(m) for m in maps for f in (torch.cos, torch.sin)])


@pytest.mark.parametrize("locate", [NearestPixel(), nearest_cell, SoftArgmax(1)])
def test_a_image_matches_itself(locate: object) -> None:
    features = random_map(0)
    found = match_features(features, features, source_size=SIZE, target_size=SIZE, locate=locate)
    # of cells of 4 x 4 pixels; beyond the outermost centres a map is constant, and any pixel there
    # is as near as another
    tolerance = math.hypot(1.5, 1.5) + 1e-6 if isinstance(locate, NearestPixel) else 1e-4
    assert len(found) == 96
    assert float((found.source - found.target).norm(dim=1).max()) <= tolerance
    assert float(found.cycle_error.max()) <= 2 * tolerance


def test_cells_are_where_they_are() -> None:
    centres = cell_centres(random_map(0), SIZE)
    assert centres[0].tolist() == [2, 2] and centres[13].tolist() == [6, 6]
    vectors = vectors_at(random_map(0), centres, SIZE)
    expected = functional.normalize(random_map(0), dim=0).flatten(1).T
    torch.testing.assert_close(vectors, expected, atol=1e-5, rtol=0)


def test_between_cells_vectors_are_interpolated() -> None:
    features = random_map(0)
    middle = vectors_at(features, torch.tensor([[4.0, 2.0]]), SIZE)
    expected = functional.normalize(features[:, 0, 0] + features[:, 0, 1], dim=0)
    torch.testing.assert_close(middle[0], expected)


def test_nearest_pixel_is_the_rule_of_the_reference() -> None:
    """Both maps enlarged to the image, the source's vector at a pixel, cosine, argmax."""
    source, target, size = random_map(0), random_map(1), (40, 60)
    pixels = torch.tensor([[3, 5], [59, 39], [20, 11]])
    enlarged = [
        functional.interpolate(f[None], size=s, mode="bilinear")[0]
        for f, s in ((source, SIZE), (target, size))
    ]
    pixels = torch.tensor([[3, 5], [47, 31], [20, 11]])
    expected, cosines = [], []
    for x, y in pixels.tolist():
        cosine = functional.cosine_similarity(
            enlarged[0][:, y, x, None], enlarged[1].flatten(1), dim=0
        )
        where = int(cosine.argmax())
        expected.append([where % 60 + 0.5, where // 60 + 0.5])
        cosines.append(float(cosine.max()))
    found = match_features(source, target, pixels + 0.5, source_size=SIZE, target_size=size)
    assert found.target.tolist() == expected
    torch.testing.assert_close(found.similarity, torch.tensor(cosines))


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.3, -0.2), (-0.45, 0.45)])
def test_soft_argmax_finds_what_lies_between_cells(shift: tuple[float, float]) -> None:
    # cosine falls as 1 - step^2 d^2 / 4: the weights are a Gaussian about the true place, cut off
    # by the window, of variance 2 temperature / step^2 = 0.5 cells squared
    step = 0.2
    target = angles(16, 16, step)
    row, column = 7 + shift[1], 8 + shift[0]
    at = torch.tensor([row, row, column, column]) * step
    vector = torch.where(torch.tensor([True, False, True, False]), at.cos(), at.sin())
    vector = functional.normalize(vector, dim=0)[None]
    found, _ = SoftArgmax(7, temperature=0.01)(vector, target, (16, 16))
    assert found[0].tolist() == pytest.approx([column + 0.5, row + 0.5], abs=0.02)
    cell, _ = nearest_cell(vector, target, (16, 16))
    assert cell[0].tolist() == [8.5, 7.5]


def test_soft_argmax_is_not_pulled_by_a_second_peak() -> None:
    target = torch.zeros(2, 1, 20)
    target[1] = 1
    target[:, 0, 3] = torch.tensor([1.0, 0.0])
    target[:, 0, 15] = torch.tensor([0.99, 0.1])
    vector = torch.tensor([[1.0, 0.0]])
    near, _ = SoftArgmax(3, 0.1)(vector, target, (1, 20))
    assert near[0].tolist() == pytest.approx([3.5, 0.5], abs=1e-3)


def test_mutual_matches_leave_out_what_is_claimed_twice() -> None:
    # three cells of the source, two of which want the first cell of the target
    source = torch.tensor([[1.0, 0.9, 0.0], [0.0, 0.1, 1.0]])[:, None]
    target = torch.tensor([[1.0, 0.0], [0.0, 1.0]])[:, None]
    found = mutual_matches(source, target, source_size=(1, 3), target_size=(1, 2))
    assert found.source.tolist() == [[0.5, 0.5], [2.5, 0.5]]
    assert found.target.tolist() == [[0.5, 0.5], [1.5, 0.5]]
    assert found.cycle_error.tolist() == [0, 0]
    every = match_features(
        source, target, source_size=(1, 3), target_size=(1, 2), locate=nearest_cell
    )
    assert every.cycle_error.tolist() == [0, 1, 0]


def test_mutual_matches_are_those_of_kornia() -> None:
    from kornia.feature import match_mnn

    source, target = random_map(0), random_map(1, height=6)
    found = mutual_matches(source, target, source_size=SIZE, target_size=SIZE)
    unit = [functional.normalize(f, dim=0).flatten(1).T for f in (source, target)]
    _, pairs = match_mnn(*unit)
    pairs = pairs[pairs[:, 0].argsort()]
    torch.testing.assert_close(found.source, cell_centres(source, SIZE)[pairs[:, 0]])
    torch.testing.assert_close(found.target, cell_centres(target, SIZE)[pairs[:, 1]])


@pytest.mark.parametrize(("n", "m", "block"), [(50, 70, 16), (33, 8, 32), (20, 20, 64)])
def test_blocks_find_what_the_dense_products_have(n: int, m: int, block: int) -> None:
    generator = torch.Generator().manual_seed(n)
    # small whole numbers: products are exact, and many are equal
    a, b = (torch.randint(-1, 2, (k, 5), generator=generator).float() for k in (n, m))
    products = a @ b.T
    best, there, back, _ = nearest_both_ways(a, b, block)
    assert torch.equal(best, products.amax(1))
    assert there.tolist() == [row.index(max(row)) for row in products.tolist()]
    assert back.tolist() == [row.index(max(row)) for row in products.T.tolist()]


def test_short_products_give_the_same_answer() -> None:
    """Smooth maps, whose neighbours are alike but for small components, of no whole strips."""
    small = [random_map(seed, channels=24, height=6, width=7) for seed in (0, 1)]
    a, b = (
        functional.normalize(
            functional.interpolate(m[None], (33, 41), mode="bicubic")[0].flatten(1).T, dim=1
        )
        for m in small
    )
    b = b[:-100]
    plain = nearest_both_ways(a, b, short=False)
    found = nearest_both_ways(a, b, block=256, short=True)
    torch.testing.assert_close(found[0], plain[0])
    for ours, theirs in zip(found[1:3], plain[1:3], strict=True):
        assert torch.equal(ours, theirs)
    # the answer of short products alone is another one
    assert found.bounds is not None
    guess = found.bounds.largest.argmax(1)
    assert not torch.equal(guess, plain.there // found.bounds.strip)
    largest = torch.stack([part.amax(1) for part in (a @ b.T).split(found.bounds.strip, 1)], 1)
    assert bool((largest <= found.bounds.upper()).all())


def test_vectors_of_no_few_components_are_compared_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(40, 30, generator=generator) for _ in range(2))
    assert nearest_both_ways(a, b, short=True).bounds is not None
    assert nearest_both_ways(a, b).bounds is None
    assert nearest._shortened(a, b, 0.5) is None


@pytest.mark.parametrize("apart", [3.0, 12.5, 100.0])
def test_elsewhere_is_found_from_short_products_as_from_all(apart: float) -> None:
    """Of cells in rows that are no whole strips; at 100 no cell is far enough of any."""
    a, b = (
        functional.interpolate(random_map(seed, 24, 6, 7)[None], (33, 41), mode="bicubic")[0]
        for seed in (0, 1)
    )
    centres = cell_centres(b, (33, 41))
    a, b = (functional.normalize(m, dim=0).flatten(1).T.contiguous() for m in (a, b))
    both = nearest_both_ways(a, b, short=True)
    places = centres[both.there]
    found = largest_elsewhere(a, b, places, centres, apart, both.bounds)
    near = (places[:, None] - centres).square().sum(2) < apart**2
    torch.testing.assert_close(found, (a @ b.T).masked_fill(near, -1).amax(1))
    torch.testing.assert_close(found, largest_elsewhere(a, b, places, centres, apart))
    # leaving the place out makes a difference
    assert bool((found < both.best - 0.1).any())


def test_the_ratio_looks_for_another_place() -> None:
    """Beside the best cell the second is as similar, and far away there is one of cosine 0.6."""
    target = torch.zeros(2, 1, 40)
    target[1] = -1
    target[:, 0, 5], target[:, 0, 6] = torch.tensor([0.96, 0.28]), torch.tensor([0.95, 0.3122])
    target[:, 0, 30] = torch.tensor([0.6, 0.8])
    source = torch.tensor([1.0, 0.0])[:, None, None]
    found = match_features(
        source, target, source_size=(1, 1), target_size=(1, 40), locate=nearest_cell
    )
    assert found.target.tolist() == [[5.5, 0.5]]
    # squared distances are 2 - 2 cos
    assert float(found.ratio) == pytest.approx((0.04 / 0.4) ** 0.5, rel=1e-4)


def test_spread_takes_the_most_distinct_of_each_square() -> None:
    source = torch.tensor([[20.0, 20], [21, 21], [40, 20], [2, 40], [40, 40]])
    target = torch.tensor([[20.0, 20], [21, 21], [40, 20], [30, 40], [40, 63]])
    ratio = torch.tensor([0.9, 0.5, 0.7, 0.1, 0.1])  # the last two are at a border
    matches = Matches(source, target, *torch.ones(2, 5), ratio)
    found = matches.spread((64, 64), (64, 64), squares=4)
    assert found.source.tolist() == [[21, 21], [40, 20]]
    assert len(matches.spread((64, 64), (64, 64), squares=64, margin=0)) == 5
    assert matches.spread((64, 64), (64, 64), most=1).ratio.tolist() == [0.5]
    assert len(matches.select(matches.ratio > 1).spread((64, 64), (64, 64))) == 0


@pytest.mark.parametrize("shape", [(10, 20000), (20000, 10), (1, 1), (300, 200)])
def test_drawings_of_any_shape_are_bounded(shape: tuple[int, int]) -> None:
    """A strip 2,000 times as wide as high would be 768,000 pixels wide at the height of others."""
    points = torch.tensor([[0.0, 0.0], [shape[1], shape[0]]])
    matches = Matches(points, points, *torch.ones(3, 2))
    a, b = torch.zeros(3, *shape), torch.zeros(3, 64, 64)
    drawn = draw_matches(a, b, matches, height=96)
    assert drawn.shape[1] == 96 and drawn.shape[2] <= 4 * 96 + 8 + 96
    # the ends of the strip are where its corners are
    left = drawn[:, :, : drawn.shape[2] - 104]
    colour = (left.amax(0) - left.amin(0)) > 0.5
    columns = colour.any(0).nonzero()[:, 0]
    assert int(columns.min()) <= 5 and int(columns.max()) >= left.shape[2] - 6


@pytest.mark.slow
def test_what_is_drawn_of_a_stereo_pair_is_right() -> None:
    """Of the 60 most distinct matches of a photograph's two views, nine in ten are within 10 pixels
    of the known disparity; of the 60 most similar, at the borders, fewer than six in ten."""
    from skimage.data import stereo_motorcycle

    left, right, disparity = stereo_motorcycle()
    a, b = (torch.tensor(view).permute(2, 0, 1).float() / 255 for view in (left, right))
    every = match(load_prior("shapes"), a, b)[0]
    size = (a.shape[1], a.shape[2])
    shares = []
    for some in (
        every.spread(size, size, most=60),
        every.select(every.similarity.argsort(descending=True)[:60]),
    ):
        x, y = some.source.long().T
        known = torch.tensor(disparity)[y, x]
        true = some.source - torch.stack([known, torch.zeros_like(known)], 1)
        error = (some.target - true).norm(dim=1)[known.isfinite() & (known > 0)]
        assert len(error) >= 40
        shares.append(float((error <= 10).float().mean()))
    assert shares[0] >= 0.9 and shares[1] < 0.6


def test_a_large_target_is_searched_in_parts() -> None:
    source, target = random_map(0), random_map(1)
    options = {"source_size": SIZE, "target_size": (200, 300)}
    whole = match_features(source, target, **options)
    parts = match_features(source, target, locate=NearestPixel(values=200 * 300), **options)
    assert torch.equal(whole.target, parts.target)
    torch.testing.assert_close(whole.similarity, parts.similarity)


def test_dual_softmax_is_the_product_of_both() -> None:
    """Written out for maps of few places; a hub, similar to all, is left for the second best."""
    generator = torch.Generator().manual_seed(0)
    source, target = (torch.randn(4, 3, 5, generator=generator) for _ in range(2))
    unit = [functional.normalize(m, dim=0).flatten(1) for m in (source, target)]
    similarity = unit[0].T @ unit[1] / 0.1
    product = similarity.softmax(0) * similarity.softmax(1)
    best = product.argmax(1)
    found, _ = DualSoftmax(0.1)(unit[0].T, target, (3, 5), source)
    assert torch.equal(found, torch.stack([best % 5, best // 5], 1) + 0.5)
    plain, _ = nearest_cell(unit[0].T, target, (3, 5))
    assert not torch.equal(found, plain)


def test_dual_softmax_of_many_points_and_cells_is_that_of_each() -> None:
    source, target = random_map(0), random_map(1)
    options = {"source_size": SIZE, "target_size": SIZE, "locate": DualSoftmax()}
    every = match_features(source, target, **options)
    one = match_features(source, target, every.source[17:18], **options)
    assert torch.equal(one.target[0], every.target[17])
    with pytest.raises(ValueError, match="temperature must be above 0; got 0"):
        DualSoftmax(0.0)


@pytest.mark.parametrize("weight", [0, 0.3, 1])
def test_a_fusion_has_the_weighted_cosine(weight: float) -> None:
    images = torch.rand(2, 3, 16, 20, generator=torch.Generator().manual_seed(0))
    maps = torch.stack([random_map(0), random_map(1)])[:, :, :8, :10]
    fused = SiftFusion(weight).join(maps, images)
    sift = functional.interpolate(joined_sift(images), (8, 10), mode="bilinear")
    assert fused.shape == (2, 16 + 5 * 128, 8, 10)
    torch.testing.assert_close(fused.norm(dim=1), torch.ones(2, 8, 10))
    cosines = [
        functional.cosine_similarity(m[0, :, 3, 4], m[1, :, 5, 6], dim=0)
        for m in (fused, maps, sift)
    ]
    torch.testing.assert_close(cosines[0], weight * cosines[1] + (1 - weight) * cosines[2])


def test_a_fusion_of_another_weight_is_refused() -> None:
    for weight in (-0.1, 1.1):
        with pytest.raises(ValueError, match="weight must lie in 0 to 1"):
            SiftFusion(weight)


def test_a_permutation_is_undone() -> None:
    source = random_map(0)
    order = torch.randperm(96, generator=torch.Generator().manual_seed(1))
    target = source.flatten(1)[:, order].unflatten(1, (8, 12))
    found = mutual_matches(source, target, source_size=SIZE, target_size=SIZE)
    centres = cell_centres(source, SIZE)
    assert len(found) == 96
    torch.testing.assert_close(found.target, centres[order.argsort()])


def test_homography_in_spite_of_outliers() -> None:
    generator = torch.Generator().manual_seed(0)
    source = torch.rand(80, 2, generator=generator) * 64
    true = torch.tensor([[1.1, 0.1, -3.0], [-0.05, 0.9, 4.0], [0.001, -0.0005, 1.0]])
    ends = torch.cat([source, torch.ones(80, 1)], 1) @ true.T
    target = ends[:, :2] / ends[:, 2:]
    target[:24] = torch.rand(24, 2, generator=generator) * 64
    matches = Matches(source, target, *torch.ones(3, 80))
    found, inliers = matches.homography(threshold=1.0, seed=0)
    assert corner_error(found, true, (64, 64)) < 0.05
    assert bool(inliers[24:].all()) and int(inliers[:24].sum()) <= 2
    again, _ = matches.homography(threshold=1.0, seed=0)
    assert torch.equal(found, again)
    assert len(matches.select(inliers)) == int(inliers.sum())


def test_keypoint_accuracy_both_ways() -> None:
    errors = [torch.tensor([0.0, 1.0, 3.0, 9.0]), torch.tensor([2.0])]
    found = keypoint_accuracy(errors, [10, 20], 0.1)
    assert found == {"per_point": pytest.approx(0.6), "per_image": pytest.approx(0.75)}
    with pytest.raises(ValueError, match="one pair"):
        keypoint_accuracy([], [], 0.1)


def test_resampling_has_the_error_of_a_share() -> None:
    # 200 pairs of one point, 60 right: sd sqrt(0.3 * 0.7 / 200) = 0.0324, known to 1.6% from 2000
    errors = [torch.tensor([0.0 if i < 60 else 9.0]) for i in range(200)]
    found = resampled_accuracy(errors, [10.0] * 200, 0.1, seed=3)
    for values in found.values():
        assert abs(values.mean() - 0.3) < 4 * 0.0324 / math.sqrt(2000)
        assert values.std() == pytest.approx(0.0324, rel=0.07)
    # points of one pair are right together: 200 points in 2 pairs say as little as 2
    pairs = [torch.zeros(100), torch.full((100,), 9.0)]
    assert set(resampled_accuracy(pairs, [10.0] * 2, 0.1)["per_point"]) == {0, 0.5, 1}


def test_corner_error_of_a_shift() -> None:
    shifted = torch.eye(3)
    shifted[0, 2] = 3
    assert corner_error(shifted, torch.eye(3), (10, 20)) == pytest.approx(3)


def test_refusals() -> None:
    features = random_map(0)
    with pytest.raises(ValueError, match="one layer; they have 16 and 4 channels"):
        match_features(features, random_map(0, 4), source_size=SIZE, target_size=SIZE)
    with pytest.raises(ValueError, match="points must lie in the image, x in 0 to 48"):
        match_features(
            features, features, torch.tensor([[49.0, 1]]), source_size=SIZE, target_size=SIZE
        )
    with pytest.raises(ValueError, match="window must be odd"):
        SoftArgmax(4)
    with pytest.raises(ValueError, match="temperature"):
        SoftArgmax(3, 0.0)
    few = Matches(*torch.zeros(2, 3, 2), *torch.ones(3, 3))
    with pytest.raises(ValueError, match="at least 4 matches; got 3"):
        few.homography()
