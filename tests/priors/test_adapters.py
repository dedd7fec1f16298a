"""One contract whatever a network predicts, and what is attached to a prior when it is loaded."""

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import pytest
import tiny_models
import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from scorefield.priors.checks.conformance import check_prior
from scorefield.priors.codec import PixelCodec
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.loading import PriorError, _quiet, load_prior
from scorefield.priors.noise import keyed_noise
from scorefield.priors.sampling import sample
from scorefield.priors.schedule import DiscreteSchedule, FlowSchedule, NoiseSchedule
from scorefield.priors.text import PromptConditioner

Tiny = Callable[[str], Path]

MEAN, SCALE = 0.7, 0.4
SHAPE = (3, 4, 4)
SCHEDULES: dict[str, NoiseSchedule] = {
    "linear": DiscreteSchedule.linear_beta(),
    "cosine": DiscreteSchedule.cosine(),
    "zero SNR": DiscreteSchedule.scaled_linear().zero_terminal_snr(),
    "flow": FlowSchedule(),
}


class NoText(PromptConditioner):
    def encode_one(self, prompt: str) -> dict[str, Tensor]:
        return {}

    def modules(self) -> list[nn.Module]:
        return []


class GaussianNetwork(nn.Module):
    """The best predictor of x ~ N(MEAN, SCALE^2), in one parameterisation and schedule."""

    def __init__(self, schedule: NoiseSchedule, kind: str) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, dtype=torch.float64))
        self.schedule = schedule
        self.kind = kind

    def forward(self, z: Tensor, timestep: Tensor) -> Tensor:
        alpha, sigma = self.schedule.at_timestep(timestep.double()).like(z)
        gain = alpha * SCALE**2 / (alpha**2 * SCALE**2 + sigma**2)
        eps = sigma * (z - alpha * MEAN) / (alpha**2 * SCALE**2 + sigma**2)
        x0 = MEAN + gain * (z - alpha * MEAN)
        return {
            "epsilon": eps,
            "sample": x0,
            "v_prediction": alpha * eps - sigma * x0,
            "flow_prediction": eps - x0,
        }[self.kind]


def gaussian_prior(schedule: str, kind: str) -> FrozenPrior:
    network = GaussianNetwork(SCHEDULES[schedule], kind)
    return FrozenPrior(
        kind, network, NoText(), PixelCodec(), SCHEDULES[schedule], kind, shape=SHAPE
    )


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction", "flow_prediction"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_one_target_has_one_score(schedule: str, kind: str) -> None:
    """At equal log-SNR, whatever the schedules of the network and of the one who asks."""
    prior = gaussian_prior(schedule, kind)
    z = keyed_noise(0, range(2), 0, SHAPE, torch.float64)
    for log_snr in (6.0, 2.0, -1.0, -4.0):
        asked = torch.tensor(log_snr, dtype=torch.float64)
        for other in SCHEDULES.values():
            level = other.at_log_snr(asked)
            alpha, sigma = level.like(z)
            expected = -(z - alpha * MEAN) / (alpha**2 * SCALE**2 + sigma**2)
            prediction = prior.condition()(z, level)
            torch.testing.assert_close(prediction.score, expected, rtol=1e-5, atol=1e-5)
            assert prediction.level.alpha[0] == level.alpha


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction", "flow_prediction"])
@pytest.mark.parametrize("schedule", ["zero SNR", "flow"])
def test_pure_noise(schedule: str, kind: str) -> None:
    prior = gaussian_prior(schedule, kind)
    z = keyed_noise(0, range(2), 0, SHAPE, torch.float64)
    prediction = prior.condition()(z, prior.schedule.at_fraction(1.0))
    torch.testing.assert_close(prediction.score, -z, rtol=1e-5, atol=1e-5)
    if kind == "epsilon":
        with pytest.raises(ValueError, match="alpha = 0 here"):
            _ = prediction.x0
    else:
        mean = torch.full_like(z, MEAN)
        torch.testing.assert_close(prediction.x0, mean, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "flow_prediction"])
def test_a_wrapped_gaussian_conforms(kind: str) -> None:
    schedule = "flow" if kind == "flow_prediction" else "linear"
    passed = check_prior(gaussian_prior(schedule, kind), tolerance=1e-5)
    assert {"finite", "amplitudes", "frozen", "items", "samples"} <= set(passed)


