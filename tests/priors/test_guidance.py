import pytest
import torch
from torch import Tensor

from scorefield.priors.denoiser import Condition, Denoiser
from scorefield.priors.guidance import ClassifierFreeGuidance
from scorefield.priors.levels import DiscreteSchedule, NoiseLevel
from scorefield.priors.mixture import GaussianMixturePrior
from scorefield.priors.noise import keyed_noise
from scorefield.priors.prediction import Prediction

SCHEDULE = DiscreteSchedule.scaled_linear().zero_terminal_snr()
MEANS = torch.tensor([[0.0, 1.0, 2.0], [1.0, -1.0, 0.5], [-2.0, 0.0, 0.3]], dtype=torch.float64)
PRIOR = GaussianMixturePrior(
    MEANS, torch.tensor([0.5, 0.4, 0.6]).double(), None, ["cat", "dog", "cow"], SCHEDULE
)
CAT, ANY = PRIOR.condition("cat"), PRIOR.unconditional
Z = keyed_noise(0, range(4), 0, (3,), torch.float64)
LEVEL = SCHEDULE.at_timestep(torch.tensor([50, 400, 700, 950]))


class Unreachable(Denoiser):
    schedule = SCHEDULE

    def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
        raise AssertionError("must not be evaluated")


@pytest.mark.parametrize("scale", [-1.0, 0.0, 0.5, 1.0, 7.5])
def test_convention(scale: float) -> None:
    cond, uncond = CAT(Z, LEVEL), ANY(Z, LEVEL)
    guided = ClassifierFreeGuidance(CAT, ANY, scale)(Z, LEVEL)
    for read in ("eps", "x0", "v", "velocity", "score"):
        c, u = getattr(cond, read), getattr(uncond, read)
        torch.testing.assert_close(getattr(guided, read), u + scale * (c - u), rtol=1e-6, atol=1e-6)


def test_dreamfusion_100_is_101() -> None:
    omega = 100
    cond, uncond = CAT(Z, LEVEL).eps, ANY(Z, LEVEL).eps
    theirs = (1 + omega) * cond - omega * uncond
    torch.testing.assert_close(
        ClassifierFreeGuidance(CAT, ANY, 101)(Z, LEVEL).eps, theirs, rtol=1e-6, atol=1e-6
    )


def test_the_half_that_does_not_count_is_not_evaluated() -> None:
    unguided = ClassifierFreeGuidance(CAT, Unreachable(), 1.0, rescale=0.7)
    assert torch.equal(unguided(Z, LEVEL).v, CAT(Z, LEVEL).v)
    assert torch.equal(ClassifierFreeGuidance(Unreachable(), ANY, 0.0)(Z, LEVEL).v, ANY(Z, LEVEL).v)


def test_guided_density_is_the_tempered_quotient() -> None:
    """The guided score is the gradient of s log p(z|c) + (1 - s) log p(z)."""
    z = Z.clone().requires_grad_()
    log_density = 3 * CAT.log_density(z, LEVEL) - 2 * ANY.log_density(z, LEVEL)
    (gradient,) = torch.autograd.grad(log_density.sum(), z)
    torch.testing.assert_close(ClassifierFreeGuidance(CAT, ANY, 3.0).score(Z, LEVEL), gradient)


def test_negative_prompt_leads_away() -> None:
    dog = PRIOR.condition("dog")
    level = SCHEDULE.at_timestep(999)
    x0 = ClassifierFreeGuidance(CAT, dog, 2.0)(Z, level).x0
    # without any signal the posterior means are the prior means: 2 cat - dog
    torch.testing.assert_close(x0, (2 * MEANS[0] - MEANS[1]).expand(4, 3))


def test_zero_terminal_snr() -> None:
    level = SCHEDULE.at_timestep(999)
    prediction = ClassifierFreeGuidance(CAT, ANY, 5.0, rescale=0.5)(Z, level)
    assert bool(prediction.x0.isfinite().all())
    torch.testing.assert_close(prediction.eps, Z)


@pytest.mark.parametrize("phi", [0.3, 1.0])
def test_rescale_restores_the_standard_deviation(phi: float) -> None:
    plain = ClassifierFreeGuidance(CAT, ANY, 7.5)(Z, LEVEL).v
    rescaled = ClassifierFreeGuidance(CAT, ANY, 7.5, rescale=phi)(Z, LEVEL).v
    target = CAT(Z, LEVEL).v.std(dim=1)
    expected = phi * target + (1 - phi) * plain.std(dim=1)
    torch.testing.assert_close(rescaled.std(dim=1), expected)
    # only the length changes
    torch.testing.assert_close(
        torch.cosine_similarity(plain, rescaled), torch.ones(4, dtype=torch.float64)
    )


def test_rescale_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"rescale must lie in \[0, 1\], got 1.5"):
        ClassifierFreeGuidance(CAT, ANY, 2.0, rescale=1.5)


def test_rows_reach_both_halves() -> None:
    guided = ClassifierFreeGuidance(
        PRIOR.condition(["cat", "dog", "cow", "cat"]), PRIOR.condition("cow"), 3.0
    )
    part = guided.rows([1, 2])(Z[1:3], LEVEL[1:3])
    torch.testing.assert_close(part.x0, guided(Z, LEVEL).x0[1:3])


def test_conditions_concatenate_only_if_they_fit() -> None:
    a = Condition({"text": torch.zeros(1, 7), "mask": torch.ones(3, 2)})
    assert len(a) == 3
    assert len(Condition.cat([a, a])) == 6
    assert a.rows([2]).tensors["text"].shape == (1, 7)
    with pytest.raises(ValueError, match="conditions differ"):
        Condition.cat([a, Condition({"text": torch.zeros(1, 7)})])
    with pytest.raises(ValueError, match="must agree in batch size"):
        Condition({"text": torch.zeros(2, 7), "mask": torch.ones(3, 2)})
