"""The runs of the Video Adapter experiment: settings tried, clips sampled and judged, per arm."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm
from video_arms import (
    ARMS,
    Arm,
    Experts,
    Setting,
    draw,
    to_bytes,
)
from video_captions import (
    JUDGING,
    TUNING,
    Wanted,
    in_turn,
    nearest_clips,
    real_clips,
)
from video_judge import render_all, train_clip_judge
from video_scores import Judges, Scores

from scorefield.files import whole_file
from scorefield.rows import Row, RowStore
from scorefield.runs.folder import RunFolder
from scorefield.world.clips import NARROW, NARROW_CLIPS, ClipSet

JUDGE_SEED, JUDGE_TEST_SEED, REFERENCE_SEED, FLOOR_SEED = 20, 21, 22, 23
"""World seeds: of the classifier's clips, of those it is tried on, of the real clips that distances
are measured from, and of those whose distance is the floor. None is a prior's."""
_TUNING_SEED = 10**6  # added to the seed: noise that no judged clip has seen
_EVALUATIONS = 3  # of Algorithm 1, per step


@dataclass(frozen=True)
class VideoAdapterSettings:
    """Size of the experiment.

    n: judged clips per arm and seed, over all captions in turn; with the 36 captions and 3 seeds,
        180 are 540 clips per arm, each caption equally often.
    seeds: how many seeds of the sampling noise.
    steps: of Algorithm 1. Its three network evaluations per step are the budget of every arm.
    tuning: clips per setting that is tried; 36 are three of each tuning caption.
    reference: real clips that distances are measured from, and on which the classifier is tried.
    judge_steps: of the classifier's training.
    finetune_steps: of the prior's training on the small model's clips.
    upper_steps: of the training of the upper bound.
    resamples: of the bootstrap; a tenth as many for Frechet distances.
    seed: of noise and bootstrap.
    """

    n: int = 180
    seeds: int = 3
    steps: int = 20
    tuning: int = 36
    reference: int = 2048
    judge_steps: int = 400
    finetune_steps: int = 800
    upper_steps: int = 2500
    resamples: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        twice = {"n": 2 * len(JUDGING), "tuning": 2 * len(TUNING)}
        least = {**twice, "reference": 2, "resamples": 20, "seed": 0}
        for name, value in asdict(self).items():
            if value < least.get(name, 1):
                why = ", two clips of every caption" if name in twice else ""
                raise ValueError(f"{name} must be at least {least.get(name, 1)}{why}; got {value}")

    @property
    def budget(self) -> int:
        """Network evaluations per clip."""
        return _EVALUATIONS * self.steps


