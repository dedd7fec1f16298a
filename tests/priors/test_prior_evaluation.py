"""The evaluation of a prior: balanced labels, figures that are known, and the card."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from scorefield.priors.codec import PixelCodec
from scorefield.priors.exact.empirical import EmpiricalPrior
from scorefield.priors.prior import ImagePrior
from scorefield.training import evaluation
from scorefield.training.evaluation import (
    balanced_label,
    caption,
    evaluate_prior,
    write_card,
)
from scorefield.views import CameraRanges
from scorefield.world.judge import Judge, JudgeNet, Verdict


class Given(ImagePrior):
    """Generates given images."""

    def __init__(self, pictures: Tensor) -> None:
        super().__init__(EmpiricalPrior(pictures[:1]), PixelCodec(), image_size=64)
        self.pictures = pictures

    def generate(self, prompts: Any, guidance: Any = None, **options: Any) -> Tensor:
        assert len(prompts) == len(self.pictures)
        return self.pictures


class Stubborn(Judge):
    """Sees a red chair from the front in everything."""

    def __call__(self, images: Tensor) -> Verdict:
        n = len(images)
        hot = [torch.zeros(n, count) for count in (12, 8, 4)]
        for rows, place in zip(hot, (2, 0, 0), strict=True):
            rows[:, place] = 1
        return Verdict(*hot)


def test_labels_are_balanced() -> None:
    labels = [balanced_label(i) for i in range(384)]
    assert len(set(labels)) == 384
    for pair in ((0, 1), (0, 2), (1, 2)):
        counts = Counter((label[pair[0]], label[pair[1]]) for label in labels[:96])
        assert len(set(counts.values())) == 1
    assert [category for category, _, _ in labels[:3]] == ["mushroom", "lamp", "chair"]


def test_captions_have_their_article() -> None:
    assert caption("duck", "orange", "back view") == "an orange duck, back view"
    assert caption("cup", "red", "front view") == "a red cup, front view"


@pytest.mark.parametrize("seed", [0, 1])
def test_training_seeds_are_refused(seed: int) -> None:
    with pytest.raises(ValueError, match=f"seed {seed} draws images that"):
        evaluate_prior(Given(torch.zeros(4, 3, 64, 64)), Judge(JudgeNet()), n=4, seed=seed)


def test_accuracies_of_a_judge_that_always_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def noise(scenes: list[Any]) -> Tensor:
        return torch.rand(len(scenes), 3, 64, 64, generator=torch.Generator().manual_seed(0))

    monkeypatch.setattr(evaluation, "_render", noise)
    judge = Stubborn(JudgeNet())
    metrics = evaluate_prior(Given(torch.rand(96, 3, 64, 64)), judge, n=96, seed=5, renders=2)
    assert metrics["category_accuracy"] == pytest.approx(1 / 12)
    assert metrics["color_accuracy"] == pytest.approx(1 / 8)
    assert metrics["view_accuracy"] == pytest.approx(1 / 4)
    assert metrics["categories"]["chair"] == 1 and metrics["categories"]["duck"] == 0
    assert metrics["frechet_floor"] == pytest.approx(0, abs=1e-6)  # twice the same images


def test_a_prior_that_is_told_cameras_is_told_no_views(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for the cameras of the renders that it is compared with."""
    monkeypatch.setattr(evaluation, "_render", lambda scenes: torch.zeros(len(scenes), 3, 64, 64))
    asked: list[Any] = []

    class Told(Given):
        cameras = CameraRanges((-10.0, 90.0), (2.8, 3.2), (40.0, 40.0))

        def generate(self, prompts: Any, guidance: Any = None, **options: Any) -> Tensor:
            asked.extend([prompts, options["cameras"]])
            return self.pictures

    metrics = evaluate_prior(
        Told(torch.zeros(16, 3, 64, 64)), Stubborn(JudgeNet()), n=16, seed=5, renders=1
    )
    prompts, cameras = asked
    assert metrics["cameras"] and prompts[2] == "a red chair"
    assert cameras.views == [balanced_label(i)[2] for i in range(16)]


def test_renders_are_near_renders_and_black_is_far() -> None:
    torch.manual_seed(0)
    judge = Judge(JudgeNet())
    labels = [balanced_label(i) for i in range(48)]
    scenes = evaluation._matching_scenes(7, labels, 0)
    assert [(s.category, s.color, s.view) for s in scenes] == labels
    near = evaluate_prior(Given(evaluation._render(scenes)), judge, n=48, seed=6, renders=1)
    assert near["frechet_distance"] < 2 * near["frechet_floor"]
    black = evaluate_prior(Given(torch.zeros(48, 3, 64, 64)), judge, n=48, seed=6, renders=1)
    assert black["frechet_distance"] > 5 * black["frechet_floor"]


def test_the_card_tells_figures_seeds_and_command(tmp_path: Path) -> None:
    accuracies = {
        "category_accuracy": 0.875,
        "color_accuracy": 1.0,
        "view_accuracy": None,
        "categories": {"duck": 0.5, "cup": 1.0},
        "worst_category": "duck",
    }
    metrics = {
        "prior": "shapes",
        "samples": 8,
        "seed": 42,
        "guidance_scale": 3.0,
        "steps": 25,
        **accuracies,
        "frechet_distance": 1.25,
        "frechet_floor": 0.5,
        "judge_on_renders": {"images": 99, **accuracies},
    }
    text = write_card(metrics, "train it", tmp_path / "new").read_text()
    for words in (
        "| duck | 50.0% | 50.0% |",
        "| cup (no front) | 100.0% | 100.0% |",
        "| view, where there is a front | - | - |",
        "The worst category is duck",
        "    train it",
        "seed 42",
        "1.250",
    ):
        assert words in text
