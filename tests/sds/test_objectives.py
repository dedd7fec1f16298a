"""Every objective's gradient against its closed form on Gaussian priors."""

from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from scorefield.priors import (
    ClassifierFreeGuidance,
    Denoiser,
    DiscreteSchedule,
    FlowSchedule,
    GaussianMixturePrior,
    NoiseLevel,
    Prediction,
)
from scorefield.priors.schedule import NoiseSchedule
from scorefield.sds.objective import (
    SDS,
    NoisedLatents,
    Objective,
    PromptedDenoisers,
    distill,
    image_loss,
    sigma_squared,
    to_config,
    uniform,
)
from scorefield.sds.objectives import (
    CSD,
    DDS,
    ISM,
    NFSD,
    PDS,
    SDI,
    SJC,
    VSD,
    Bridge,
    SmallNetwork,
    invert,
)

VP = DiscreteSchedule.scaled_linear()
FLOW = FlowSchedule()
X = torch.linspace(-2, 2, 5).double()
N = 1000


def gaussian(mean: float, scale: float, schedule: NoiseSchedule = VP) -> GaussianMixturePrior:
    means = torch.full((1, 5), mean, dtype=torch.float64)
    return GaussianMixturePrior(
        means, torch.tensor([scale], dtype=torch.float64), schedule=schedule
    )


def at(fraction: float, schedule: NoiseSchedule = VP) -> NoiseLevel:
    return schedule.at_fraction(torch.tensor(fraction, dtype=torch.float64))


