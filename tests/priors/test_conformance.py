"""Every prior passes the suite, and each check fails for a prior that breaks its law."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler
from tiny_models import SIZES, TINY
from torch import Tensor, nn

from scorefield.priors.checks.conformance import _CHECKS, ConformanceError, check_prior
from scorefield.priors.checks.readings import fitting_reading
from scorefield.priors.codec import PixelCodec
from scorefield.priors.condition import Condition
from scorefield.priors.denoiser import ConditionedDenoiser, Denoiser
from scorefield.priors.exact.empirical import EmpiricalPrior
from scorefield.priors.exact.gaussian_mixture import GaussianMixturePrior
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.loading import load_prior
from scorefield.priors.noise import keyed_noise
from scorefield.priors.prediction import Prediction
from scorefield.priors.prior import ImagePrior
from scorefield.priors.rescaled import RescaledDenoiser
from scorefield.priors.schedule import DiscreteSchedule, FlowSchedule, NoiseSchedule
from scorefield.priors.text import PromptConditioner

PROMPTS: dict[str, tuple[str, ...]] = {
    "ddpm": (),
    "ddpm-classes": ("star", "box"),
    "dit": ("goldfish", "ounce"),
}


@pytest.mark.filterwarnings("ignore:the predictions of .* do not fit")  # untrained
@pytest.mark.parametrize("name", TINY)
def test_every_family_passes(tiny: Callable[[str], Path], name: str) -> None:
    prior = load_prior(tiny(name), **SIZES.get(name, {}))
    passed = check_prior(prior, PROMPTS.get(name, ("a red cup", "a blue chair")))
    # an untrained network fits as none, and these are told no cameras
    missing = set(_CHECKS) - set(passed) - {"prediction", "cameras"}
    assert missing == ({"conditions"} if name == "ddpm" else set())


SCHEDULES = {
    "linear": DiscreteSchedule.linear_beta(),
    "zero SNR": DiscreteSchedule.scaled_linear().zero_terminal_snr(),
    "flow": FlowSchedule(),
}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_priors_in_closed_form_pass(schedule: str) -> None:
    means = keyed_noise(0, range(3), 0, (2, 4), torch.float64)
    scales = torch.tensor([0.3, 0.5, 1.0], dtype=torch.float64)
    labels = ["cat", "dog", "cat"]
    mixture = GaussianMixturePrior(means, scales, labels=labels, schedule=SCHEDULES[schedule])
    without = {"frozen", "encode", "decode", "cameras"}
    # closed forms in float32: the rounding of the levels
    passed = check_prior(mixture, ("cat", "dog"), shape=(2, 4), tolerance=1e-4)
    assert set(passed) == set(_CHECKS) - without
    assert set(check_prior(mixture, shape=(2, 4))) == set(passed) - {"conditions"}
    exemplars = EmpiricalPrior(means, ["red cat", "dog", "cat"], SCHEDULES[schedule])
    assert set(check_prior(exemplars, ("cat", "dog"), shape=(2, 4))) == set(passed)


def test_a_denoiser_alone_and_a_prior_of_images_pass() -> None:
    mixture = GaussianMixturePrior(torch.zeros(1, 3), torch.ones(1))
    assert "conditions" not in check_prior(mixture.condition(None), shape=(3,))
    with pytest.raises(ValueError, match="no latent_shape; give the shape"):
        check_prior(mixture)

    class Own:
        """What somebody may write who has seen a denoiser called."""

        schedule = FlowSchedule()

        def __call__(self, z: Tensor, level: NoiseLevel) -> Prediction:
            return Prediction.from_eps(z, level, 0.1 * z)

    with pytest.raises(ValueError, match=r"Own is no Denoiser.* derive it from .*Denoiser"):
        check_prior(Own(), shape=(3,))
    pictures = keyed_noise(0, range(4), 0, (3, 8, 8)).tanh()
    prior = ImagePrior(
        EmpiricalPrior(pictures, ["a", "b", "a c", "b c"]), PixelCodec(), image_size=8
    )
    passed = check_prior(prior, ("a", "b"))
    assert set(passed) == set(_CHECKS) - {"frozen", "cameras"}
    clips = keyed_noise(0, range(4), 0, (2, 3, 8, 8)).tanh()
    video = ImagePrior(EmpiricalPrior(clips, list("abcd")), PixelCodec(), image_size=8, frames=2)
    assert set(check_prior(video, ("a", "b"))) == set(passed)


class Words(PromptConditioner):
    """The length of a prompt is its condition."""

    def encode_one(self, prompt: str) -> dict[str, Tensor]:
        return {"length": torch.tensor([float(len(prompt))])}

    def modules(self) -> list[nn.Module]:
        return []


class Network(nn.Module):
    """eps of a standard normal, plus what a prompt adds."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, z: Tensor, timestep: Tensor, length: Tensor) -> Tensor:
        sigma = DiscreteSchedule.linear_beta().at_timestep(timestep).sigma
        shape = (-1, 1, 1, 1)
        return self.gain * sigma.reshape(shape) * (z + 0.1 * length.reshape(shape))


