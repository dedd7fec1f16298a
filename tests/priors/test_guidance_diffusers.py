import pytest
import torch
from diffusers import guiders
from torch import Tensor

from scorefield.priors.denoiser import Denoiser
from scorefield.priors.exact.gaussian_mixture import GaussianMixturePrior
from scorefield.priors.guidance.classifier_free import ClassifierFreeGuidance
from scorefield.priors.guidance.diffusers_guiders import DiffusersGuidance
from scorefield.priors.guidance.projected import AdaptiveProjectedGuidance
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import keyed_noise
from scorefield.priors.prediction import Prediction
from scorefield.priors.sampling import sample
from scorefield.priors.schedule import DiscreteSchedule

SCHEDULE = DiscreteSchedule.scaled_linear().zero_terminal_snr()
SHAPE = (3, 2, 2)
PRIOR = GaussianMixturePrior(
    keyed_noise(5, range(3), 0, SHAPE, torch.float64),
    torch.tensor([0.5, 0.4, 0.6]).double(),
    None,
    ["cat", "dog", "cow"],
    SCHEDULE,
)
CAT, ANY = PRIOR.condition("cat"), PRIOR.unconditional
Z = keyed_noise(0, range(4), 0, SHAPE, torch.float64)
LEVEL = SCHEDULE.at_timestep(torch.tensor([50, 400, 700, 950]))


def test_plain_guidance_with_rescale_is_ours() -> None:
    guider = guiders.ClassifierFreeGuidance(guidance_scale=5.0, guidance_rescale=0.7)
    theirs = DiffusersGuidance(CAT, ANY, guider, "v")(Z, LEVEL).v
    torch.testing.assert_close(ClassifierFreeGuidance(CAT, ANY, 5.0, 0.7)(Z, LEVEL).v, theirs)


def test_projected_guidance_is_ours_on_x0() -> None:
    guider = guiders.AdaptiveProjectedGuidance(
        guidance_scale=4.0,
        adaptive_projected_guidance_rescale=1.5,
        eta=0.25,
        use_original_formulation=True,
    )
    theirs = DiffusersGuidance(CAT, ANY, guider, "x0")(Z, LEVEL).x0
    ours = AdaptiveProjectedGuidance(CAT, ANY, 5.0, 0.25, 1.5)(Z, LEVEL).x0
    torch.testing.assert_close(ours, theirs)


def test_zero_star_scales_the_unconditional_velocity() -> None:
    """s* = <c, u> / |u|^2 (Fan et al. 2025, "CFG-Zero*", equation 8)."""
    guider = guiders.ClassifierFreeZeroStarGuidance(guidance_scale=3.0, zero_init_steps=0)
    cond, uncond = CAT(Z, LEVEL).velocity, ANY(Z, LEVEL).velocity
    share = (cond * uncond).flatten(1).sum(1) / uncond.flatten(1).square().sum(1)
    scaled = share.reshape(-1, 1, 1, 1) * uncond
    guided = DiffusersGuidance(CAT, ANY, guider, "velocity")(Z, LEVEL).velocity
    torch.testing.assert_close(guided, scaled + 3 * (cond - scaled), rtol=1e-5, atol=1e-5)


GUIDERS = [
    lambda scale: guiders.ClassifierFreeGuidance(scale),
    lambda scale: guiders.AdaptiveProjectedGuidance(scale),
    lambda scale: guiders.ClassifierFreeZeroStarGuidance(scale, zero_init_steps=0),
    lambda scale: guiders.TangentialClassifierFreeGuidance(scale),
]


@pytest.mark.parametrize("make", GUIDERS)
def test_scale_one_is_the_conditional_and_asks_nothing_else(make) -> None:
    class Unreachable(Denoiser):
        schedule = SCHEDULE

        def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
            raise AssertionError("must not be evaluated")

    guided = DiffusersGuidance(CAT, Unreachable(), make(1.0), "v")
    assert torch.equal(guided(Z, LEVEL).v, CAT(Z, LEVEL).v)


@pytest.mark.parametrize("make", GUIDERS)
@pytest.mark.parametrize("space", ["eps", "x0", "v", "velocity"])
def test_items_do_not_touch_each_other(make, space: str) -> None:
    guided = DiffusersGuidance(CAT, ANY, make(3.0), space)
    together = guided(Z, LEVEL).v
    for item in (3, 0):
        alone = guided.rows([item])(Z[item : item + 1], LEVEL[item : item + 1]).v[0]
        torch.testing.assert_close(alone, together[item], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", GUIDERS)
def test_samples_from_zero_terminal_snr(make) -> None:
    samples = sample(DiffusersGuidance(CAT, ANY, make(2.0), "v"), SHAPE, 2, steps=4)
    assert bool(samples.isfinite().all())


def test_the_guider_is_left_alone() -> None:
    guider = guiders.ClassifierFreeGuidance(3.0)
    before = guider.get_state()
    DiffusersGuidance(CAT, ANY, guider, "v")(Z, LEVEL)
    assert guider.get_state() == before


@pytest.mark.parametrize(
    ("guider", "message"),
    [
        (
            lambda: guiders.PerturbedAttentionGuidance(perturbed_guidance_layers=[0]),
            "PerturbedAttentionGuidance needs more than a conditional and an unconditional",
        ),
        (
            lambda: guiders.ClassifierFreeGuidance(3.0, start=0.2),
            "start=0.2 depends on the number of the step; set start=0.0 and use GuidanceInterval",
        ),
        (
            lambda: guiders.ClassifierFreeZeroStarGuidance(3.0),
            "zero_init_steps=1 depends on the number of the step",
        ),
        (
            lambda: guiders.AdaptiveProjectedGuidance(adaptive_projected_guidance_momentum=-0.5),
            r"momentum=-0.5 depends on the number of the step; .*predict_with_momentum",
        ),
    ],
)
def test_what_does_not_fit_is_refused(guider, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DiffusersGuidance(CAT, ANY, guider(), "v")
