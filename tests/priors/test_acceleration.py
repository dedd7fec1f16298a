"""Compiled networks, and convolutions with their channels last, compute what the plain ones do."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from torch._dynamo.utils import counters

from scorefield.acceleration import as_written
from scorefield.priors.energy.line_integral import asymmetry
from scorefield.priors.features.extraction import extract_features
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.loading import PriorError, load_prior
from scorefield.priors.noise import keyed_noise

Tiny = Callable[[str], Path]


@pytest.fixture
def backend() -> Iterator[None]:
    """Graphs are captured, with their gradients, and run without code being generated."""
    torch._dynamo.reset()
    with torch.compiler.set_stance("default", force_backend="aot_eager"):
        yield
    torch._dynamo.reset()


def compiled_graphs() -> int:
    return int(counters["stats"]["unique_graphs"])


def latents(prior: FrozenPrior, n: int = 2) -> torch.Tensor:
    return keyed_noise(0, range(n), 0, prior.latent_shape)


def value(prior: FrozenPrior, n: int = 2) -> torch.Tensor:
    return prior.condition("a cup")(latents(prior, n), prior.schedule.at_timestep(400)).eps


def adjoint(prior: FrozenPrior) -> torch.Tensor:
    """J^T eps of the network's eps, and J^T 1, from one graph."""
    z = latents(prior).requires_grad_()
    level = prior.schedule.at_timestep(400)
    eps = prior.with_network_gradient().condition("a cup")(z, level).eps
    (first,) = torch.autograd.grad(eps, z, eps.detach(), retain_graph=True)
    (second,) = torch.autograd.grad(eps, z, torch.ones_like(eps))
    return torch.stack([first, second])


def seen(prior: FrozenPrior) -> torch.Tensor:
    """Of a layer, by a hook."""
    images = torch.rand(1, 3, prior.image_size, prior.image_size, generator=torch.Generator())
    level = prior.schedule.at_timestep(400)
    return extract_features(prior, images, ["mid"], level, ensemble=1)["mid"]


def rotation(prior: FrozenPrior) -> torch.Tensor:
    """By second derivatives."""
    denoiser = prior.with_network_gradient().condition("a cup")
    return asymmetry(denoiser, latents(prior, 1), prior.schedule.at_timestep(400), probes=1)


@pytest.mark.slow
@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("name", ["sd", "sdxl", "if"])
def test_a_compiled_network_is_the_plain_one(tiny: Tiny, name: str) -> None:
    plain = load_prior(tiny(name))
    before = compiled_graphs()
    fast = load_prior(tiny(name), compile=True, low_memory=True)
    between = compiled_graphs()
    torch.testing.assert_close(value(fast), value(plain), rtol=1e-4, atol=1e-5)
    after = compiled_graphs()
    assert before < between < after  # the trial, and the network
    # what differentiates it or looks into it sees it as it is written
    for look in (adjoint, seen, rotation):
        torch.testing.assert_close(look(fast), look(plain), rtol=1e-4, atol=1e-5)
    assert compiled_graphs() == after


@pytest.mark.slow
def test_the_code_generated_for_a_cpu_computes_the_same(tiny: Tiny, tmp_path: Path) -> None:
    """One block down and one up: the compiler of C++ takes its time for each of their kernels."""
    if shutil.which("g++") is None:
        pytest.skip("there is no C++ compiler")
    folder = shutil.copytree(tiny("sd"), tmp_path / "small")
    shutil.rmtree(folder / "unet")
    network = tiny_models.unet(
        block_out_channels=(8,),
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        mid_block_type=None,
    )
    network.save_pretrained(folder / "unet")
    before = compiled_graphs()
    fast = load_prior(folder, compile=True)
    torch.testing.assert_close(value(fast), value(load_prior(folder)), rtol=1e-4, atol=1e-5)
    assert compiled_graphs() > before


def test_a_compiler_that_does_not_work_is_told_before_weights_are_read(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Any) -> Any:
        raise RuntimeError("no compiler\nfound")

    monkeypatch.setattr(torch, "compile", broken)
    monkeypatch.setattr("scorefield.priors.loading.pipeline_class", None)
    with pytest.raises(PriorError, match=r"\(no compiler\).*leave compile \(--compile\) out$"):
        load_prior(tiny("sd"), compile=True)


@pytest.mark.parametrize("name", ["sd", "sd3"])
def test_channels_last_are_the_same_channels(tiny: Tiny, name: str) -> None:
    plain, last = load_prior(tiny(name)), load_prior(tiny(name), channels_last=True)
    for look in (value, adjoint):
        torch.testing.assert_close(look(last), look(plain), rtol=1e-4, atol=1e-5)
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(last.encode(images), plain.encode(images), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(last.decode(latents(last)), plain.decode(latents(last)))
    for module in (last.network, last.codec.vae):  # type: ignore[attr-defined]
        convolutions = [m.weight for m in module.modules() if isinstance(m, torch.nn.Conv2d)]
        assert convolutions
        assert all(w.is_contiguous(memory_format=torch.channels_last) for w in convolutions)


def test_as_written_is_left_as_it_was_entered() -> None:
    """A function that was compiled is compiled again after the block, not eager for good."""
    torch._dynamo.reset()
    before = compiled_graphs()
    double = torch.compile(lambda x: 2 * x, backend="eager")
    with as_written():
        double(torch.ones(2))
        assert compiled_graphs() == before
    double(torch.ones(2))
    assert compiled_graphs() == before + 1
