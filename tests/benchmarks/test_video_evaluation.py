"""The Video Adapter experiment on linear-Gaussian videos, whose right answers are known."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
import video_experiment
from torch import Tensor
from video_arms import ARMS, Arm, Experts, Metered, Setting, draw
from video_captions import (
    JUDGING,
    TUNING,
    in_turn,
    nearest_clips,
    real_clips,
)
from video_experiment import Experiment, VideoAdapterSettings
from video_judge import ClipJudgeNet, ClipJudgeTask, VideoClipJudge
from video_report import markdown, plot_grids, verdict, write_report
from video_scores import ANSWERS, SPACES

from scorefield.priors.codec import PixelCodec
from scorefield.priors.condition import Condition
from scorefield.priors.denoiser import ConditionedDenoiser
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.prediction import Prediction
from scorefield.priors.prior import ImagePrior
from scorefield.priors.schedule import DiscreteSchedule
from scorefield.runs.folder import RunFolder
from scorefield.training.settings import TrainingSettings
from scorefield.world.clips import (
    DOMAINS,
    NARROW,
    NARROW_CLIPS,
    NARROW_COLORS,
    NARROW_DOMAIN,
    NARROW_MOTIONS,
    ClipSet,
    draw_clip,
    read_clips,
    render_clips,
)

SCHEDULE = DiscreteSchedule.cosine().zero_terminal_snr()
SPREAD = 0.03
TINY = VideoAdapterSettings(n=72, seeds=2, steps=2, tuning=24, reference=72, resamples=100)


@lru_cache(maxsize=256)
def clip_of(domain: str, color: str, shape: str, motion: str) -> Tensor:
    clip = draw_clip(2, 0, domain=domain, color=color, shape=shape, motion=motion)
    return 2 * render_clips([clip]) - 1


class Gaussians:
    """Clips of a domain: per caption a Gaussian about one clip, which may show something else."""

    name = "gaussians"
    latent_shape = (8, 3, 16, 16)
    schedule = SCHEDULE

    def __init__(
        self, domain: str, colors: Sequence[str] = (), motions: Sequence[str] = ()
    ) -> None:
        self.domain, self.colors, self.motions = domain, colors, motions

    def condition(self, prompts: Sequence[str] | str | None = None) -> ConditionedDenoiser:
        prompts = [prompts] if isinstance(prompts, str) else list(prompts or [""])
        return ConditionedDenoiser(
            self, Condition({"mean": torch.cat([self._mean(prompt) for prompt in prompts])})
        )

    def _mean(self, prompt: str) -> Tensor:
        words = prompt.split()
        if not words:
            return torch.zeros(1, 8, 3, 16, 16)
        _, color, shape, _, motion = words
        color = color if not self.colors or color in self.colors else self.colors[0]
        motion = motion if not self.motions or motion in self.motions else self.motions[0]
        return clip_of(self.domain, color, shape, motion)

    def predict(self, z: Tensor, level: NoiseLevel, condition: Condition) -> Prediction:
        alpha, sigma = level.like(z)
        total = alpha**2 * SPREAD**2 + sigma**2
        mean = condition.tensors["mean"]
        return Prediction.from_x0(z, level, (alpha * SPREAD**2 * z + sigma**2 * mean) / total)


def experts() -> Experts:
    def metered(*known: Any) -> Metered:
        family = Gaussians(*known)
        return Metered(ImagePrior(family, PixelCodec(), image_size=16, frames=8))

    return Experts(
        small=metered(NARROW_DOMAIN, NARROW_COLORS, NARROW_MOTIONS),
        prior=metered(DOMAINS[0]),
        finetuned=metered(NARROW_DOMAIN, NARROW_COLORS, NARROW_MOTIONS),
        upper=metered(NARROW_DOMAIN),
    )


def arm(name: str) -> Arm:
    return next(one for one in ARMS if one.name == name)


@pytest.fixture(autouse=True)
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def judge(*_: Any, **__: Any) -> VideoClipJudge:
        torch.manual_seed(0)
        return VideoClipJudge(ClipJudgeNet())

    monkeypatch.setattr(video_experiment, "train_clip_judge", judge)


def run(out: Path, arms: Sequence[Arm], resume: bool = False) -> dict[str, Any]:
    folder = RunFolder.create(out, {}, resume)
    return Experiment(experts(), folder, TINY, arms, progress=False).run()


def cheap(name: str) -> Arm:
    """An arm with few settings to try."""
    one = arm(name)
    return replace(one, grid=one.grid[: 2 if one.combines else 1])


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("whole") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            video_experiment, "train_clip_judge", lambda *_, **__: VideoClipJudge(ClipJudgeNet())
        )
        torch.manual_seed(0)
        arms = [cheap(name) for name in ("small", "prior", "algorithm-1", "upper")]
        found = run(out, arms)
    return {**found, "out": out}


def test_what_is_asked_was_held_out_and_tuning_and_judging_share_no_caption() -> None:
    assert len(TUNING) == 12 and len(JUDGING) == 36
    captions = [one.caption for one in (*TUNING, *JUDGING)]
    assert len(set(captions)) == 48
    seen = {NARROW[i].caption for i in range(NARROW_CLIPS)}
    assert not seen & set(captions)
    assert {one.new for one in TUNING} == {"motion", "color", "both"}
    for one in JUDGING:
        new = {"motion": one.motion not in NARROW_MOTIONS, "color": one.color not in NARROW_COLORS}
        assert one.new == ("both" if all(new.values()) else next(k for k, v in new.items() if v))
    reading = read_clips(real_clips(5, JUDGING[:4]))
    assert reading.motion == [one.motion for one in JUDGING[:4]]
    assert set(reading.domain) == {NARROW_DOMAIN}


def test_the_nearest_clip_is_one_of_the_training_clips_and_shares_words() -> None:
    wanted = in_turn(JUDGING, 6)
    training = render_clips([NARROW[i] for i in range(NARROW_CLIPS)])
    answers = nearest_clips(wanted)
    assert all(any(torch.equal(clip, other) for other in training) for clip in answers)
    for one, color, motion in zip(
        wanted, *(getattr(read_clips(answers), name) for name in ("color", "motion")), strict=True
    ):
        assert (color == one.color) + (motion == one.motion) == (0 if one.new == "both" else 1)


@pytest.mark.parametrize("one", ARMS, ids=lambda one: one.name)
def test_every_arm_pays_for_as_many_evaluations(one: Arm) -> None:
    models, budget = experts(), 60
    setting = one.grid[0] if one.grid else Setting(0.1, 1.5, 1.0 if one.eta is None else one.eta)
    clips = draw(one, models, setting, [JUDGING[0].caption], budget=budget, seed=0)
    assert clips.shape == (1, 8, 3, 16, 16) and clips.dtype == torch.uint8
    # A corrector does not run at the clean end; the window spares the prior half of the way.
    least = {"algorithm-1-ula": 57, "windowed": 45}.get(one.name, 60)
    assert least <= models.rows <= budget


def test_a_clip_does_not_depend_on_the_batch() -> None:
    prompts = [one.caption for one in JUDGING[:3]]
    setting = Setting(0.3, 1.5)
    drawn = [
        draw(arm("algorithm-1"), experts(), setting, prompts, budget=9, seed=4, batch_size=size)
        for size in (1, 3)
    ]
    assert torch.equal(*drawn)
    other = draw(arm("algorithm-1"), experts(), setting, prompts, budget=9, seed=5)
    assert not torch.equal(drawn[0], other)


def test_known_answers(results: dict[str, Any]) -> None:
    shares = {name: row["measures"] for name, row in results["arms"].items()}
    for name in ("real", "upper"):
        assert shares[name]["success"][0] == pytest.approx(1, abs=0.03)
    for name in ("small", "nearest"):  # the style, and half of the words
        assert shares[name]["success"][0] < 0.05 and shares[name]["domain"][0] > 0.95
        assert shares[name]["motion"][0] == pytest.approx(1 / 3, abs=0.05)
    assert shares["prior"]["domain"][0] == 0 and shares["prior"]["motion"][0] > 0.9
    row = results["arms"]["upper"]
    assert row["by_new"] == pytest.approx(dict.fromkeys(("motion", "color", "both"), 1), abs=0.05)
    assert len(row["by_seed"]) == TINY.seeds and row["clips"] == 144
    assert row["evaluations"] == TINY.budget == 6


def test_distances_have_a_floor_and_memorised_clips_no_distance(results: dict[str, Any]) -> None:
    rows = results["arms"]
    assert rows["nearest"]["measures"]["nearest"][0] < 0.003  # bytes are rounded
    assert rows["real"]["measures"]["nearest"][0] > 0.1
    for space in ("random", "hand"):
        floor = rows["real"]["measures"][f"frechet_{space}"]
        assert floor[1] <= floor[0] <= floor[2]
        assert floor[0] == pytest.approx(results["floor"][space][-1])
        assert floor[0] < rows["prior"]["measures"][f"frechet_{space}"][0]
    assert results["floor"]["clips"] == [36, 72, 144]
    # Real clips of other phases and places differ more than the Gaussians about one clip
    measures = {name: row["measures"] for name, row in rows.items()}
    assert measures["real"]["diversity"][0] > measures["upper"]["diversity"][0]


def test_the_best_setting_of_the_tuning_captions_is_taken(results: dict[str, Any]) -> None:
    row = results["arms"]["algorithm-1"]
    assert len(row["tried"]) == 2 and set(ANSWERS) <= set(row["tried"][0])
    best = max(row["tried"], key=lambda one: one["success"])
    assert {name: best[name] for name in row["setting"]} == row["setting"]
    assert results["arms"]["small"]["tried"] == []


def test_an_interrupted_run_ends_with_the_same_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = [cheap("algorithm-1")]
    whole = run(tmp_path / "whole", arms)
    calls = 0

    def killed(*args: Any, **options: Any) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return draw(*args, **options)

    monkeypatch.setattr(video_experiment, "draw", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "part", arms)
    parts = run(tmp_path / "part", arms, resume=True)
    assert parts == whole
    assert calls == 4 + 1  # two settings and two seeds, three of which were done


def test_the_table_and_the_verdict(results: dict[str, Any], tmp_path: Path) -> None:
    text = markdown(results)
    for words in (
        "| real clips (the floor) | - | - | - | - | 1.00 [",
        "| Algorithm 1, DDPM | 0.1 | ",
        "| small model alone | - | 1.5 | 3 DDPM | 6 |",
        "2 x 72 clips of 36 captions",
        "The floor with 36, 72 and 144 real clips",
        "new motion",
    ):
        assert words in text
    clips = {"real": (255 * real_clips(3, JUDGING)).to(torch.uint8)}
    captions = [one.caption for one in JUDGING]
    written = write_report(results, clips, captions, tmp_path)
    assert sorted(path.name for path in written) == ["grids.png", "real.png", "table.md"]
    assert all(path.stat().st_size > 1000 for path in written)
    assert (tmp_path / "table.md").read_text() == text + "\n"


def test_a_verdict_says_what_the_intervals_say() -> None:
    def against(success: list[float], distance: list[float]) -> dict[str, list[float]]:
        return {"success": success, **{f"frechet_{space}": distance for space in SPACES}}

    up, even, down = [0.2, 0.1, 0.3], [0.0, -0.1, 0.1], [-0.2, -0.3, -0.1]

    def say(small: list[float], prior: list[float], distance: list[float] = down) -> str:
        arms = {"a": {"title": "A", "combines": True}}
        found = {"small": against(small, distance), "prior": against(prior, distance)}
        (line,) = verdict({"arms": arms, "verdict": {"a": found}})
        return line

    assert say(up, up).startswith(
        "- **A**: more clips all right than with either alone. Against the small"
    )
    assert "all right +0.20 [+0.10, +0.30]; FD random better" in say(up, up)
    assert "FD hand worse" in say(up, up, up) and "FD hand undecided" in say(up, up, even)
    assert ": not shown to be better than both alone." in say(up, even)
    assert ": fewer clips all right than with one of them alone." in say(up, down)


def test_a_plot_without_grids(tmp_path: Path) -> None:
    assert plot_grids({"arms": {"real": {"title": "real"}}}, tmp_path / "g.png").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 71}, "n must be at least 72, two clips of every caption; got 71"),
        ({"tuning": 12}, "tuning must be at least 24, two clips of every caption; got 12"),
        ({"steps": 0}, "steps must be at least 1; got 0"),
        ({"seed": -1}, "seed must be at least 0; got -1"),
    ],
)
def test_settings_out_of_range_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VideoAdapterSettings(**options)


def test_the_classifier_learns(tmp_path: Path) -> None:
    drawn = ClipSet(20)
    settings = TrainingSettings(40, 32, learning_rate=3e-3, warmup=5, ema=0.9)
    task = ClipJudgeTask([drawn[i] for i in range(256)], settings)
    first = [task.step(step)["loss"] for step in range(40)]
    assert first[-1] < 0.7 * first[0]
    judge = VideoClipJudge(task.averaged())  # type: ignore[arg-type]
    fresh = ClipSet(21)
    assert judge.accuracy([fresh[i] for i in range(64)])["color"] > 0.5
    assert judge.features(render_clips([fresh[0]])).shape == (1, 64)


def test_results_are_json(results: dict[str, Any]) -> None:
    kept = {name: value for name, value in results.items() if name != "out"}
    assert json.loads(json.dumps(kept, allow_nan=False)) == kept
