"""What holds of every guidance: items are their own, noise without signal is no obstacle."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from scorefield.priors.denoiser import Denoiser
from scorefield.priors.exact.gaussian_mixture import GaussianMixturePrior
from scorefield.priors.guidance.autoguidance import AutoGuidance
from scorefield.priors.guidance.cfg_plus_plus import CFGPlusPlus
from scorefield.priors.guidance.classifier import ClassifierGuidance
from scorefield.priors.guidance.classifier_free import ClassifierFreeGuidance, GuidanceInterval
from scorefield.priors.guidance.perp_neg import PerpNeg
from scorefield.priors.guidance.projected import AdaptiveProjectedGuidance
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import keyed_noise
from scorefield.priors.sampling import sample
from scorefield.priors.schedule import DiscreteSchedule
from scorefield.priors.steps import level_path

SCHEDULE = DiscreteSchedule.scaled_linear().zero_terminal_snr()
LABELS = ["cat", "dog", "cow"]
MEANS = torch.tensor([[0.0, 1.0, 2.0], [1.0, -1.0, 0.5], [-2.0, 0.0, 0.3]], dtype=torch.float64)
PRIOR = GaussianMixturePrior(MEANS, torch.tensor([0.5, 0.4, 0.6]).double(), None, LABELS, SCHEDULE)
WIDE = GaussianMixturePrior(MEANS, torch.ones(3).double(), None, LABELS, SCHEDULE)
STEPS = 8
ITEMS = ["cat", "dog", "cow", "dog", "cat"]
COND, ANY = PRIOR.condition(ITEMS), PRIOR.unconditional


def bayes(z: Tensor, level: NoiseLevel) -> Tensor:
    return torch.stack([PRIOR.condition(name).log_density(z, level) for name in LABELS], dim=1)


GUIDANCES: dict[str, Callable[[], Denoiser]] = {
    "cfg": lambda: ClassifierFreeGuidance(COND, ANY, 3.0, 0.5),
    "interval": lambda: GuidanceInterval(ClassifierFreeGuidance(COND, ANY, 3.0), COND, -2.0, 2.0),
    "perp-neg": lambda: PerpNeg(
        COND, ANY, [PRIOR.condition("cow"), PRIOR.condition(ITEMS[::-1])], [0.5, 1.0], 2.0
    ),
    "perp-neg per item": lambda: PerpNeg(
        COND, ANY, [PRIOR.condition("cow")], torch.linspace(0, 1, 5)[None], 2.0
    ),
    "projected": lambda: AdaptiveProjectedGuidance(COND, ANY, 3.0, 0.3, 1.0),
    "cfg++": lambda: CFGPlusPlus(COND, ANY, 0.6, STEPS),
    "auto": lambda: AutoGuidance(COND, WIDE.condition(ITEMS), 2.0),
    "classifier": lambda: ClassifierGuidance(ANY, bayes, [LABELS.index(i) for i in ITEMS], 2.0),
}


@pytest.mark.parametrize("name", GUIDANCES)
def test_neither_batch_size_nor_order_matters(name: str) -> None:
    guided = GUIDANCES[name]()
    whole = sample(guided, (3,), 5, steps=STEPS, dtype=torch.float64)
    assert bool(whole.isfinite().all())
    again = sample(guided, (3,), 5, steps=STEPS, dtype=torch.float64)
    assert torch.equal(whole, again)
    parts = sample(guided, (3,), 5, steps=STEPS, batch_size=2, dtype=torch.float64)
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-6)
    order = [3, 0, 4]
    some = sample(guided.rows(order), (3,), items=order, steps=STEPS, dtype=torch.float64)
    torch.testing.assert_close(some, whole[order], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", GUIDANCES)
def test_items_at_different_levels(name: str) -> None:
    guided = GUIDANCES[name]()
    path = level_path(SCHEDULE, STEPS)
    z = keyed_noise(0, range(5), 0, (3,), torch.float64)
    level = NoiseLevel(
        *(torch.stack([getattr(p, a) for p in path[:5]]) for a in ("alpha", "sigma"))
    )
    together = guided(z, level)
    assert bool(together.x0.isfinite().all())  # the first level is of zero terminal SNR
    for item in range(5):
        alone = guided.rows([item])(z[item : item + 1], level[item : item + 1])
        torch.testing.assert_close(alone.x0[0], together.x0[item], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", GUIDANCES)
def test_single_precision_stays_single(name: str) -> None:
    prediction = GUIDANCES[name]()(torch.ones(5, 3), level_path(SCHEDULE, STEPS)[3])
    assert prediction.v.dtype == torch.float32


def test_an_interval_of_the_others() -> None:
    """Guidances take denoisers, so also each other."""
    inner = PerpNeg(COND, ANY, [PRIOR.condition("cow")], torch.linspace(0, 1, 5)[None], 2.0)
    outer = GuidanceInterval(inner, COND, -2.0, 2.0)
    path = level_path(SCHEDULE, STEPS)
    z = keyed_noise(0, range(5), 0, (3,), torch.float64)
    level = NoiseLevel(
        *(torch.stack([getattr(p, a) for p in path[:5]]) for a in ("alpha", "sigma"))
    )
    inside = (level.log_snr >= -2) & (level.log_snr < 2)
    assert bool(inside.any()) and not bool(inside.all())
    v = outer(z, level).v
    expected = torch.where(inside[:, None], inner(z, level).v, COND(z, level).v)
    torch.testing.assert_close(v, expected)
