"""The weights that ship: they load offline, know their words and draw what is asked."""

import json
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from scorefield.priors import FrozenPrior, load_prior
from scorefield.training.evaluation import evaluate_prior
from scorefield.training.tokenizer import WORDS
from scorefield.world import CATEGORIES, COLORS, draw_scene, render
from scorefield.world.judge import Judge

WEIGHTS = Path(str(files("scorefield.priors") / "weights"))


@pytest.fixture(scope="module")
def prior() -> FrozenPrior:
    return load_prior("shapes")


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge.load()


def test_the_card_is_that_of_the_code(prior: FrozenPrior) -> None:
    card = json.loads((WEIGHTS / "shapes" / "scorefield.json").read_text())
    assert card["vocabulary"] == WORDS
    assert prior.name == card["name"] == "shapes"
    assert prior.guidance_scale == card["guidance_scale"]
    assert prior.image_size == 64 and prior.latent_shape == (4, 16, 16)
    assert prior.schedule.is_zero_terminal_snr  # type: ignore[attr-defined]


def test_unknown_words_are_named_with_their_nearest(prior: FrozenPrior) -> None:
    with pytest.raises(ValueError, match=r"'mushrom' \(nearest: mushroom"):
        prior.condition("a red mushrom")


def test_the_codec_keeps_the_image(prior: FrozenPrior) -> None:
    """Fresh renders come back with at least 26 dB; the model card has the figure."""
    images = render([draw_scene(900, i) for i in range(32)]).images
    with torch.no_grad():
        error = (prior.decode(prior.encode(images)) - images).square().mean()
    assert -10 * torch.log10(error) > 26


def test_samples_show_what_was_asked(prior: FrozenPrior, judge: Judge) -> None:
    """Of 24 samples most have their category and colour; far from chance, 1/12 and 1/8."""
    colors = list(COLORS)
    asked = [(colors[i % 8], name) for i, name in enumerate([*CATEGORIES] * 2)]
    images = prior.generate([f"a {c} {n}, side view" for c, n in asked], steps=12, seed=901)
    verdict = judge(images)
    right = [n == seen for (_, n), seen in zip(asked, verdict.categories, strict=True)]
    painted = [c == seen for (c, _), seen in zip(asked, verdict.colors, strict=True)]
    assert sum(right) >= 16 and sum(painted) >= 18


def test_the_prediction_beats_the_trivial_ones(prior: FrozenPrior) -> None:
    """At mid noise, x0 is nearer than both z / alpha and the mean latent."""
    images = render([draw_scene(902, i) for i in range(16)]).images
    captions = [draw_scene(902, i).caption for i in range(16)]
    with torch.no_grad():
        x = prior.encode(images)
    eps = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    level = prior.schedule.at_fraction(0.4)
    z = level.add_noise(x, eps)
    error = (prior.condition(captions)(z, level).x0 - x).square().mean()
    alpha, _ = level.like(x)
    assert error < 0.5 * (z / alpha - x).square().mean()
    assert error < 0.5 * (x.mean(0) - x).square().mean()


@pytest.mark.slow
def test_the_figures_of_the_card(prior: FrozenPrior, judge: Judge) -> None:
    """512 samples with a held-out seed at the default guidance, by the independent judge."""
    metrics = evaluate_prior(prior, judge, n=512, seed=9)
    assert metrics["judge_on_renders"]["category_accuracy"] >= 0.98
    assert metrics["category_accuracy"] >= 0.90
    assert metrics["color_accuracy"] >= 0.95
    assert metrics["view_accuracy"] >= 0.80
    assert min(metrics["categories"].values()) >= 0.5
