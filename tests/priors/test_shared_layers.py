"""Layers that see no prompt run once per noisy sample, and nothing else changes."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import accelerate
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from untrained import untrained_views

from scorefield.acceleration import layers_before_text, once_per_sample
from scorefield.perception.classification.error_measure import ErrorMeasure
from scorefield.perception.classification.paired_errors import PairedErrors, Request
from scorefield.priors import FrozenPrior, load_prior
from scorefield.priors.condition import sharing_layers


@pytest.fixture(scope="module")
def prior() -> FrozenPrior:
    return load_prior("shapes")


Watch = Callable[[nn.Module], list[int]]


@pytest.fixture
def rows() -> Iterator[Watch]:
    """From a layer to how many rows it puts out, call by call."""
    with ExitStack() as hooks:

        def watch(layer: nn.Module) -> list[int]:
            seen: list[int] = []

            def look(layer: nn.Module, args: object, output: Tensor | tuple[Tensor, ...]) -> None:
                seen.append(len(output if isinstance(output, Tensor) else output[0]))

            hooks.callback(layer.register_forward_hook(look).remove)
            return seen

        yield watch


def asked(prior: FrozenPrior, of: Tensor) -> tuple[Tensor, Tensor]:
    """eps at rows of the samples ``of``, each under another prompt: layers shared, and not."""
    prompts = ["a red mushroom", "a duck", "", "a blue chair", "a cup", "a tree"]
    denoiser = prior.condition([prompts[i % len(prompts)] for i in range(len(of))])
    samples = int(of.max()) + 1
    z = torch.randn(samples, *prior.latent_shape, generator=torch.Generator().manual_seed(0))
    level = prior.schedule.at_fraction(torch.linspace(0.1, 0.9, samples))[of]
    with sharing_layers(denoiser, of):
        shared = denoiser(z[of], level).eps
    return shared, denoiser(z[of], level).eps


@pytest.mark.parametrize("of", [[0, 0], [0, 1, 0, 1], [1, 0, 0, 1, 1, 2], [0, 1, 2], [0]])
@pytest.mark.parametrize("name", ["shapes", "sd"])
def test_values_are_those_of_the_whole_batch(
    name: str, of: list[int], tiny_sd: Path, prior: FrozenPrior
) -> None:
    shared, whole = asked(prior if name == "shapes" else load_prior(tiny_sd), torch.tensor(of))
    torch.testing.assert_close(shared, whole, rtol=0, atol=1e-5)


def test_weights_that_come_when_they_are_needed_do(tiny_sd: Path) -> None:
    """accelerate keeps them elsewhere, and leaves the "meta" device in their place."""
    prior = load_prior(tiny_sd)
    accelerate.cpu_offload(prior.model, torch.device("cpu"))
    assert next(prior.model.parameters()).device.type == "meta"
    denoiser = prior.condition(["a duck", "a cup"])
    z = torch.randn(1, *prior.latent_shape)
    level = prior.schedule.at_fraction(torch.tensor([0.5])).expand(2)
    with once_per_sample(prior.model, torch.tensor([0, 0])):
        shared = denoiser(z.expand(2, -1, -1, -1), level).eps
    whole = denoiser(z.expand(2, -1, -1, -1), level).eps
    torch.testing.assert_close(shared, whole, rtol=0, atol=1e-5)


def test_what_sees_no_prompt_runs_once_and_others_hear_of_every_row(
    prior: FrozenPrior, rows: Watch
) -> None:
    model = prior.model
    attention = model.down_blocks[1].attentions[0].transformer_blocks[0]
    layers = (
        model.down_blocks[0].resnets[0],
        model.down_blocks[0],
        attention.attn1,
        attention.attn2,
    )
    inside, block, own, cross = [rows(layer) for layer in layers]
    asked(prior, torch.tensor([0, 0, 0, 1, 1, 1]))
    assert inside == [2, 6]
    assert block == own == cross == [6, 6]
    assert not any(layer._forward_pre_hooks for layer in layers_before_text(model))


def test_guidance_shares_them(prior: FrozenPrior, rows: Watch) -> None:
    inside = rows(prior.model.down_blocks[0].resnets[0])
    z = torch.randn(3, *prior.latent_shape)
    prior.guided("a duck", 3.0)(z, prior.schedule.at_fraction(torch.tensor(0.5)))
    assert inside == [3]


def test_classification_shares_them(prior: FrozenPrior, rows: Watch) -> None:
    inside = rows(prior.model.down_blocks[0].resnets[0])
    x = torch.randn(1, *prior.latent_shape)
    denoiser = prior.condition(["a duck", "a cup", "a tree"])
    measure = ErrorMeasure()
    together = PairedErrors(denoiser, x, measure, batch_size=8)
    alone = PairedErrors(denoiser, x, measure, batch_size=1)
    request = [Request(0, (0, 1, 2), 0, 4)]
    np.testing.assert_allclose(together.evaluate(request)[0], alone.evaluate(request)[0], rtol=1e-5)
    assert inside[:2] == [3, 2]  # rows 0 to 7 hold three of the four draws


def test_batches_of_another_length_and_other_threads_are_left_alone(
    prior: FrozenPrior, rows: Watch
) -> None:
    inside, denoiser = rows(prior.model.down_blocks[0].resnets[0]), prior.condition("a duck")
    level = prior.schedule.at_fraction(torch.tensor(0.5))

    def ask(rows: int) -> None:
        denoiser(torch.randn(rows, *prior.latent_shape), level)

    with once_per_sample(prior.model, torch.tensor([0, 0, 1, 1])):
        ask(2)
        ask(3)
        thread = threading.Thread(target=ask, args=[4])
        thread.start()
        thread.join()
        ask(4)
    assert inside == [2, 3, 4, 2]


def test_networks_that_hear_of_the_prompt_earlier_share_nothing(
    tiny: Callable[[str], Path], prior: FrozenPrior
) -> None:
    assert layers_before_text(load_prior(tiny("sdxl")).model) == []
    assert layers_before_text(load_prior(tiny("sd3")).model) == []
    assert len(layers_before_text(load_prior("digits").model)) == 0
    edited = load_prior("shapes").model
    for layer in edited.down_blocks[1].attentions[0].transformer_blocks:
        layer.attn1.set_processor(lambda *args, **kwargs: args[1])
    assert len(layers_before_text(edited)) == len(layers_before_text(prior.model)) - 2


def test_a_graph_through_the_network_shares_nothing(prior: FrozenPrior, rows: Watch) -> None:
    inside = rows(prior.model.down_blocks[0].resnets[0])
    z = torch.randn(1, *prior.latent_shape, requires_grad=True)
    guided = prior.with_network_gradient().guided("a duck", 3.0)
    guided(z, prior.schedule.at_fraction(torch.tensor(0.5))).eps.sum().backward()
    assert inside == [2] and z.grad is not None


def test_networks_that_hear_of_the_camera_share_nothing(tmp_path: Path) -> None:
    """Rows of one noisy sample may be seen by different cameras, which every layer is told."""
    assert layers_before_text(load_prior(untrained_views(tmp_path / "views")).model) == []