def test_samplers_of_another_schedule() -> None:
    """A flow prior along a chain and the reverse: the mean and scale of the target."""
    for own, other in (("flow", "linear"), ("linear", "flow")):
        kind = "flow_prediction" if own == "flow" else "epsilon"
        scheduler = SCHEDULES[other].scheduler()
        denoiser = gaussian_prior(own, kind).condition()
        if own == "linear":
            # a chain has a last level; the flow's first step asks for pure noise
            with pytest.raises(ValueError, match="log-SNR must lie in"):
                sample(denoiser, SHAPE, scheduler=scheduler, steps=5)
            continue
        x = sample(denoiser, SHAPE, 64, scheduler=scheduler, steps=100, batch_size=64)
        # 3072 draws: a standard error of 0.007 in the mean and 0.005 in the scale
        assert float(x.mean()) == pytest.approx(MEAN, abs=0.04)
        assert float(x.std()) == pytest.approx(SCALE, abs=0.03)


def folder_with_lora(tiny: Tiny, folder: Path, up: float, parts: tuple[str, ...]) -> Path:
    """A LoRA in diffusers' format whose up-projections, B, are of a given size."""
    with _quiet():
        pipeline = diffusers.StableDiffusionPipeline.from_pretrained(tiny("sd"))
    torch.manual_seed(1)
    states = {}
    for part in parts:
        model = getattr(pipeline, part)
        names = ["to_q", "to_v"] if part == "unet" else ["q_proj", "v_proj"]
        model.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=names))
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, std=1.0)
                parameter.data *= up
        states[part] = get_peft_model_state_dict(model)
    pipeline.save_lora_weights(
        folder,
        unet_lora_layers=states.get("unet"),
        text_encoder_lora_layers=states.get("text_encoder"),
    )
    return folder


