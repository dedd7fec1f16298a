"""The evaluation of correspondence: its pairs, its counting, and that it can tell."""

from dataclasses import replace
from pathlib import Path

import correspondence_evaluation
import pytest
import torch
from baseline_descriptors import DenseSift, JoinedSift, RgbPatches, random_prior
from correspondence_evaluation import (
    CorrespondenceSettings,
    evaluate_correspondence,
)
from correspondence_report import correspondence_table, plot_sweep
from landmark_errors import accuracy, landmark_errors
from landmarks import PROGRAM, Landmarks
from torch import Tensor
from torch.nn import functional
from world_pairs import SemanticPair, draw_pairs

from scorefield.cli.main import run_command
from scorefield.perception.correspondence.dift import DiftPreset, dift_preset, features
from scorefield.priors.features.extraction import extract_features
from scorefield.priors.loading import load_prior


@pytest.fixture(scope="module")
def pairs() -> list[SemanticPair]:
    return draw_pairs(30, 6)


def test_pairs(pairs: list[SemanticPair]) -> None:
    assert len({pair.category for pair in pairs}) == 6
    for pair in pairs:
        assert len(pair.source) == len(pair.target) >= 3
        for points in (pair.source, pair.target):
            assert bool(((points >= 0) & (points <= 64)).all())
        assert not torch.equal(pair.images[0], pair.images[1])
        assert 10 < pair.size <= 64
    again = draw_pairs(30, 6)[5]
    assert torch.equal(again.images, pairs[5].images) and torch.equal(again.source, pairs[5].source)


def test_an_identity_pair_is_all_right(pairs: list[SemanticPair]) -> None:
    prior = load_prior("shapes")
    image = pairs[0].images[0]
    same = SemanticPair("duck", torch.stack([image, image]), *[pairs[0].source] * 2, pairs[0].size)
    level = prior.schedule.at_log_snr(2.0)

    def describe(images: Tensor) -> Tensor:
        return extract_features(prior, images, ["up1"], level, ensemble=1)["up1"]

    found = accuracy([same], describe)
    assert set(found.values()) == {1.0}
    assert float(landmark_errors([same], describe)[0].max()) < 1.5


def test_an_oracle_is_all_right_and_a_constant_is_not(pairs: list[SemanticPair]) -> None:
    """Maps that mark each landmark with a direction of its own."""

    def oracle(images: Tensor) -> Tensor:
        maps = torch.full((len(images), 40, 64, 64), 0.0)
        for i in range(len(images)):
            pair = next(p for p in pairs if torch.equal(p.images[i % 2], images[i]))
            points = (pair.source, pair.target)[i % 2]
            rows = torch.arange(64) + 0.5
            for k, (x, y) in enumerate(points.tolist()):
                near = (rows[:, None] - y).square() + (rows - x).square()
                maps[i, k] = torch.exp(-near / 2)
        return maps + 1e-3

    assert accuracy(pairs, oracle)["pck@0.1 per point"] > 0.9
    assert accuracy(pairs, lambda x: torch.ones(len(x), 1, 8, 8))["pck@0.1 per point"] < 0.2


def test_baselines_have_a_vector_per_pixel_where_it_is() -> None:
    images = torch.full((1, 3, 24, 32), 0.5)
    images[:, :, 10, 20] = 1
    patches = RgbPatches(3)(images)
    assert patches.shape == (1, 27, 24, 32)
    assert (patches[0].abs().sum(0) > 0).nonzero().float().mean(0).tolist() == [10, 20]
    sift = DenseSift(4)(images)
    assert sift.shape == (1, 128, 24, 32)
    # the bump's descriptor is the same after a half turn about it
    turned = DenseSift(4)(images.flip(2, 3)).flip(2, 3)
    bins = sift.unflatten(1, (8, 4, 4))[0, :, :, :, 10, 20].flip(1, 2).roll(4, 0)
    torch.testing.assert_close(
        turned.unflatten(1, (8, 4, 4))[0, :, :, :, 10, 20].flip(1, 2).roll(4, 0).sum(),
        bins.sum(), atol=1e-3, rtol=1e-3,
    )  # fmt: skip
    with pytest.raises(ValueError, match="odd"):
        RgbPatches(4)
    with pytest.raises(ValueError, match="even"):
        DenseSift(3)(images)


