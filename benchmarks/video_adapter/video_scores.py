"""How one arm's clips are judged, and two arms compared."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from video_captions import Wanted
from video_judge import VideoClipJudge
from video_metrics import (
    Estimate,
    Space,
    diversity,
    hand_features,
    mean_estimate,
    mean_replicates,
    nearest_distance,
    random_features,
)

from scorefield.world.clips import NARROW_DOMAIN, NOTHING, read_clips

ANSWERS = ("success", "motion", "color", "shape", "domain")
"""What a clip has right. Success is motion, colour and domain together: what was held out, and the
style. Small networks blur shapes, which are counted apart."""

SPACES = ("random", "classifier", "hand")
"""Feature spaces of the Frechet distances."""


class Judges:
    """All that clips are held against: classifier, real clips, training clips.

    reference: real clips, whose features make the three spaces.
    training: the small model's clips.
    seed, resamples: of the bootstrap; a tenth as many resamples for Frechet distances.
    """

    def __init__(
        self,
        judge: VideoClipJudge,
        reference: Float[Tensor, "n frames 3 h w"],
        training: Float[Tensor, "m frames 3 h w"],
        seed: int,
        resamples: int,
    ) -> None:
        self.judge = judge
        self.training = training
        self.seed, self.resamples = seed, resamples
        features = self.features(reference)
        self.spaces = {name: Space.of(features[name]) for name in SPACES}

    def features(self, videos: Float[Tensor, "n frames 3 h w"]) -> dict[str, Tensor]:
        """Features of videos in [0, 1] in every space, (n, features)."""
        return {
            "random": random_features(videos),
            "classifier": self.judge.features(videos),
            "hand": hand_features(videos),
        }

    def distances(self, clips: UInt8[Tensor, "n frames 3 h w"]) -> dict[str, float]:
        """Frechet distance from the reference in every space."""
        features = self.features(clips / 255)
        return {name: space.distance(features[name]) for name, space in self.spaces.items()}


@dataclass(frozen=True)
class Scores:
    """One arm's clips, judged; row i is clip i.

    jitter: of the clips in which something moves.
    diversity: per caption.
    nearest: distance to the nearest training clip.
    answers: what is right, by the reader, which is no network.
    judged: the same by the classifier, which does not know shapes.
    features: per space.
    """

    judges: Judges
    wanted: Sequence[Wanted]
    answers: dict[str, Bool[Tensor, " n"]]
    judged: dict[str, Bool[Tensor, " n"]]
    features: dict[str, Float[Tensor, "n features"]]
    jitter: Float[Tensor, " moving"]
    diversity: Float[Tensor, " captions"]
    nearest: Float[Tensor, " n"]

    @classmethod
    def of(
        cls, clips: UInt8[Tensor, "n frames 3 h w"], wanted: Sequence[Wanted], judges: Judges
    ) -> "Scores":
        """Judge clips, one per caption."""
        videos = clips / 255
        reading = read_clips(videos)
        said = {name: getattr(reading, name) for name in ("motion", "color", "shape", "domain")}
        return cls(
            judges,
            wanted,
            _right(said, wanted),
            _right(judges.judge(videos), wanted),
            judges.features(videos),
            reading.jitter[torch.tensor([motion != NOTHING for motion in reading.motion])],
            diversity(videos, [one.caption for one in wanted]),
            nearest_distance(videos, judges.training),
        )

    def shares(self) -> dict[str, float]:
        """Share of clips that have each thing right."""
        return {name: float(right.double().mean()) for name, right in self.answers.items()}

    def metrics(self, seeds: int) -> dict[str, Any]:
        """All figures as JSON values.

        measures: [value, low, high], the 95% interval of a bootstrap over clips (of the diversity:
            over captions); Frechet distances are named "frechet_SPACE". There is no "jitter" where
            nothing moves.
        by_classifier, by_new, by_seed: shares without intervals, by what the classifier says, by
            what is new to the small model, and per seed of the noise.
        """
        seed, resamples = self.judges.seed, self.judges.resamples
        means = {**self.answers, "jitter": self.jitter, "nearest": self.nearest}
        measures = {
            name: mean_estimate(values, seed=seed, resamples=resamples)
            for name, values in {**means, "diversity": self.diversity}.items()
            if len(values)
        }
        for name in SPACES:
            distance = self.judges.spaces[name].distance(self.features[name])
            measures[f"frechet_{name}"] = Estimate.of(distance, self._replicates[name])
        new = [one.new for one in self.wanted]
        kinds = {kind: torch.tensor([k == kind for k in new]) for kind in dict.fromkeys(new)}
        success = self.answers["success"].double()
        return {
            "clips": len(self.wanted),
            "measures": {k: list(asdict(v).values()) for k, v in measures.items()},
            "by_classifier": {k: float(v.double().mean()) for k, v in self.judged.items()},
            "by_new": {kind: float(success[rows].mean()) for kind, rows in kinds.items()},
            "by_seed": [float(part.mean()) for part in success.chunk(seeds)],
        }

    def against(self, other: "Scores") -> dict[str, list[float]]:
        """Differences from another arm with the same captions and noise, as [value, low, high].

        Clips are resampled in pairs. Of "success" more is better; of "frechet_SPACE", less.
        """
        seed, resamples = self.judges.seed, self.judges.resamples
        gained = self.answers["success"].double() - other.answers["success"].double()
        replicates = mean_replicates(gained, seed=seed, resamples=resamples)
        differences = {"success": Estimate.of(float(gained.mean()), replicates)}
        for name in SPACES:
            space = self.judges.spaces[name]
            mine, theirs = (space.distance(one.features[name]) for one in (self, other))
            differences[f"frechet_{name}"] = Estimate.of(
                mine - theirs, self._replicates[name] - other._replicates[name]
            )
        return {name: list(asdict(estimate).values()) for name, estimate in differences.items()}

    @cached_property
    def _replicates(self) -> dict[str, Tensor]:
        """Of the Frechet distances; arms of as many clips draw the same rows."""
        seed, resamples = self.judges.seed, self.judges.resamples // 10
        return {
            name: space.replicates(self.features[name], seed=seed, resamples=resamples)
            for name, space in self.judges.spaces.items()
        }


def _right(said: dict[str, list[str]], wanted: Sequence[Wanted]) -> dict[str, Tensor]:
    """Which clips show what was asked for, per question and for success."""
    truth = {
        "motion": [one.motion for one in wanted],
        "color": [one.color for one in wanted],
        "shape": [one.shape for one in wanted],
        "domain": [NARROW_DOMAIN] * len(wanted),
    }
    right = {
        name: torch.tensor([a == b for a, b in zip(said[name], truth[name], strict=True)])
        for name in truth
        if name in said
    }
    return {"success": right["motion"] & right["color"] & right["domain"], **right}
