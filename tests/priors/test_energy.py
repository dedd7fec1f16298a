"""Line integrals and asymmetry, against fields whose energy, or lack of one, is known."""

import pytest
import torch
from torch import Tensor

from scorefield.priors.denoiser import Denoiser, HasEnergy
from scorefield.priors.energy.line_integral import asymmetry, energy_change, line_integral_energy
from scorefield.priors.exact.gaussian_mixture import GaussianMixturePrior
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import keyed_noise
from scorefield.priors.prediction import Prediction
from scorefield.priors.schedule import DiscreteSchedule

SCHEDULE = DiscreteSchedule.cosine()
LEVEL = SCHEDULE.at_timestep(torch.tensor(300.0).double())


def mixture() -> GaussianMixturePrior:
    means = torch.tensor([[-1.0, 0.3], [1.2, -0.5], [0.2, 1.0]]).double()
    scales = torch.tensor([0.5, 0.3, 0.4]).double()
    return GaussianMixturePrior(means, scales, schedule=SCHEDULE)


class Linear(Denoiser):
    """A score field -A z."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix
        self.schedule = SCHEDULE

    def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
        return Prediction.from_score(z, level, -z @ self.matrix.to(z).T)


def points(seed: int = 0, n: int = 6) -> Tensor:
    return keyed_noise(seed, range(n), 0, (2,), torch.float64)


def test_the_line_integral_is_the_energy_difference() -> None:
    prior, a, b = mixture(), points(0), points(1)
    difference = prior.energy(b, LEVEL) - prior.energy(a, LEVEL)
    along = line_integral_energy(prior, a, b, LEVEL, points=24)
    torch.testing.assert_close(along, difference, rtol=0, atol=1e-6)
    back = line_integral_energy(prior, b, a, LEVEL, points=3)
    torch.testing.assert_close(back, -line_integral_energy(prior, a, b, LEVEL, points=3))


def test_gauss_legendre_of_n_points_is_exact_to_degree_2n_minus_1() -> None:
    """The score -z^3 of E = z^4 / 4 needs two points."""

    class Cubic(Linear):
        def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
            return Prediction.from_score(z, level, -(z**3))

    field, a, b = Cubic(torch.eye(2)), points(0), points(1)
    exact = ((b**4 - a**4) / 4).sum(dim=1)
    torch.testing.assert_close(line_integral_energy(field, a, b, LEVEL, points=2), exact)
    assert not torch.allclose(line_integral_energy(field, a, b, LEVEL, points=1), exact)


def test_work_of_a_rotation_depends_on_the_path() -> None:
    """Of score (y, -x), from (1, 0) to (0, 1): work -1 straight, none along the axes."""
    field = Linear(torch.tensor([[0.0, -1.0], [1.0, 0.0]]))
    a, b = torch.tensor([[1.0, 0.0]]).double(), torch.tensor([[0.0, 1.0]]).double()
    straight = line_integral_energy(field, a, b, LEVEL)
    torch.testing.assert_close(straight, torch.ones(1).double())
    through = [a, torch.zeros(1, 2).double(), b]
    torch.testing.assert_close(energy_change(field, through, LEVEL), torch.zeros(1).double())


def test_energy_change_asks_for_the_energy_where_there_is_one() -> None:
    prior, a, b = mixture(), points(0), points(1)
    assert isinstance(prior, HasEnergy) and isinstance(prior.unconditional, HasEnergy)
    assert not isinstance(Linear(torch.eye(2)), HasEnergy)
    change = energy_change(prior, [a, points(2), b], LEVEL, points=1)
    assert torch.equal(change, prior.energy(b, LEVEL) - prior.energy(a, LEVEL))


def test_a_gradient_field_has_no_asymmetry() -> None:
    value = asymmetry(mixture(), points(), LEVEL, probes=2)
    torch.testing.assert_close(value, torch.zeros(6).double(), rtol=0, atol=1e-20)


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [([[0.0, -1.0], [1.0, 0.0]], 4.0), ([[1.0, -1.0], [1.0, 1.0]], 2.0), ([[2, 0], [0, 1]], 0.0)],
)
def test_asymmetry_of_linear_fields(matrix: list[list[float]], expected: float) -> None:
    """|A - A^T|^2 / |A|^2; in two dimensions every probe gives just that for these."""
    value = asymmetry(Linear(torch.tensor(matrix)), points(), LEVEL, probes=1)
    torch.testing.assert_close(value, torch.full((6,), expected).double())


def test_asymmetry_of_any_matrix_within_its_sampling_error() -> None:
    """10 probes for each of 400 items; 5 standard errors, and the bias of a ratio of means."""
    a = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)).double()
    each = asymmetry(Linear(a), torch.zeros(400, 4).double(), LEVEL, probes=10)
    exact = float((a - a.T).square().sum() / a.square().sum())
    assert abs(float(each.mean()) - exact) < 5 * float(each.std()) / 20 + 0.1 * exact


def test_asymmetry_is_that_of_the_item() -> None:
    field = Linear(torch.randn(2, 2, generator=torch.Generator().manual_seed(1)))
    z = points()
    whole = asymmetry(field, z, LEVEL.expand(6), probes=3)
    assert torch.equal(asymmetry(field, z[[4, 1]], LEVEL, probes=3, items=[4, 1]), whole[[4, 1]])


def test_bad_input() -> None:
    class Frozen(Linear):
        def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
            return super().predict(z.detach(), level)

    with pytest.raises(ValueError, match=r"take prior\.with_network_gradient\(\)"):
        asymmetry(Frozen(torch.eye(2)), points(), LEVEL)
    with pytest.raises(ValueError, match="items must name each of the 6 rows, got 2"):
        asymmetry(mixture(), points(), LEVEL, items=[0, 1])
    with pytest.raises(ValueError, match="probes must be >= 1, got 0"):
        asymmetry(mixture(), points(), LEVEL, probes=0)
    with pytest.raises(ValueError, match="points must be >= 1, got 0"):
        line_integral_energy(mixture(), points(), points(), LEVEL, points=0)