def prior_of(
    network: nn.Module | None = None, codec: Any = None, kind: str = "epsilon"
) -> FrozenPrior:
    return FrozenPrior(
        "test",
        network or Network(),
        Words(),
        codec or PixelCodec(),
        DiscreteSchedule.linear_beta(),
        kind,
        shape=(3, 4, 4),
    )


class Modes(Network):
    """eps of two modes."""

    def forward(self, z: Tensor, timestep: Tensor, length: Tensor) -> Tensor:
        mean = torch.stack((torch.full((3, 4, 4), 0.7), torch.full((3, 4, 4), -0.3)))
        modes = GaussianMixturePrior(mean, torch.tensor([0.3, 0.3]))
        level = modes.schedule.at_timestep(timestep)
        return modes(z, level).eps + 0 * self.gain + 1e-3 * length.reshape(-1, 1, 1, 1)


class Infinite(Network):
    def forward(self, z: Tensor, timestep: Tensor, length: Tensor) -> Tensor:
        return super().forward(z, timestep, length) / (timestep < 500).reshape(-1, 1, 1, 1)


class Remembers(Network):
    """Such as a scheduler that counts its steps."""

    calls = 0

    def forward(self, z: Tensor, timestep: Tensor, length: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(z, timestep, length) + 0.01 * self.calls


class ShardedGenerator(Network):
    """Such as dropout."""

    def forward(self, z: Tensor, timestep: Tensor, length: Tensor) -> Tensor:
        torch.rand(1)
        return super().forward(z, timestep, length)


class Overwrites(Network):
    def forward(self, z: Tensor, timestep: Tensor, length: Tensor) -> Tensor:
        z.mul_(1.01)
        return super().forward(z, timestep, length)


class SeesTheBatch(Network):
    """Such as batch normalisation."""

    def forward(self, z: Tensor, timestep: Tensor, length: Tensor) -> Tensor:
        return super().forward(z - z.mean(0, keepdim=True), timestep, length)


class FirstTimestepForAll(Network):
    def forward(self, z: Tensor, timestep: Tensor, length: Tensor) -> Tensor:
        return super().forward(z, timestep[:1].expand(len(z)), length)


class FirstPromptForAll(Network):
    def forward(self, z: Tensor, timestep: Tensor, length: Tensor) -> Tensor:
        return super().forward(z, timestep, length[:1].expand(len(z)))


class Deaf(Network):
    def forward(self, z: Tensor, timestep: Tensor, length: Tensor) -> Tensor:
        return super().forward(z, timestep, 0 * length)


class Unbounded(PixelCodec):
    def decode(self, latents: Tensor) -> Tensor:
        return latents / 2 + 0.5


class Detached(PixelCodec):
    def encode(self, images: Tensor) -> Tensor:
        return super().encode(images).detach()


class Larger(PixelCodec):
    def encode(self, images: Tensor) -> Tensor:
        return super().encode(images).repeat(1, 1, 2, 2)


class Noisy(PixelCodec):
    def encode(self, images: Tensor) -> Tensor:
        return super().encode(images) + 0.1 * torch.randn_like(images)


def in_train_mode() -> FrozenPrior:
    prior = prior_of()
    prior.network.train()
    return prior


def thawed() -> FrozenPrior:
    prior = prior_of()
    prior.network.requires_grad_(True)
    return prior


class Attached(FrozenPrior):
    """Keeps the graph of z."""

    def predict(self, z: Tensor, level: NoiseLevel, condition: Condition) -> Prediction:
        found = super().predict(z, level, condition)
        return Prediction.from_eps(z, level, found.eps + 0 * z)


class OneForAll(FrozenPrior):
    """Predicts one item and leaves it to broadcasting."""

    def predict(self, z: Tensor, level: NoiseLevel, condition: Condition) -> Prediction:
        found = super().predict(z, level, condition)
        return Prediction.from_eps(found.z[:1], level[:1], found.eps[:1])


class Half(FrozenPrior):
    """Hands on the precision of its network."""

    def predict(self, z: Tensor, level: NoiseLevel, condition: Condition) -> Prediction:
        found = super().predict(z, level, condition)
        return Prediction.from_eps(z.bfloat16(), level, found.eps.bfloat16())


class ClaimsAnotherLevel(FrozenPrior):
    """Converts with a level that is not that of z."""

    def predict(self, z: Tensor, level: NoiseLevel, condition: Condition) -> Prediction:
        found = super().predict(z, level, condition)
        wrong = NoiseLevel(level.alpha, 1.1 * level.sigma)
        return Prediction.from_eps(found.z, wrong, found.eps)


class OneAmplitude(FrozenPrior):
    """Takes z as it is at levels of other amplitudes."""

    def predict(self, z: Tensor, level: NoiseLevel, condition: Condition) -> Prediction:
        native = self.schedule.at_timestep(self.schedule.timestep(level))
        found = super().predict(z, native, condition)
        return Prediction.from_eps(found.z, level, found.eps)


def of_class(kind: type[FrozenPrior]) -> FrozenPrior:
    prior = copy.copy(prior_of())
    prior.__class__ = kind
    prior.conditional = prior
    return prior


class Explodes(FrozenPrior):
    def condition(self, prompts: Any = None) -> ConditionedDenoiser:
        raise RuntimeError("no\nway")


# A prior that breaks a law, the checks that find it (others may), and a word of the message.
BROKEN: dict[str, tuple[Callable[[], FrozenPrior], str, str]] = {
    "one": (lambda: of_class(OneForAll), "shapes", "eps has shape (1, 3, 4, 4) for (2, 3, 4, 4)"),
    "infinite": (lambda: prior_of(Infinite()), "finite", "not finite at fraction 0.6"),
    "remembers": (lambda: prior_of(Remembers()), "same again", "second call"),
    "draws": (lambda: prior_of(ShardedGenerator()), "same again", "global random generator"),
    "overwrites": (lambda: prior_of(Overwrites()), "same again", "changed in place"),
    "batch": (lambda: prior_of(SeesTheBatch()), "items", "an item alone"),
    "timestep": (lambda: prior_of(FirstTimestepForAll()), "items", "another order"),
    "prompt": (lambda: prior_of(FirstPromptForAll()), "conditions", "in one batch"),
    "deaf": (lambda: prior_of(Deaf()), "conditions", "give the same"),
    "range": (lambda: prior_of(codec=Unbounded()), "decode", "leave [0, 1]"),
    "detached": (lambda: prior_of(codec=Detached()), "encode", "does not require grad"),
    "size": (lambda: prior_of(codec=Larger()), "encode", "latents are (2, 3, 8, 8)"),
    "noisy": (lambda: prior_of(codec=Noisy()), "encode", "encoded again"),
    "train mode": (in_train_mode, "frozen", "train mode; call eval()"),
    "thawed": (thawed, "frozen", "require gradients"),
    "attached": (lambda: of_class(Attached), "frozen", "hold a graph"),
    "half": (lambda: of_class(Half), "dtypes", "eps is torch.bfloat16 for z of torch.float32"),
    "level": (lambda: of_class(ClaimsAnotherLevel), "conversions", "alpha x0 + sigma eps"),
    "amplitudes": (lambda: of_class(OneAmplitude), "amplitudes", "1.3 times the amplitudes"),
    "explodes": (lambda: of_class(Explodes), "samples", "RuntimeError: no way"),
}


def test_the_plain_one_passes() -> None:
    assert set(check_prior(prior_of(), ("a", "bb"))) == set(_CHECKS) - {"cameras"}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_prior_fails(name: str) -> None:
    make, check, words = BROKEN[name]
    with pytest.raises(ConformanceError) as caught:
        check_prior(make(), ("a", "bb"))
    assert words in caught.value.failures[check]
    assert "\n" not in str(caught.value)
    assert words in str(caught.value)


def test_every_check_fails_for_some_prior() -> None:
    elsewhere = {"prediction", "cameras"}  # the one warns, the other is in test_cameras.py
    assert {check for _, check, _ in BROKEN.values()} == set(_CHECKS) - elsewhere


def test_another_prediction_type_is_warned_about() -> None:
    prior = prior_of(Modes(), kind="v_prediction")
    with pytest.warns(
        UserWarning, match=r"do not fit as v, .* fit as eps: use Prediction.from_eps"
    ):
        assert "prediction" not in check_prior(prior, ("a", "bb"))
    assert "prediction" in check_prior(prior_of(Modes()), ("a", "bb"))


def test_an_ordinary_denoiser_can_fail() -> None:
    class Constant(Denoiser):
        schedule = FlowSchedule()

        def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
            return Prediction.from_x0(z, level, torch.ones(1, 3).to(z))

    with pytest.raises(ConformanceError, match=r"Constant fails .* of the checks: .*shapes[:,]"):
        check_prior(Constant(), shape=(3,))


def two_modes(schedule: NoiseSchedule, scale: float = 0.5) -> GaussianMixturePrior:
    means = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.5, 0.0]])
    return GaussianMixturePrior(means, torch.tensor([scale, scale]), schedule=schedule)


