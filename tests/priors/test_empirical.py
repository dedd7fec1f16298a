from pathlib import Path

import pytest
import torch
from torch import Tensor

from scorefield.priors.exact.empirical import EmpiricalPrior
from scorefield.priors.exact.gaussian_mixture import GaussianMixturePrior
from scorefield.priors.noise import keyed_noise
from scorefield.priors.schedule import DiscreteSchedule, FlowSchedule, NoiseSchedule

LABELS = ["red cup", "a tall red chair", "blue chair", "Blue cup front-view", "lamp"]


def exemplars(n: int = 5) -> Tensor:
    return keyed_noise(9, range(n), 0, (3, 4, 4), torch.float64)


Z = keyed_noise(1, range(6), 0, (3, 4, 4), torch.float64)
U = torch.tensor([0.02, 0.1, 0.3, 0.5, 0.8, 1.0], dtype=torch.float64)


@pytest.mark.parametrize(
    "schedule", [DiscreteSchedule.cosine().zero_terminal_snr(), FlowSchedule()]
)
def test_is_the_mixture_of_points(schedule: NoiseSchedule) -> None:
    level = schedule.at_fraction(U)
    prior = EmpiricalPrior(exemplars(40), schedule=schedule, chunk=7)
    points = GaussianMixturePrior(exemplars(40), torch.zeros(40).double(), schedule=schedule)
    torch.testing.assert_close(prior(Z, level).x0, points(Z, level).x0)
    torch.testing.assert_close(prior.score(Z, level), points.score(Z, level), rtol=1e-6, atol=1e-6)
    tiny = GaussianMixturePrior(exemplars(40), torch.full((40,), 1e-4).double(), schedule=schedule)
    torch.testing.assert_close(prior(Z, level).x0, tiny(Z, level).x0, rtol=1e-3, atol=1e-3)


def test_is_the_softmax_over_all() -> None:
    level = DiscreteSchedule.cosine().at_fraction(U)
    x = exemplars(40)
    alpha, sigma = level.like(Z[:, None])
    distance = ((Z[:, None] - alpha * x) ** 2).flatten(2).sum(2)
    w = (-distance / (2 * sigma.flatten(1) ** 2)).softmax(1)
    torch.testing.assert_close(EmpiricalPrior(x)(Z, level).x0, torch.einsum("bn,nchw->bchw", w, x))


@pytest.mark.parametrize("chunk", [1, 3, 39, 40, 1000])
def test_does_not_depend_on_the_chunk(chunk: int) -> None:
    labels = [LABELS[i % 5] for i in range(40)]
    whole = EmpiricalPrior(exemplars(40), labels)
    level = whole.schedule.at_fraction(U)
    chunked = EmpiricalPrior(exemplars(40), labels, chunk=chunk)
    torch.testing.assert_close(chunked(Z, level).x0, whole(Z, level).x0)
    torch.testing.assert_close(
        chunked.condition("lamp")(Z, level).x0, whole.condition("lamp")(Z, level).x0
    )


def test_float32_is_as_exact_as_float64_near_the_data() -> None:
    """Weights are differences of numbers of the order of D / sigma^2, about 1e5 here."""
    prior = EmpiricalPrior(exemplars(40).float())
    level = prior.schedule.at_timestep(20)
    z = level.add_noise(exemplars(6), 2 * Z)
    torch.testing.assert_close(
        prior(z.float(), level).x0.double(), prior(z, level).x0, rtol=1e-5, atol=1e-5
    )
    assert prior(z.float(), level).x0.dtype == torch.float32


@pytest.mark.parametrize(
    ("words", "chosen"),
    [
        ("red", [0, 1]),
        ("chair", [1, 2]),
        ("RED chair", [1]),
        ("view cup", [3]),
        ("lamp", [4]),
        ("", range(5)),
        (None, range(5)),
    ],
)
def test_condition_selects_by_words(words: str | None, chosen: list[int]) -> None:
    prior = EmpiricalPrior(exemplars(), LABELS)
    level = prior.schedule.at_fraction(U)
    only = EmpiricalPrior(exemplars()[list(chosen)])
    torch.testing.assert_close(prior.condition(words)(Z, level).x0, only(Z, level).x0)


def test_condition_per_item() -> None:
    prior = EmpiricalPrior(exemplars(), LABELS)
    level = prior.schedule.at_timestep(500)
    x0 = prior.condition(["lamp", "red cup"])(Z[:2], level).x0
    torch.testing.assert_close(x0, exemplars()[[4, 0]])


def test_no_match_names_the_nearest() -> None:
    prior = EmpiricalPrior(exemplars(), LABELS)
    with pytest.raises(
        ValueError, match="'red lamb chair'; the nearest label is 'a tall red chair'"
    ):
        prior.condition("red lamb chair")
    with pytest.raises(ValueError, match="nearest label is 'lamp'"):
        prior.condition("lamb")
    with pytest.raises(ValueError, match="given without labels"):
        EmpiricalPrior(exemplars()).condition("cup")


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        EmpiricalPrior(exemplars(0))
    with pytest.raises(ValueError, match="each of the 5 exemplars, got 1"):
        EmpiricalPrior(exemplars(), ["cup"])
    with pytest.raises(ValueError, match="chunk must be >= 1"):
        EmpiricalPrior(exemplars(), chunk=0)
    with pytest.raises(ValueError, match="no density at sigma = 0"):
        EmpiricalPrior(exemplars(), schedule=FlowSchedule())(Z, FlowSchedule().at_fraction(0.0))


def test_gradient_is_the_posterior_covariance() -> None:
    """d x0 / d z = alpha / sigma^2 Cov[x | z] (Tweedie), by autograd through the chunks."""
    prior = EmpiricalPrior(exemplars(8).flatten(1)[:, :4], chunk=3)
    level = prior.schedule.at_timestep(torch.tensor(600.0).double())
    z = Z.flatten(1)[:1, :4]
    jacobian = torch.autograd.functional.jacobian(lambda y: prior(y, level).x0[0], z)[:, 0]
    distance = ((z - level.alpha * prior.exemplars) ** 2).sum(1)
    w = (-distance / (2 * level.sigma**2)).softmax(0)
    centred = prior.exemplars - w @ prior.exemplars
    covariance = (w[:, None] * centred).T @ centred
    torch.testing.assert_close(jacobian, level.alpha / level.sigma**2 * covariance)


def test_from_folder(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (30, 20), (255, 0, 0)).save(tmp_path / "red_cup-02.png")
    Image.new("L", (8, 8), 0).save(tmp_path / "black box.png")
    (tmp_path / "notes.txt").write_text("not an image")
    prior = EmpiricalPrior.from_folder(tmp_path, 8)
    assert prior.labels == ("black box", "red cup 02")
    assert prior.exemplars.shape == (2, 3, 8, 8)
    assert prior.exemplars[1, :, 3, 3].tolist() == [1, -1, -1]
    assert float(prior.exemplars[0].max()) == -1
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no image in .*empty"):
        EmpiricalPrior.from_folder(tmp_path / "empty", 8)