def test_joined_sift_has_the_mean_cosine(pairs: list[SemanticPair]) -> None:
    images = pairs[0].images
    joined = functional.normalize(JoinedSift((4, 8))(images), dim=1)
    each = [functional.normalize(DenseSift(side)(images), dim=1) for side in (4, 8)]
    cosines = [(m[0, :, 20, 30] * m[1, :, 33, 12]).sum() for m in (joined, *each)]
    torch.testing.assert_close(cosines[0], (cosines[1] + cosines[2]) / 2)


def test_an_untrained_network_shares_nothing_but_the_shape() -> None:
    prior, state = load_prior("shapes"), torch.get_rng_state()
    other, again = random_prior(prior), random_prior(prior)
    assert torch.equal(torch.get_rng_state(), state)
    ours, theirs = prior.network.state_dict(), other.network.state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}
    weight = "model.mid_block.resnets.0.conv1.weight"
    assert not torch.equal(ours[weight], theirs[weight])
    assert torch.equal(theirs[weight], again.network.state_dict()[weight])
    images = draw_pairs(30, 1)[0].images
    level = prior.schedule.at_log_snr(2.0)
    maps = [extract_features(p, images, ["up0"], level, ensemble=1)["up0"] for p in (prior, other)]
    assert not torch.allclose(*maps, rtol=0.1)


def test_the_evaluation_runs_resumes_and_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = DiftPreset(("mid",), log_snr=4.0, ensemble=1, shifts=(0, 1), source="test")
    monkeypatch.setattr(correspondence_evaluation, "dift_preset", lambda _: preset)
    prior = load_prior("shapes", image_size=32)
    settings = CorrespondenceSettings(
        n=2, tuning=1, photographs=0, log_snrs=(2.0,), ensemble=1, seed=30
    )
    metrics = evaluate_correspondence(prior, settings, folder=tmp_path)
    judged = metrics["judged"]
    assert set(judged) == {
        "prior, best layer of the sweep",
        "prior, preset",
        "prior, preset without shifts",
        "untrained network, best layer",
        "untrained network, preset",
        "dense SIFT",
        "dense SIFT, joined",
        "dense SIFT, joined, dual softmax",
        "RGB patches",
        "the same place",
    }
    for row in judged.values():
        assert 0 <= row["pck@0.05 per point"] <= row["pck@0.1 per point"] <= 1
        low, high = row["intervals"]["pck@0.1 per point"]
        assert low <= row["pck@0.1 per point"] <= high
    table = correspondence_table(metrics)
    assert table.count("\n| ") >= 8 and "PCK@0.1 per point" in table
    assert plot_sweep(metrics, tmp_path / "sweep.png").stat().st_size > 1000
    # killed in the middle of a line: what is there is taken, the rest computed, the same comes out
    path = tmp_path / "parts.jsonl"
    text = path.read_text()
    path.write_text(text[: len(text) * 4 // 5])
    assert evaluate_correspondence(prior, settings, folder=tmp_path) == metrics
    assert path.read_text() == text
    with pytest.raises(ValueError, match="made with n = "):
        evaluate_correspondence(prior, replace(settings, n=3), folder=tmp_path)


@pytest.mark.parametrize(
    ("words", "says"),
    [(["--seed", "1"], "--seed must be at least 2"), (["-n", "0"], "--n must be at least 1")],
)
def test_refusals(
    words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run_command(lambda: Landmarks, ["--out", str(tmp_path / "x"), *words], PROGRAM) == 2
    assert says in capsys.readouterr().err


@pytest.mark.slow
def test_the_embedded_prior_knows_more_than_its_architecture() -> None:
    """24 pairs have about 210 landmarks: a standard error of a difference of shares of the same
    pairs is about 4%, and the published shares differ by more than 20%."""
    pairs, prior = draw_pairs(70, 24), load_prior("shapes")
    preset = dift_preset(prior)
    found, untrained = (
        accuracy(pairs, lambda images, p=p: features(p, images, preset=preset))
        for p in (prior, random_prior(prior))
    )
    assert found["pck@0.1 per point"] > untrained["pck@0.1 per point"] + 0.08