class OwnNetwork(Denoiser):
    """A wrapper as one writes it first: the network is told the log-SNR, and gets z as it is."""

    def __init__(self, schedule: NoiseSchedule) -> None:
        self.schedule = schedule

    def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
        native = self.schedule.at_log_snr(level.log_snr)
        return Prediction.from_v(z, level, two_modes(self.schedule)(z, native).v)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_network_of_one_amplitude_is_named_its_remedy(schedule: str) -> None:
    own = OwnNetwork(SCHEDULES[schedule])
    with pytest.raises(ConformanceError, match=r"RescaledDenoiser\(denoiser\)") as caught:
        check_prior(own, shape=(3,))
    assert set(caught.value.failures) == {"amplitudes"}
    assert "amplitudes" in check_prior(RescaledDenoiser(own), shape=(3,))
    z, c = keyed_noise(0, range(2), 0, (3,)), 0.4
    level = own.schedule.at_fraction(torch.tensor([0.2, 0.7]))
    other = NoiseLevel(c * level.alpha, c * level.sigma)
    found, exact = RescaledDenoiser(own).rows([1, 0])(z, other), two_modes(own.schedule)(z, other)
    torch.testing.assert_close(found.eps, exact.eps, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.x0, exact.x0, rtol=1e-4, atol=1e-5)