@pytest.fixture(scope="module")
def lora(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    @cache
    def make(up: float, *parts: str) -> Path:
        return folder_with_lora(tiny, tmp_path_factory.mktemp("lora"), up, parts)

    return make


def value(prior: FrozenPrior) -> Tensor:
    z = keyed_noise(0, range(2), 0, prior.latent_shape)
    return prior.condition("a red cup")(z, prior.schedule.at_timestep(400)).eps


def test_lora_of_zeros_changes_nothing(tiny: Tiny, lora: Callable[..., Path]) -> None:
    plain = value(load_prior(tiny("sd")))
    changed = value(load_prior(tiny("sd"), lora=lora(0.0, "unet")))
    torch.testing.assert_close(changed, plain, rtol=0, atol=0)


def test_lora_is_added_to_the_weights(tiny: Tiny, lora: Callable[..., Path]) -> None:
    """W + weight B A, alpha / rank being 1, and no more layers than before."""

    folder = lora(0.5, "unet")
    plain, prior = load_prior(tiny("sd")), load_prior(tiny("sd"), lora=[(folder, 0.7)])
    before, after = plain.network.state_dict(), prior.network.state_dict()
    assert before.keys() == after.keys()
    (file,) = folder.glob("*.safetensors")
    updates = load_file(file)
    downs = [name for name in updates if name.endswith("lora_A.weight")]
    assert len(downs) > 4
    for down in downs:
        up = down.replace("lora_A", "lora_B")
        name = "model." + down.removeprefix("unet.").replace("lora_A.weight", "weight")
        expected = before[name] + 0.7 * updates[up] @ updates[down]
        torch.testing.assert_close(after[name], expected)
    changed = sum(not torch.equal(before[name], after[name]) for name in before)
    assert changed == len(downs)
    assert not torch.allclose(value(prior), value(plain), atol=1e-3)
    assert not any(p.requires_grad for p in prior.network.parameters())


def test_lora_of_the_text_encoder(tiny: Tiny, lora: Callable[..., Path]) -> None:
    plain = load_prior(tiny("sd")).condition("a cup").condition.tensors["encoder_hidden_states"]
    prior = load_prior(tiny("sd"), lora=lora(0.5, "text_encoder"))
    hidden = prior.condition("a cup").condition.tensors["encoder_hidden_states"]
    assert not torch.allclose(hidden, plain, atol=1e-3)
    assert not any(p.requires_grad for p in prior.text.modules()[0].parameters())  # type: ignore[attr-defined]


def test_two_loras(tiny: Tiny, lora: Callable[..., Path]) -> None:
    """Their updates add up, so half and half of one is that one."""
    one = load_prior(tiny("sd"), lora=lora(0.5, "unet"))
    (file,) = lora(0.5, "unet").glob("*.safetensors")
    halves = load_prior(tiny("sd"), lora=[(file, 0.5), (lora(0.5, "unet"), 0.5)])
    torch.testing.assert_close(value(halves), value(one), rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore:the predictions of .* do not fit")  # untrained
def test_a_prior_with_lora_conforms(tiny: Tiny, lora: Callable[..., Path]) -> None:
    prior = load_prior(tiny("sd"), lora=lora(0.5, "unet", "text_encoder"))
    check_prior(prior, ("a red cup", "a blue chair"))


def test_loras_that_do_not_fit(tiny: Tiny, lora: Callable[..., Path], tmp_path: Path) -> None:
    folder = lora(0.5, "unet")
    (file,) = folder.glob("*.safetensors")

    def refusal(source: str, given: Any) -> str:
        with pytest.raises(PriorError) as caught:
            load_prior(tiny(source), lora=given)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "no such LoRA" in refusal("sd", tmp_path / "nothing.safetensors")
    assert "no .safetensors weights" in refusal("sd", tmp_path)
    assert "takes no LoRA" in refusal("dit", folder)
    assert f"{file}: " in refusal("sdxl", file)
    (tmp_path / "lora.bin").write_bytes(b"")
    assert "only .safetensors LoRA files are loaded" in refusal("sd", tmp_path / "lora.bin")
    shutil.copy(file, tmp_path / "a.safetensors")
    shutil.copy(file, tmp_path / "b.safetensors")
    assert "holds 2 safetensors files; name one" in refusal("sd", tmp_path)
    (tmp_path / "a.safetensors").write_bytes(file.read_bytes()[:-10])
    assert "a.safetensors: has" in refusal("sd", tmp_path / "a.safetensors")


@pytest.fixture(scope="module")
def controlnets(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A ControlNet as it is before training, whose residuals are zeros, and one after."""

    @cache
    def folder_of(kind: str) -> Path:
        torch.manual_seed(2)
        controlnet = tiny_models.controlnet()
        if kind == "trained":
            for parameter in controlnet.parameters():
                if bool((parameter == 0).all()):
                    nn.init.normal_(parameter, std=0.3)
        folder = tmp_path_factory.mktemp("controlnet") / kind
        controlnet.save_pretrained(folder)
        return folder

    return folder_of


def edges(n: int = 1) -> Tensor:
    return keyed_noise(5, range(n), 0, (3, 16, 16)).sigmoid()


def test_a_controlnet_of_zeros_changes_nothing(
    tiny: Tiny, controlnets: Callable[[str], Path]
) -> None:
    plain = value(load_prior(tiny("sd")))
    prior = load_prior(tiny("sd"), controlnet=controlnets("untrained"))
    torch.testing.assert_close(value(prior), plain, rtol=0, atol=0)
    torch.testing.assert_close(value(prior.with_control(edges())), plain, rtol=0, atol=0)


def test_tensors_that_a_controlnet_lacks_or_does_not_have_are_named(
    tiny: Tiny, controlnets: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(controlnets("trained"), tmp_path / "copy"))
    (path,) = folder.glob("*.safetensors")
    tensors = load_file(path)
    save_file({n: t for n, t in tensors.items() if n != "conv_in.bias"}, path, {"format": "pt"})
    with pytest.raises(PriorError, match=r"lack 1 tensors of a ControlNetModel, such as conv_in"):
        load_prior(tiny("sd"), controlnet=folder)
    save_file({**tensors, "spiral.weight": torch.zeros(1)}, path, {"format": "pt"})
    with pytest.raises(PriorError, match=r"hold 1 tensors that are not of a .*, such as spiral"):
        load_prior(tiny("sd"), controlnet=folder)


def test_a_controlnet_is_that_of_diffusers(tiny: Tiny, controlnets: Callable[[str], Path]) -> None:
    plain = value(load_prior(tiny("sd")))
    prior = load_prior(tiny("sd"), controlnet=controlnets("trained"))
    assert torch.equal(value(prior), plain)  # nothing is shown
    assert torch.equal(value(prior.with_control(edges(), 0.0)), plain)
    controlled = prior.with_control(edges(2), 0.6)
    assert not torch.allclose(value(controlled), plain, atol=1e-3)
    unet, net = prior.network.adapter.model, prior.network.controlnet  # type: ignore[union-attr]
    z = keyed_noise(0, range(2), 0, prior.latent_shape)
    hidden = prior.condition(["a red cup"] * 2).condition.tensors["encoder_hidden_states"]
    with torch.no_grad():
        down, mid = net(  # type: ignore[operator]
            z, 400, hidden, edges(2), conditioning_scale=0.6, return_dict=False
        )
        expected = unet(  # type: ignore[operator]
            z,
            400,
            hidden,
            down_block_additional_residuals=down,
            mid_block_additional_residual=mid,
        ).sample
    torch.testing.assert_close(value(controlled), expected, rtol=1e-4, atol=1e-5)


def test_one_control_image_per_prompt(tiny: Tiny, controlnets: Callable[[str], Path]) -> None:
    prior = load_prior(tiny("sd"), controlnet=controlnets("trained"))
    both = prior.with_control(edges(2))
    z, level = keyed_noise(0, range(2), 0, prior.latent_shape), prior.schedule.at_timestep(400)
    together = both.guided(["a red cup", "a blue chair"], 3.0)(z, level).v
    second = prior.with_control(edges(2)[1:]).guided("a blue chair", 3.0)
    torch.testing.assert_close(second(z[1:], level).v, together[1:], rtol=1e-3, atol=1e-4)
    assert both.generate(["a red cup", "a blue chair"], steps=2).shape == (2, 3, 16, 16)
    with pytest.raises(ValueError, match="must agree in batch size"):
        both.condition(["a cup"] * 3)


def test_a_controlnet_goes_with_images_of_the_priors_size(
    tiny: Tiny, controlnets: Callable[[str], Path]
) -> None:
    """As `match` asks for larger ones."""
    prior = load_prior(tiny("sd"), controlnet=controlnets("trained")).with_control(edges())
    z = keyed_noise(0, range(1), 0, (4, 16, 16))
    with pytest.raises(ValueError, match=r"\(16, 16\) pixels and .* \(32, 32\); .* leave it out"):
        prior.condition("a cup")(z, prior.schedule.at_timestep(400))


@pytest.mark.filterwarnings("ignore:the predictions of .* do not fit")  # untrained
def test_a_prior_with_a_controlnet_conforms(tiny: Tiny, controlnets: Callable[[str], Path]) -> None:
    prior = load_prior(tiny("sd"), controlnet=controlnets("trained"))
    check_prior(prior.with_control(edges()), ("a red cup", "a blue chair"))
    assert not any(p.requires_grad for p in prior.network.parameters())


def test_controlnets_that_do_not_fit(
    tiny: Tiny, controlnets: Callable[[str], Path], tmp_path: Path
) -> None:
    def refusal(source: str, folder: Path) -> str:
        with pytest.raises(PriorError) as caught:
            load_prior(tiny(source), controlnet=folder)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "no such folder; give one with a ControlNetModel" in refusal("sd", tmp_path / "none")
    assert "holds a UNet2DConditionModel" in refusal("sd", tiny("sd") / "unet")
    assert "a FluxPipeline takes no ControlNet" in refusal("flux", controlnets("trained"))
    assert "cross_attention_dim 32, this one has 64" in refusal("sdxl", controlnets("trained"))
    prior = load_prior(tiny("sd"), controlnet=controlnets("trained"))
    with pytest.raises(ValueError, match=r"must be \(n, 3, 16, 16\); got \(1, 3, 8, 8\)"):
        prior.with_control(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match="sd has no ControlNet; load one"):
        load_prior(tiny("sd")).with_control(edges())


def test_a_level_of_the_own_schedule_is_not_touched() -> None:
    """z reaches the network as it is, and the prediction keeps the level asked for."""
    prior = gaussian_prior("linear", "epsilon")
    z = keyed_noise(0, range(2), 0, SHAPE, torch.float64)
    level = prior.schedule.at_timestep(torch.tensor([17, 900]))
    prediction = prior.condition()(z, level)
    timesteps = torch.tensor([17.0, 900.0])
    assert torch.equal(prediction.eps, prior.network(z, timesteps))
    assert isinstance(prediction.level, NoiseLevel)
    assert torch.equal(prediction.level.alpha, level.alpha)