class Experiment:
    """The experiment in its folder: what is there is not done again.

        config.json, judge/           settings; the classifier's training
        tuning.jsonl                  share of clips all right at each setting of each arm
        samples/ARM-SEED.safetensors  judged clips

    Every file is written whole or not at all, so that a killed run goes on where it stopped and
    ends with the results of one that was not.
    """

    def __init__(
        self,
        experts: Experts,
        folder: RunFolder,
        settings: VideoAdapterSettings,
        arms: Sequence[Arm] = ARMS,
        *,
        progress: bool = True,
    ) -> None:
        self.experts = experts
        self.settings = settings
        self.arms = arms
        self.progress = progress
        self.tuning = RowStore(folder.path / "tuning.jsonl", {}, ["arm", "setting"])
        self.samples = folder.path / "samples"
        self.samples.mkdir(exist_ok=True)
        self.judge = train_clip_judge(
            folder.path / "judge",
            seed=JUDGE_SEED,
            steps=settings.judge_steps,
            resume=True,
            progress=progress,
        )
        self.judges = Judges(
            self.judge,
            real_clips(REFERENCE_SEED, in_turn(JUDGING, settings.reference)),
            render_all([NARROW[i] for i in range(NARROW_CLIPS)]),
            settings.seed,
            settings.resamples,
        )

    def run(self) -> dict[str, Any]:
        """Tune, sample and judge every arm; returns results of JSON values."""
        settings = self.settings
        wanted = in_turn(JUDGING, settings.n) * settings.seeds
        real = to_bytes(real_clips(FLOOR_SEED, wanted))
        scored = {
            "real": Scores.of(real, wanted, self.judges),
            "nearest": Scores.of(to_bytes(nearest_clips(wanted)), wanted, self.judges),
        }
        rows: dict[str, dict[str, Any]] = {
            "real": {"title": "real clips (the floor)"},
            "nearest": {"title": "nearest training clip"},
        }
        chosen: dict[str, Setting] = {}
        with tqdm(total=self._clips(), desc="clips", unit="clip", disable=not self.progress) as bar:
            for arm in self.arms:
                chosen[arm.name], tried = self._tune(arm, chosen, bar)
                clips, evaluations = self._sample(arm, chosen[arm.name], bar)
                scored[arm.name] = Scores.of(clips, wanted, self.judges)
                rows[arm.name] = {
                    "title": arm.title,
                    "combines": arm.combines,
                    "setting": asdict(chosen[arm.name]),
                    "steps": arm.steps(settings.budget),
                    "evaluations": evaluations,
                    "tried": tried,
                }
        for name, row in rows.items():
            row |= scored[name].metrics(settings.seeds)
        fresh = ClipSet(JUDGE_TEST_SEED)
        return {
            "settings": asdict(settings),
            "captions": {"tuning": len(TUNING), "judging": len(JUDGING)},
            "judge": self.judge.accuracy([fresh[i] for i in range(settings.reference)]),
            "floor": self._floor(real, wanted),
            "arms": rows,
            "verdict": self._verdict(scored),
        }

    @property
    def seconds(self) -> float:
        """What all clips of the folder took to sample, over all the times the run was begun."""
        tuned = [row["seconds"] for row in self.tuning.rows]
        sampled = [float(_metadata(path)["seconds"]) for path in self.samples.glob("*.safetensors")]
        return sum(tuned) + sum(sampled)

    def first_clips(self) -> dict[str, UInt8[Tensor, "n frames 3 h w"]]:
        """The judged clips of the first seed per arm, and those of the arms without a model."""
        wanted = in_turn(JUDGING, self.settings.n)
        clips = {
            "real": to_bytes(real_clips(FLOOR_SEED, wanted)),
            "nearest": to_bytes(nearest_clips(wanted)),
        }
        for arm in self.arms:
            with safe_open(self._path(arm, 0), framework="pt") as file:
                clips[arm.name] = file.get_tensor("clips")
        return clips

    def _path(self, arm: Arm, k: int) -> Path:
        return self.samples / f"{arm.name}-{k}.safetensors"

    def _clips(self) -> int:
        tried = sum(len(arm.grid) for arm in self.arms if len(arm.grid) > 1)
        judged = len(self.arms) * self.settings.seeds * self.settings.n
        return tried * self.settings.tuning + judged

    def _tune(
        self, arm: Arm, chosen: Mapping[str, Setting], bar: Any
    ) -> tuple[Setting, list[dict[str, Any]]]:
        """The setting with most clips all right, the first of equals, and all that was tried."""
        if arm.same_as is not None:
            before = chosen[arm.same_as]
            eta = before.eta if arm.eta is None else arm.eta
            return Setting(before.prior_strength, before.inverse_temperature, eta), []
        if len(arm.grid) == 1:
            return arm.grid[0], []
        tried = []
        wanted = in_turn(TUNING, self.settings.tuning)
        for k, setting in enumerate(arm.grid):
            key = {"arm": arm.name, "setting": asdict(setting)}
            if self.tuning.get(**key) is not None:
                bar.update(len(wanted))

            def shares(k: int = k, setting: Setting = setting) -> Row:
                bar.set_description(f"tuning {arm.name} {k + 1}/{len(arm.grid)}")
                begun = time.monotonic()
                clips, _ = self._draw(arm, setting, wanted, self.settings.seed + _TUNING_SEED, bar)
                found = Scores.of(clips, wanted, self.judges).shares()
                return {"shares": found, "seconds": time.monotonic() - begun}

            row = self.tuning.once(shares, **key)
            tried.append({**row["setting"], **row["shares"]})
        best = max(range(len(tried)), key=lambda k: (tried[k]["success"], -k))
        return arm.grid[best], tried

    def _sample(
        self, arm: Arm, setting: Setting, bar: Any
    ) -> tuple[UInt8[Tensor, "n frames 3 h w"], float]:
        """The judged clips of all seeds, and the network evaluations that one of them took."""
        wanted = in_turn(JUDGING, self.settings.n)
        parts, evaluations = [], []
        for k in range(self.settings.seeds):
            path = self._path(arm, k)
            if path.exists():
                _check_same(path, json.loads(_metadata(path)["setting"]), setting)
                bar.update(len(wanted))
            else:
                bar.set_description(f"{arm.name}, seed {k + 1}/{self.settings.seeds}")
                begun = time.monotonic()
                clips, rows = self._draw(arm, setting, wanted, self.settings.seed + k, bar)
                told = {
                    "seconds": time.monotonic() - begun,
                    "evaluations": rows / len(wanted),
                    "setting": asdict(setting),
                }
                with whole_file(path) as part:
                    save_file({"clips": clips}, part, {k: json.dumps(v) for k, v in told.items()})
            with safe_open(path, framework="pt") as file:
                parts.append(file.get_tensor("clips"))
            evaluations.append(float(_metadata(path)["evaluations"]))
        return torch.cat(parts), sum(evaluations) / len(evaluations)

    def _draw(
        self, arm: Arm, setting: Setting, wanted: Sequence[Wanted], seed: int, bar: Any
    ) -> tuple[UInt8[Tensor, "n frames 3 h w"], int]:
        before = self.experts.rows
        captions = [one.caption for one in wanted]
        clips = draw(
            arm,
            self.experts,
            setting,
            captions,
            budget=self.settings.budget,
            seed=seed,
            drawn=bar.update,
        )
        return clips, self.experts.rows - before

    def _floor(
        self, real: UInt8[Tensor, "n frames 3 h w"], wanted: Sequence[Wanted]
    ) -> dict[str, list[float]]:
        """Distances of ever more real clips from the reference: how they shrink with the sample."""
        sizes = [len(wanted) // 4, len(wanted) // 2, len(wanted)]
        curve: dict[str, list[float]] = {"clips": [float(size) for size in sizes]}
        for size in sizes:
            for name, value in self.judges.distances(real[:size]).items():
                curve.setdefault(name, []).append(value)
        return curve

    def _verdict(self, scored: Mapping[str, Scores]) -> dict[str, Any]:
        """Each combination against the small model and the prior alone."""
        return {
            arm.name: {
                other: scored[arm.name].against(scored[other]) for other in ("small", "prior")
            }
            for arm in self.arms
            if arm.combines and {"small", "prior"} <= set(scored)
        }


def _check_same(path: Path, row: Mapping[str, Any], setting: Setting) -> None:
    """Refuse what was made at another setting, by another version of the arms."""
    before = Setting(**{name: row[name] for name in asdict(setting)})
    if before != setting:
        raise ValueError(f"{path} was made at {before}, now it is {setting}; delete the file")


def _metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata())