def draw(n: int = N, seed: int = 0) -> Tensor:
    return torch.randn(n, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@dataclass
class Law:
    """A Gaussian's eps at z = alpha x + sigma eps: `mean` at eps = 0 and `slope` times eps."""

    level: NoiseLevel
    m: float
    s: float

    @property
    def v(self) -> Tensor:
        return self.level.alpha**2 * self.s**2 + self.level.sigma**2

    @property
    def mean(self) -> Tensor:
        return self.level.sigma * self.level.alpha * (X - self.m) / self.v

    @property
    def slope(self) -> Tensor:
        return self.level.sigma**2 / self.v


def check(
    objective: Objective,
    denoisers: PromptedDenoisers,
    level: NoiseLevel,
    mean: Tensor,
    slope: Tensor,
) -> None:
    """The gradient is mean + slope eps: in the mean to five standard errors, and item by item."""
    eps = draw()
    out = distill(denoisers, X.expand(N, 5), level, eps, objective=objective)
    error = 5 * float(slope.abs()) / N**0.5
    torch.testing.assert_close(out.gradient.mean(0), mean, rtol=0, atol=error + 1e-12)
    torch.testing.assert_close(out.gradient, mean + slope * eps, rtol=1e-6, atol=1e-9)


LEVELS = [(VP, 0.05), (VP, 0.4), (VP, 0.9), (FLOW, 0.1), (FLOW, 0.7)]
at_levels = pytest.mark.parametrize(("schedule", "fraction"), LEVELS)


@at_levels
def test_sjc_is_sds_of_weight_one(schedule: NoiseSchedule, fraction: float) -> None:
    """x - x0 = (sigma / alpha)(eps_hat - eps); uncentred, the noise is sigma^2 / v instead."""
    prior, level = gaussian(0.7, 0.5, schedule), at(fraction, schedule)
    law = Law(level, 0.7, 0.5)
    check(SJC(), PromptedDenoisers(prior), level, law.mean, law.slope - 1)
    check(SJC(centred=False), PromptedDenoisers(prior), level, law.mean, law.slope)
    eps = draw(3)
    sds = distill(prior, X.expand(3, 5), level, eps, objective=SDS(uniform))
    sjc = distill(prior, X.expand(3, 5), level, eps, objective=SJC())
    alpha, sigma = level.alpha, level.sigma
    torch.testing.assert_close(sjc.gradient, sds.gradient)
    torch.testing.assert_close(sjc.gradient, (X - sjc.x0) * alpha / sigma, rtol=1e-6, atol=1e-9)


@at_levels
def test_csd_of_two_gaussians(schedule: NoiseSchedule, fraction: float) -> None:
    level = at(fraction, schedule)
    cond, uncond, bad = Law(level, 1.0, 0.5), Law(level, -0.5, 0.8), Law(level, 0.2, 1.1)
    fields = PromptedDenoisers(
        gaussian(0.0, 1.0, schedule),
        *(gaussian(law.m, law.s, schedule) for law in (cond, uncond, bad)),
    )
    w = level.sigma**2
    mean, slope = cond.mean - uncond.mean, cond.slope - uncond.slope
    check(CSD(), fields, level, w * mean, w * slope)
    # half of no prompt's share is the negative's
    q = 0.5
    mean = cond.mean - (1 - q) * uncond.mean - q * bad.mean
    slope = cond.slope - (1 - q) * uncond.slope - q * bad.slope
    check(CSD(q, q), fields, level, w * mean, w * slope)


def test_csd_of_equal_widths_is_a_constant_push_without_noise() -> None:
    """sigma alpha (m_uncond - m_cond) / v everywhere: no fixed point."""
    level = at(0.4)
    law = Law(level, 1.0, 0.6)
    push = level.sigma * level.alpha * (0.0 - 1.0) / law.v
    fields = PromptedDenoisers(gaussian(0, 1), gaussian(1.0, 0.6), gaussian(0.0, 0.6))
    check(CSD(weight=uniform), fields, level, push.expand(5), torch.tensor(0.0).double())


def test_csd_moves_its_share_over_the_run() -> None:
    fields = PromptedDenoisers(gaussian(0, 1), gaussian(1, 1), gaussian(0, 2), gaussian(-1, 0.5))
    x, eps, level = X[None], draw(1), at(0.5)

    def gradient(objective: CSD, progress: float) -> Tensor:
        return distill(fields, x, level, eps, objective=objective, progress=progress).gradient

    for progress in (0.0, 0.25, 1.0):
        q = 1 - 0.5 * progress
        torch.testing.assert_close(
            gradient(CSD(1.0, 0.5), progress), gradient(CSD(q, q), 0.0), rtol=1e-6, atol=1e-9
        )


@at_levels
def test_nfsd_branches_by_level(schedule: NoiseSchedule, fraction: float) -> None:
    """s (e_c - e_0) + e_0 below the threshold, s (e_c - e_0) + e_0 - e_bad above."""
    level = at(fraction, schedule)
    cond, uncond, bad = Law(level, 1.0, 0.5), Law(level, -0.5, 0.8), Law(level, 0.2, 1.1)
    fields = PromptedDenoisers(
        gaussian(0.0, 1.0, schedule),
        *(gaussian(law.m, law.s, schedule) for law in (cond, uncond, bad)),
    )
    high = float(fraction >= 0.2)
    s, w = 3.0, level.sigma**2
    mean = s * (cond.mean - uncond.mean) + uncond.mean - high * bad.mean
    slope = s * (cond.slope - uncond.slope) + uncond.slope - high * bad.slope
    check(NFSD(s), fields, level, w * mean, w * slope)


def test_nfsd_in_a_batch_of_both_branches() -> None:
    fields = PromptedDenoisers(gaussian(0, 1), gaussian(1, 1), gaussian(0, 2), gaussian(-1, 0.5))
    levels = VP.at_fraction(torch.tensor([0.1, 0.6]).double())
    x, eps = X.expand(2, 5), draw(2)
    both = distill(fields, x, levels, eps, objective=NFSD()).gradient
    for i in range(2):
        alone = distill(fields, x[:1], levels[i : i + 1], eps[i : i + 1], objective=NFSD())
        torch.testing.assert_close(both[i], alone.gradient[0])


def test_nfsd_is_less_noisy_than_sds_where_it_says() -> None:
    """sigma^2 / v against alpha^2 s^2 / v, unguided, below the threshold."""
    level = at(0.1)
    law = Law(level, 0.7, 0.5)
    prior = gaussian(0.7, 0.5)
    out = distill(
        PromptedDenoisers(prior, prior, prior), X.expand(N, 5), level, draw(), objective=NFSD(1.0)
    )
    sds = distill(prior, X.expand(N, 5), level, draw())
    ratio = (level.sigma / (level.alpha * law.s)) ** 2
    assert ratio < 0.9
    torch.testing.assert_close(
        out.gradient.std(0) / sds.gradient.std(0), ratio.expand(5), rtol=1e-6, atol=0
    )


def test_bridge_is_sds_and_then_a_difference() -> None:
    level = at(0.5)
    cond, bad = Law(level, 1.0, 0.5), Law(level, 0.2, 1.1)
    fields = PromptedDenoisers(
        gaussian(0.3, 0.7), gaussian(1.0, 0.5), gaussian(0, 1), negative=gaussian(0.2, 1.1)
    )
    w = level.sigma**2
    x, eps = X.expand(2, 5), draw(2)

    def gradient(progress: float) -> Tensor:
        bridge = Bridge(3.0, begin=0.6)
        return distill(fields, x, level, eps, objective=bridge, progress=progress).gradient

    torch.testing.assert_close(gradient(0.59), distill(fields, x, level, eps).gradient)
    slope = cond.slope - bad.slope
    torch.testing.assert_close(
        gradient(0.6), w * 3 * (cond.mean - bad.mean + slope * eps), rtol=1e-6, atol=1e-9
    )


# Inversion: on a Gaussian the probability flow keeps (z - alpha m) / sqrt(v), so it is known. The
# flow schedule begins clean; Stable Diffusion's begins at sigma = 0.029, which one step jumps over
# with an error of the order of its square.


def flowed(law: Law) -> Tensor:
    """Where the probability flow takes X."""
    return law.level.alpha * law.m + law.v.sqrt() * (X - law.m) / law.s


def halves(errors: list[float], schedule: NoiseSchedule) -> bool:
    """Of the first order in the number of steps, which doubles; down to the jump of VP."""
    if schedule is VP:
        return errors[-1] < 0.6 * errors[0] or errors[-1] < 0.01
    return all(1.6 < a / b < 2.4 for a, b in pairwise(errors))


@at_levels
def test_inversion_tends_to_the_flow_of_a_gaussian(
    schedule: NoiseSchedule, fraction: float
) -> None:
    law, prior = Law(at(fraction, schedule), 0.7, 0.5), gaussian(0.7, 0.5, schedule)
    u = torch.tensor([fraction]).double()
    errors = [
        float((invert(prior, X[None], u, steps) - flowed(law)).abs().max())
        for steps in (10, 20, 40)
    ]
    assert halves(errors, schedule)
    assert errors[-1] < 0.1


@at_levels
def test_sdi_tends_to_its_closed_form(schedule: NoiseSchedule, fraction: float) -> None:
    level = at(fraction, schedule)
    law, prior = Law(level, 0.7, 0.5), gaussian(0.7, 0.5, schedule)
    ratio = level.alpha / level.sigma
    expected = ratio * (1 - level.alpha * law.s / law.v.sqrt()) * (X - law.m)
    errors = []
    for steps in (10, 20, 40):
        sdi = SDI(1.0, steps, eta=0.0, weight=uniform)
        out = distill(
            PromptedDenoisers(prior, prior, prior), X[None], level, X[None], objective=sdi
        )
        errors.append(float((out.gradient - expected).abs().max()))
    assert halves(errors, schedule)
    assert errors[-1] < 0.03 * float(expected.abs().max())


@at_levels
def test_ism_tends_to_its_closed_form(schedule: NoiseSchedule, fraction: float) -> None:
    """The inversion's error vanishes with the steps, that of the step over the gap with the gap."""
    t = at(fraction, schedule)
    s = at(max(fraction - 0.05, fraction / 2), schedule)
    after, before = Law(t, 0.7, 0.5), Law(s, 0.7, 0.5)
    share = t.sigma / after.v.sqrt() - s.sigma / before.v.sqrt()
    limit = share * (X - 0.7) / 0.5
    z_s = flowed(before)
    e_s = s.sigma * (z_s - s.alpha * 0.7) / before.v
    z_t = t.alpha * (z_s - s.sigma * e_s) / s.alpha + t.sigma * e_s
    of_one_step = t.sigma * (z_t - t.alpha * 0.7) / after.v - e_s
    torch.testing.assert_close(of_one_step, limit, rtol=0.15, atol=0.0)

    prior = gaussian(0.7, 0.5, schedule)
    ism = ISM(steps=40, weight=uniform)
    out = distill(PromptedDenoisers(prior, prior, prior), X[None], t, X[None], objective=ism)
    torch.testing.assert_close(out.gradient[0], of_one_step, rtol=0.03, atol=1e-3)


@pytest.mark.parametrize("objective", [ISM(), SDI(eta=0.0)])
def test_inversion_draws_nothing(objective: Objective) -> None:
    fields = PromptedDenoisers(gaussian(1, 0.5), gaussian(1, 0.5), gaussian(0, 1))
    x, level = X.expand(2, 5), at(0.6)
    first = distill(fields, x, level, draw(2, 1), objective=objective)
    other = distill(fields, x, level, draw(2, 2), objective=objective)
    assert torch.equal(first.gradient, other.gradient)


def test_sdis_eta_is_a_share_of_the_variance() -> None:
    """eps = sqrt(1 - eta^2) found + eta drawn: the gradient's slope in eps is that of SDS, eta."""
    prior, level, eta = gaussian(0.7, 0.5), at(0.5), 0.3
    fields, x = PromptedDenoisers(prior, prior, prior), X.expand(2, 5)
    eps = draw(1).expand(2, 5) * torch.tensor([[0.0], [1.0]]).double()
    out = distill(fields, x, level, eps, objective=SDI(1.0, 4, eta, uniform)).gradient
    slope = eta * (Law(level, 0.7, 0.5).slope - 1)
    torch.testing.assert_close(out[1] - out[0], slope * eps[1], rtol=1e-6, atol=1e-9)


# Editing


def edit_fields(
    schedule: NoiseSchedule, widths: tuple[float, float] = (0.5, 0.5)
) -> PromptedDenoisers:
    target, source = gaussian(1.0, widths[0], schedule), gaussian(-0.4, widths[1], schedule)
    return PromptedDenoisers(target, source=source)


@at_levels
@pytest.mark.parametrize("widths", [(0.5, 0.5), (0.5, 0.9)])
def test_dds_of_two_gaussians(
    schedule: NoiseSchedule, fraction: float, widths: tuple[float, float]
) -> None:
    """sigma alpha ((x - m_t) / v_t - (r - m_s) / v_s); of equal widths free of noise."""
    level, reference = at(fraction, schedule), X.flip(0) * 0.3
    target, source = Law(level, 1.0, widths[0]), Law(level, -0.4, widths[1])
    mean = level.sigma * level.alpha * ((X - 1.0) / target.v - (reference + 0.4) / source.v)
    eps = draw()
    out = distill(
        edit_fields(schedule, widths),
        X.expand(N, 5),
        level,
        eps,
        objective=DDS(),
        reference=reference.expand(N, 5),
    )
    slope = target.slope - source.slope
    error = 5 * float(slope.abs()) / N**0.5
    torch.testing.assert_close(out.gradient.mean(0), mean, rtol=0, atol=error + 1e-12)
    torch.testing.assert_close(out.gradient, mean + slope * eps, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("objective", [DDS(), PDS()])
def test_an_unchanged_image_under_an_unchanged_prompt_stays(objective: Objective) -> None:
    prior, x = gaussian(1.0, 0.5), X.expand(3, 5)
    fields = PromptedDenoisers(prior, source=prior)
    out = distill(fields, x, at(0.6), draw(3), objective=objective, reference=x)
    assert torch.equal(out.gradient, torch.zeros_like(x))


@pytest.mark.parametrize("objective", [DDS(), PDS(stride=1.0)])
def test_edits_of_equal_widths_end_moved_by_the_means(objective: Objective) -> None:
    reference = X[None] * 0.3
    x = (reference + 1.4).clone()
    out = distill(edit_fields(VP), x, at(0.6), draw(1), objective=objective, reference=reference)
    torch.testing.assert_close(out.gradient, torch.zeros_like(x), rtol=0, atol=1e-6)


@at_levels
def test_pds_is_the_difference_of_its_latents(schedule: NoiseSchedule, fraction: float) -> None:
    """From the definition, both noises written out: z~ = (z_s - c_0 x0 - c_1 z_t) / deviation."""
    gap, stride = 0.001, 2.0
    level, fields = at(fraction, schedule), edit_fields(schedule, (0.5, 0.9))
    u, s = at(fraction - gap, schedule), at(fraction - stride * gap, schedule)
    ratio = level.alpha / u.alpha
    beta = level.sigma**2 - ratio**2 * u.sigma**2
    c_0, c_1 = s.alpha * beta / level.sigma**2, ratio * s.sigma**2 / level.sigma**2
    deviation = s.sigma / level.sigma * beta.sqrt()
    x, reference, eps, eps_s = X[None], X[None] * 0.3, draw(1, 3), draw(1, 4)

    def latent(denoiser: Denoiser, clean: Tensor) -> Tensor:
        z = level.add_noise(clean, eps)
        mean = c_0 * denoiser(z, level).x0 + c_1 * z
        return (s.add_noise(clean, eps_s) - mean) / deviation

    assert fields.source is not None
    expected = latent(fields.guided, x) - latent(fields.source, reference)
    out = distill(fields, x, level, eps, objective=PDS(gap, stride), reference=reference)
    torch.testing.assert_close(out.gradient, expected, rtol=1e-4, atol=1e-7)


@at_levels
def test_pds_of_the_exact_posterior_is_a_weighted_dds(
    schedule: NoiseSchedule, fraction: float
) -> None:
    """stride 1: psi = 0. Larger strides hold x to the reference: psi > 0, and grows."""
    level, fields = at(fraction, schedule).expand(1), edit_fields(schedule)
    point = NoisedLatents(X[None], level, draw(1), reference=X[None] * 0.3)
    psi, chi = PDS(stride=1.0).coefficients(fields, point)
    assert abs(psi.item()) < 1e-6 * chi.item()
    pds = PDS(stride=1.0)(fields, point)[0]
    torch.testing.assert_close(pds, chi * DDS()(fields, point)[0], rtol=1e-5, atol=1e-8)
    held = [PDS(stride=s).coefficients(fields, point)[0].item() for s in (1.5, 2.0, 4.0)]
    assert 0 < held[0] < held[1] < held[2]


# VSD


class Exact(Denoiser):
    """eps of a generator that makes the points `x` equally often."""

    def __init__(self, x: Tensor, scale: float = 0.0) -> None:
        self.x, self.scale, self.schedule = x, scale, VP

    def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
        alpha, sigma = level.like(z)
        v = alpha**2 * self.scale**2 + sigma**2
        distance = ((z[:, None] - alpha[..., None] * self.x) ** 2).sum(-1) / (2 * v)
        share = (-distance).softmax(1)
        return Prediction.from_eps(z, level, sigma * (z - alpha * (share @ self.x)) / v)


def test_vsd_vanishes_where_the_generator_makes_the_prior() -> None:
    """At every x, not only at the mode; SDS does not."""
    prior = gaussian(0.7, 0.5)
    fields = PromptedDenoisers(prior, phi=gaussian(0.7, 0.5))
    out = distill(fields, X.expand(3, 5), at(0.5), draw(3), objective=VSD())
    torch.testing.assert_close(out.gradient, torch.zeros(3, 5).double())
    assert distill(prior, X.expand(3, 5), at(0.5), draw(3)).gradient.abs().max() > 0.1


def test_vsd_of_gaussians() -> None:
    """Generator N(m_g, s_g^2), prior N(m, s^2): a difference of two linear fields."""
    level = at(0.4)
    law, own = Law(level, 0.7, 0.5), Law(level, 0.2, 0.9)
    fields = PromptedDenoisers(gaussian(0.7, 0.5), phi=gaussian(0.2, 0.9))
    check(VSD(weight=uniform), fields, level, law.mean - own.mean, law.slope - own.slope)


def test_vsd_with_one_particle_and_an_exact_phi_is_sds() -> None:
    prior, eps = gaussian(0.7, 0.5), draw(1)
    fields = PromptedDenoisers(prior, phi=Exact(X[None]))
    vsd = distill(fields, X[None], at(0.5), eps, objective=VSD())
    torch.testing.assert_close(vsd.gradient, distill(prior, X[None], at(0.5), eps).gradient)


# What all have in common

ALL: list[Objective] = [
    SDS(),
    SJC(),
    SJC(centred=False),
    CSD(0.0, 1.0),
    NFSD(),
    Bridge(begin=0.2),
    ISM(),
    SDI(),
    DDS(),
    PDS(),
    VSD(),
]
each = pytest.mark.parametrize("objective", ALL, ids=lambda o: str(to_config(o)["name"]))


class As(Denoiser):
    """The same prior, predicting another quantity."""

    def __init__(self, inner: Denoiser, kind: str) -> None:
        self.inner, self.kind, self.schedule = inner, kind, inner.schedule

    def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
        found = self.inner(z, level)
        make = getattr(Prediction, f"from_{self.kind}")
        made: Prediction = make(z, level, getattr(found, self.kind))
        return made


def all_fields(kind: str | None = None) -> PromptedDenoisers:
    cond, uncond, bad, phi = (
        gaussian(*numbers) for numbers in ((1, 0.5), (0, 1.0), (-1, 0.7), (0.3, 0.4))
    )
    sides = [As(one, kind) if kind else one for one in (cond, uncond, bad, phi)]
    cond_, uncond_, bad_, phi_ = sides
    guided = ClassifierFreeGuidance(cond_, uncond_, 3.0)
    return PromptedDenoisers(guided, cond_, uncond_, bad_, uncond_, phi_)


@each
@pytest.mark.parametrize("kind", ["eps", "x0", "v", "velocity", "score"])
def test_what_the_prior_predicts_does_not_matter(objective: Objective, kind: str) -> None:
    x, levels = X.expand(3, 5), VP.at_fraction(torch.tensor([0.1, 0.5, 0.95]).double())
    more = {"objective": objective, "progress": 0.5, "reference": 0.3 * x}
    plain = distill(all_fields(), x, levels, draw(3), **more)  # type: ignore[arg-type]
    other = distill(all_fields(kind), x, levels, draw(3), **more)  # type: ignore[arg-type]
    torch.testing.assert_close(other.gradient, plain.gradient, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(other.x0, plain.x0, rtol=1e-6, atol=1e-9)


@each
def test_items_do_not_see_each_other(objective: Objective) -> None:
    """Any order and any batch: the same gradient for the same item."""
    x, eps = draw(4, 5), draw(4, 6)
    levels = VP.at_fraction(torch.tensor([0.1, 0.3, 0.6, 0.95]).double())
    reference = 0.3 * x

    def gradient(index: list[int]) -> Tensor:
        return distill(
            all_fields(),
            x[index],
            levels[index],
            eps[index],
            objective=objective,
            progress=0.5,
            reference=reference[index],
        ).gradient

    together = gradient([0, 1, 2, 3])
    torch.testing.assert_close(gradient([3, 1, 0, 2]), together[[3, 1, 0, 2]])
    torch.testing.assert_close(torch.cat([gradient([i]) for i in range(4)]), together)


EVALUATIONS = {
    "SDS": 2,
    "SJC": 2,
    "CSD": 3,
    "NFSD": 3,
    "Bridge": 2,
    "ISM": 5 + 1 + 2,
    "SDI": 10 * 2 + 2,
    "DDS": 3,  # 4 with a guided source
    "PDS": 3,
    "VSD": 3,
}


@each
def test_evaluations(objective: Objective) -> None:
    """As docs/objectives.md counts them, with guidance, in network evaluations per item."""
    count = []

    class Counting(As):
        def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
            count.append(len(z))
            return self.inner(z, level)

    sides = [Counting(gaussian(i, 1.0), "eps") for i in range(5)]
    fields = PromptedDenoisers(ClassifierFreeGuidance(sides[0], sides[1], 3.0), *sides)
    more = {"objective": objective, "progress": 0.5, "reference": X[None]}
    distill(fields, X[None], at(0.5), draw(1), **more)  # type: ignore[arg-type]
    assert sum(count) == EVALUATIONS[to_config(objective)["name"]]


@each
def test_a_missing_denoiser_is_named(objective: Objective) -> None:
    fields = PromptedDenoisers(gaussian(0, 1))
    if set(objective.needs) <= {"guided"}:  # type: ignore[attr-defined]
        fields.check(objective)
        return
    with pytest.raises(ValueError, match="this objective needs"):
        fields.check(objective)


@pytest.mark.parametrize("objective", [DDS(), PDS()])
def test_editing_without_a_reference_is_refused(objective: Objective) -> None:
    with pytest.raises(ValueError, match="reference"):
        distill(edit_fields(VP), X[None], at(0.5), draw(1), objective=objective)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CSD(start=1.5), "start"),
        (lambda: NFSD(threshold=-0.1), "threshold"),
        (lambda: NFSD(scale=float("nan")), "scale"),
        (lambda: Bridge(begin=2.0), "begin"),
        (lambda: ISM(gap=0.0), "gap"),
        (lambda: ISM(steps=0), "steps"),
        (lambda: SDI(eta=1.5), "eta"),
        (lambda: PDS(stride=0.5), "stride"),
        (lambda: PDS(gap=1.0), "gap"),
        (lambda: SmallNetwork(width=0), "width"),
        (lambda: SmallNetwork(learning_rate=0.0), "learning_rate"),
    ],
)
def test_impossible_settings_are_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


