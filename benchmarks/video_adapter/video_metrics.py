"""What sets of short clips are compared by: features that need no download, and intervals.

A Frechet distance says something about its feature space only, so there are three: fixed random
filters, which know nothing of the world; the features of a classifier of the world; and what a
person would measure by hand. Each is read beside its floor, the distance between two sets of real
clips of the same captions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from scorefield.intervals import percentiles
from scorefield.priors.noise import noise_generator
from scorefield.world.judge import frechet_distance

FILTERS = 32
"""Number of random filters; each gives two features."""

_FILTER_SHAPE = (3, 3, 5, 5)  # frames, channels, rows, columns
_FILTER_SEED = 20
_BINS = 6  # of the histogram of each channel
_CHUNK = 128


def random_features(
    videos: Float[Tensor, "b frames 3 h w"],
) -> Float[Tensor, "b features"]:
    """Mean and standard deviation, over places and times, of the rectified answers of filters.

    The 32 filters of 3 frames x 3 colours x 5x5 pixels are orthonormal: the Q of a Gaussian matrix
    that depends on a fixed seed only. Three frames are enough to tell a motion from its reverse.
    """
    size = _FILTER_SHAPE[0] * _FILTER_SHAPE[1] * _FILTER_SHAPE[2] * _FILTER_SHAPE[3]
    noise = torch.randn(size, FILTERS, generator=noise_generator(_FILTER_SEED)).double()
    # The signs of Q are the library's choice; those of R's diagonal make it unique.
    q, r = torch.linalg.qr(noise)
    filters = (q * r.diagonal().sign()).T.reshape(FILTERS, *_FILTER_SHAPE).transpose(1, 2)
    rows = []
    for chunk in videos.split(_CHUNK):
        signed = 2 * chunk.float().transpose(1, 2) - 1  # (b, 3, frames, h, w)
        answers = F.conv3d(signed, filters.float()).relu().flatten(2)
        rows.append(torch.cat([answers.mean(2), answers.std(2)], 1))
    return torch.cat(rows)


def tracks(videos: Float[Tensor, "b frames 3 h w"]) -> Float[Tensor, "b frames 2"]:
    """Where what moves is in every frame: (x, y), the middle 0, the edges -1 and 1.

    The centroid of a frame's squared difference from the pixel's median over time.
    """
    still = videos.median(dim=1, keepdim=True).values
    weight = (videos - still).square().sum(2)  # (b, frames, h, w)
    total = weight.sum((2, 3)).clamp(min=1e-8)
    x = torch.linspace(-1, 1, videos.shape[-1]).to(videos)
    y = torch.linspace(-1, 1, videos.shape[-2]).to(videos)
    across, down = (weight.sum(2) * x).sum(2) / total, (weight.sum(3) * y).sum(2) / total
    return torch.stack([across, down], 2)


def hand_features(videos: Float[Tensor, "b frames 3 h w"]) -> Float[Tensor, "b features"]:
    """The track, a histogram of each colour channel, and how much successive frames differ.

    2 F + 3 * 6 + (F - 1) numbers for F frames: 41 for 8.
    """
    bins = (videos.clamp(0, 1) * _BINS).long().clamp(max=_BINS - 1)
    shares = torch.stack([(bins == k).float().mean((1, 3, 4)) for k in range(_BINS)], 2)
    steps = (videos[:, 1:] - videos[:, :-1]).abs().mean((2, 3, 4))
    return torch.cat([tracks(videos).flatten(1), shares.flatten(1), steps], 1)


@dataclass(frozen=True)
class Space:
    """A feature space in which every coordinate of real clips has about unit spread.

    reference: features of real clips.
    scale: what each coordinate is divided by: its standard deviation over the real clips, or a
        tenth of their mean where it hardly varies.
    """

    reference: Float[Tensor, "n features"]
    scale: Float[Tensor, " features"]

    @classmethod
    def of(cls, features: Float[Tensor, "n features"]) -> "Space":
        """The space of the features of real clips."""
        spread = features.double().std(0)
        scale = spread.clamp(min=0.1 * float(spread.mean()))
        return cls(features.double() / scale, scale)

    def distance(self, features: Float[Tensor, "m features"]) -> float:
        """The Frechet distance between features and the reference."""
        return frechet_distance(features.double() / self.scale, self.reference)

    def replicates(
        self, features: Float[Tensor, "m features"], *, seed: int, resamples: int = 200
    ) -> Float[Tensor, " resamples"]:
        """Distances of features drawn with replacement, shifted to have the distance as their mean.

        Without the shift they would lie above it: a resample has fewer different rows, and the
        Frechet distance grows as a sample shrinks. The reference stays as it is.
        """
        drawn = _drawn(len(features), resamples, seed)
        values = torch.tensor([self.distance(features[rows]) for rows in drawn]).double()
        return values - values.mean() + self.distance(features)


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95% bootstrap interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, replicates: Float[Tensor, " resamples"]) -> "Estimate":
        """The percentile interval (Efron 1979): the middle 95% of the replicates."""
        return cls(value, *percentiles(replicates))


def mean_replicates(
    values: Float[Tensor, " n"] | Bool[Tensor, " n"], *, seed: int, resamples: int = 2000
) -> Float[Tensor, " resamples"]:
    """Means of values drawn with replacement."""
    return values.double()[_drawn(len(values), resamples, seed)].mean(1)


def mean_estimate(
    values: Float[Tensor, " n"] | Bool[Tensor, " n"], *, seed: int, resamples: int = 2000
) -> Estimate:
    """The mean of independent values (shares, of booleans) with its interval."""
    replicates = mean_replicates(values, seed=seed, resamples=resamples)
    return Estimate.of(float(values.double().mean()), replicates)


def _drawn(n: int, resamples: int, seed: int) -> Tensor:
    """Rows of resamples, (resamples, n), from the generator that the published figures have."""
    if n < 1:
        raise ValueError("an interval needs at least one value, got none")
    return torch.randint(n, (resamples, n), generator=noise_generator(seed, n, resamples))


def diversity(
    videos: Float[Tensor, "b frames 3 h w"], captions: Sequence[str]
) -> Float[Tensor, " captions"]:
    """Per caption, the mean distance (root mean square over pixels) between two of its clips.

    Captions that come up once say nothing of diversity and are left out.

    Raises:
        ValueError: no caption comes up twice.
    """
    means = []
    for caption in dict.fromkeys(captions):
        rows = [i for i, other in enumerate(captions) if other == caption]
        if len(rows) > 1:
            means.append(F.pdist(_unit(videos[rows])).mean())
    if not means:
        raise ValueError("diversity needs two clips of one caption; every caption comes up once")
    return torch.stack(means)


def nearest_distance(
    videos: Float[Tensor, "b frames 3 h w"], training: Float[Tensor, "n frames 3 h w"]
) -> Float[Tensor, " b"]:
    """Distance (root mean square over pixels) of each clip to the nearest of the training clips."""
    nearest: Tensor = torch.cdist(_unit(videos), _unit(training)).min(1).values
    return nearest


def _unit(videos: Tensor) -> Tensor:
    """Rows whose Euclidean distance is the root mean square of the pixels' differences."""
    flat = videos.float().flatten(1)
    return flat / flat.shape[1] ** 0.5
