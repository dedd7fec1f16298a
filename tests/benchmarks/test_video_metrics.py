"""Features and intervals of sets of clips: closed forms, floors, coverage."""

import math

import pytest
import torch
from torch import Tensor
from video_metrics import (
    Estimate,
    Space,
    diversity,
    hand_features,
    mean_estimate,
    mean_replicates,
    nearest_distance,
    random_features,
    tracks,
)

from scorefield.world.clips import ClipSet, draw_clip, render_clips


def clips(seed: int, n: int, **fixed: str) -> Tensor:
    return render_clips([draw_clip(seed, i, **fixed) for i in range(n)])


def test_random_features_are_the_same_everywhere() -> None:
    # Golden values; print them anew after a change of the filters, which changes every distance.
    ramp = torch.linspace(0, 1, 8 * 3 * 256).view(1, 8, 3, 16, 16)
    features = random_features(ramp)[0]
    assert features.shape == (64,)
    expected = [0.2520, 0.0342, 0.1869, 0.3909, 0.0648, 0.2068]
    assert features[[0, 1, 2, 32, 33, 34]].tolist() == pytest.approx(expected, abs=1e-3)


def test_random_features_tell_a_motion_from_its_reverse() -> None:
    videos = clips(3, 4, domain="light", color="red", shape="disc", motion="left")
    difference = random_features(videos) - random_features(videos.flip(1))
    assert float(difference.abs().max()) > 0.01


def test_random_filters_are_orthonormal() -> None:
    # White noise through orthonormal filters: every rectified answer has mean s / sqrt(2 pi)
    videos = (torch.randn(16, 8, 3, 16, 16, generator=torch.Generator().manual_seed(0)) + 1) / 2
    means = random_features(videos)[:, :32].mean(0)
    assert torch.allclose(means, torch.full((32,), 1 / math.sqrt(2 * math.pi)), atol=0.03)


def test_tracks_follow_a_moving_point_and_not_the_background() -> None:
    videos = torch.rand(1, 1, 3, 16, 16, generator=torch.Generator().manual_seed(0)).repeat(
        1, 8, 1, 1, 1
    )
    for t in range(8):
        videos[0, t, :, 4, 2 + t] = 5.0
    track = tracks(videos)[0]
    centre = torch.linspace(-1, 1, 16)
    assert torch.allclose(track[:, 0], centre[2:10], atol=1e-4)
    assert torch.allclose(track[:, 1], centre[4].expand(8), atol=1e-4)


def test_hand_features_of_a_still_grey_video() -> None:
    features = hand_features(torch.full((1, 8, 3, 16, 16), 0.5))[0]
    assert features.shape == (41,)
    assert features[:16].abs().max() < 1e-6  # no motion, so the middle
    histogram = features[16:34].view(3, 6)
    assert torch.equal(histogram, torch.tensor([0.0, 0, 0, 1, 0, 0]).expand(3, 6))
    assert features[34:].abs().max() == 0


@pytest.mark.parametrize("features", [random_features, hand_features])
def test_real_clips_are_at_the_floor_and_another_domain_is_far(features: object) -> None:
    assert callable(features)
    space = Space.of(features(clips(5, 128, domain="striped")))
    floor = space.distance(features(clips(6, 64, domain="striped")))
    far = space.distance(features(clips(6, 64, domain="dark")))
    assert 0 < floor < 0.2 * far


def test_the_distance_of_known_gaussians() -> None:
    generator = torch.Generator().manual_seed(1)
    reference = torch.randn(20000, 2, generator=generator) * torch.tensor([1.0, 4.0])
    space = Space.of(reference)
    # In units of the reference's spread: means differ by (1, 0), standard deviations by a factor 2
    shifted = torch.randn(20000, 2, generator=generator) * torch.tensor([1.0, 8.0])
    value = space.distance(shifted + torch.tensor([1.0, 0.0]))
    # sqrt(20000) = 141: 5 standard errors of the mean's square are 5 * 2 / 141 = 0.07
    assert value == pytest.approx(1 + (2 - 1) ** 2, abs=0.1)


def test_frechet_replicates_are_centred_and_the_interval_holds_the_truth() -> None:
    generator = torch.Generator().manual_seed(2)
    space = Space.of(torch.randn(4000, 3, generator=generator))
    sample = torch.randn(400, 3, generator=generator) + torch.tensor([1.0, 0, 0])
    replicates = space.replicates(sample, seed=0, resamples=100)
    value = space.distance(sample)
    assert float(replicates.mean()) == pytest.approx(value, abs=1e-9)
    estimate = Estimate.of(value, replicates)
    assert estimate.low < 1 < estimate.high


def test_intervals_of_a_mean_cover_it_19_times_in_20() -> None:
    generator = torch.Generator().manual_seed(3)
    trials, hits = 200, 0
    for seed in range(trials):
        values = torch.rand(60, generator=generator) < 0.3
        estimate = mean_estimate(values, seed=seed, resamples=400)
        hits += estimate.low <= 0.3 <= estimate.high
    # 5 standard errors of 200 trials are 0.08; a percentile interval of 60 values covers 94%
    assert abs(hits / trials - 0.94) < 0.08


def test_replicates_of_a_mean_have_its_standard_error() -> None:
    values = torch.randn(200, generator=torch.Generator().manual_seed(4))
    replicates = mean_replicates(values, seed=0, resamples=4000)
    expected = float(values.std(correction=0)) / math.sqrt(200)
    assert float(replicates.std()) == pytest.approx(expected, rel=5 / math.sqrt(2 * 4000))
    assert torch.equal(replicates, mean_replicates(values, seed=0, resamples=4000))
    assert not torch.equal(replicates, mean_replicates(values, seed=1, resamples=4000))


def test_an_interval_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="needs at least one value, got none"):
        mean_estimate(torch.zeros(0), seed=0)


def test_diversity_is_the_distance_within_captions() -> None:
    videos = torch.zeros(5, 8, 3, 4, 4)
    videos[1] = 0.5  # of the same caption as 0
    videos[3] = 1.0  # of the same caption as 2
    values = diversity(videos, ["a", "a", "b", "b", "alone"])
    assert torch.allclose(values, torch.tensor([0.5, 1.0]))
    with pytest.raises(ValueError, match="every caption comes up once"):
        diversity(videos, list("abcde"))


def test_nearest_distance_is_zero_for_what_was_memorised() -> None:
    training = clips(1, 4)
    videos = torch.cat([training[2:3], training[:1] + 0.1])
    values = nearest_distance(videos, training)
    assert values[0] < 1e-3 and float(values[1]) == pytest.approx(0.1, abs=1e-3)


def test_clips_of_the_world_are_apart() -> None:
    drawn = ClipSet(9)
    videos = render_clips([drawn[i] for i in range(8)])
    assert float(nearest_distance(videos[:4], videos[4:]).min()) > 0.05