def test_the_sds_gradient_is_that_of_its_denoising_loss() -> None:
    """Finite differences: w 2 (eps_hat - eps) is sigma^-1 d/dz of the potential that has the score.

    On a Gaussian eps_hat = sigma d/dz (z - alpha m)^2 / (2 v), so that the guided direction of SJC
    without centring is (sigma / alpha) times the central difference of the energy of z(x) in x.
    """
    prior, level, eps = gaussian(0.7, 0.5), at(0.5), draw(1)
    out = distill(prior, X[None], level, eps, objective=SJC(centred=False)).gradient
    h = 1e-5

    def energy(x: Tensor) -> Tensor:
        return -prior.log_density(level.add_noise(x, eps), level.expand(1))

    for i in range(5):
        bump = torch.zeros(1, 5).double()
        bump[0, i] = h
        slope = (energy(X + bump) - energy(X - bump)) / (2 * h)
        expected = level.sigma / level.alpha * slope
        torch.testing.assert_close(out[:, i], expected, rtol=1e-5, atol=1e-7)


def test_csd_is_the_gradient_of_the_classifier() -> None:
    """Finite differences: sigma^2 (e_c - e_u) = -sigma^2 (sigma / alpha) d/dx log p(prompt | z)."""
    level, eps = at(0.4), draw(1)
    cond, uncond = gaussian(1.0, 0.5), gaussian(0.0, 1.0)
    out = distill(
        PromptedDenoisers(cond, cond, uncond), X[None], level, eps, objective=CSD()
    ).gradient
    h = 1e-5

    def log_classifier(x: Tensor) -> Tensor:
        z = level.add_noise(x, eps)
        return cond.log_density(z, level.expand(1)) - uncond.log_density(z, level.expand(1))

    for i in range(5):
        bump = torch.zeros(1, 5).double()
        bump[0, i] = h
        slope = (log_classifier(X + bump) - log_classifier(X - bump)) / (2 * h)
        expected = -(level.sigma**3) / level.alpha * slope
        torch.testing.assert_close(out[:, i], expected, rtol=1e-5, atol=1e-7)


def test_image_loss_has_the_stated_gradient() -> None:
    level = VP.at_fraction(torch.tensor([0.2, 0.7]).double())
    generator = torch.Generator().manual_seed(8)
    images = torch.rand(2, 3, 4, 4, generator=generator).double().requires_grad_()
    seen = torch.rand(2, 3, 4, 4, generator=generator).double().requires_grad_()
    (gradient,) = torch.autograd.grad(image_loss(images, seen, level), images)
    w = (sigma_squared(level) * level.alpha / level.sigma).view(2, 1, 1, 1)
    torch.testing.assert_close(gradient, (w * (images - seen) / 2).detach())


def test_an_objective_is_described_by_json_values() -> None:
    import json

    described_vsd = to_config(VSD())
    assert described_vsd["name"] == "VSD" and described_vsd["weight"] == "sigma_squared"
    assert described_vsd["phi"]["rank"] == 4
    assert json.loads(json.dumps(to_config(ISM())))["steps"] == 5