KINDS = ("eps", "x0", "v", "velocity")


class Told(Denoiser):
    """A network of six pictures that outputs one kind, wrapped as what may be another."""

    def __init__(self, kind: str, taken: str, time: float = 1.0) -> None:
        self.schedule = DiscreteSchedule.linear_beta()
        self.kind, self.taken, self.time = kind, taken, time
        means = keyed_noise(0, range(6), 0, (3, 8, 8)).tanh()
        self.pictures = GaussianMixturePrior(means, torch.full((6,), 0.2), schedule=self.schedule)

    def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
        told = self.schedule.at_timestep(self.time * self.schedule.timestep(level))
        value = getattr(self.pictures(z, told), self.kind)
        return Prediction.from_eps(z, level, value).read_as(self.taken)


@pytest.mark.parametrize("kind", KINDS)
def test_values_fit_as_what_they_are_alone(kind: str) -> None:
    for taken in KINDS:
        found = fitting_reading(RescaledDenoiser(Told(kind, taken)), (3, 8, 8), torch.device("cpu"))
        assert found == (taken, kind)


def test_a_wrong_time_is_warned_about() -> None:
    told = RescaledDenoiser(Told("eps", "eps", time=1e-3))
    with pytest.warns(UserWarning, match=r"do not fit as eps.*schedule\.timestep\(level\)"):
        assert "prediction" not in check_prior(told, shape=(3, 8, 8))


class Wrapped(Denoiser):
    """A network in float32 as one wraps it first."""

    def __init__(self, network: nn.Module, cast: bool = False) -> None:
        self.schedule = DiscreteSchedule.linear_beta()
        self.network, self.cast = network, cast

    def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
        value = self.network(z.float() if self.cast else z)
        return Prediction.from_v(z, level, value.to(z.dtype) if self.cast else value)


def failures_of(prior: Any) -> dict[str, str]:
    with pytest.raises(ConformanceError) as caught:
        check_prior(prior, shape=(3,))
    return caught.value.failures


def test_a_network_in_float32_is_told_how_to_be_called() -> None:
    failures = failures_of(RescaledDenoiser(Wrapped(nn.Linear(3, 3).eval().requires_grad_(False))))
    assert "network(z.float(), t.float()).to(z.dtype)" in failures["dtypes"]


@pytest.mark.filterwarnings("ignore:the predictions of .* do not fit")
def test_networks_are_found_in_what_wraps_them() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Dropout())
    failures = failures_of(RescaledDenoiser(Wrapped(network, cast=True)))
    assert failures["frozen"] == "a Sequential is in train mode; call eval()"
    assert "until eval()" in failures["same again"]
    failures = failures_of(RescaledDenoiser(Wrapped(network.eval(), cast=True)))
    assert failures == {"frozen": "parameters of a Sequential require gradients"}
    network.requires_grad_(False)
    assert "frozen" in check_prior(RescaledDenoiser(Wrapped(network, cast=True)), shape=(3,))


def test_what_is_no_prior_is_told_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"'shapes' is a name; .*load_prior\('shapes'\)"):
        check_prior("shapes")

    class Plain(Denoiser):
        schedule: Any = FlowSchedule()

        def predict(self, z: Tensor, level: NoiseLevel) -> Any:
            return z

    with pytest.raises(ConformanceError) as caught:
        check_prior(Plain(), shape=(3,))
    assert str(caught.value).count("Plain.predict must return a Prediction; got a Tensor") == 1
    plain = Plain()
    plain.schedule = DDPMScheduler()
    with pytest.raises(ValueError, match=r"got a DDPMScheduler: make DiscreteSchedule\(sched"):
        check_prior(plain, shape=(3,))
