"""The transformer: against torch's own decoder, who sees whom, its sizes and refusals."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from scorefield.control.networks.settings import TransformerSettings
from scorefield.control.networks.transformer import Transformer
from scorefield.control.networks.unet1d import sinusoids

SMALL = TransformerSettings(observations=3, width=16, layers=2, heads=2, causal=True)


def network(settings: TransformerSettings = SMALL, std: float = 0.3) -> Transformer:
    """With weights large enough that every token matters."""
    torch.manual_seed(0)
    made = Transformer(5, 2, 2, 12, settings).eval()
    with torch.no_grad():
        for weights in made.parameters():
            weights.normal_(0, std)
    return made


def inputs(batch: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    chunk = torch.randn(batch, 5, 2, generator=generator)
    return chunk, torch.linspace(0, 0.99, batch), torch.randn(batch, 12, generator=generator)


@torch.no_grad()
def test_what_is_observed_matters_before_it_is_trained() -> None:
    torch.manual_seed(0)
    made = Transformer(9, 2, 2, 8, TransformerSettings()).eval()
    chunk, time, condition = torch.randn(64, 9, 2), torch.rand(64), 2 * torch.rand(64, 8) - 1

    def part() -> float:
        """How much the output changes with the observations, in parts of how much it varies."""
        out = made(chunk, time, condition)
        return float((made(chunk, time, condition.roll(1, 0)) - out).std() / out.std())

    assert part() > 0.03
    # as `TransformerForDiffusion` begins
    for module in made.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
    assert part() < 0.003


@torch.no_grad()
def test_it_is_torchs_decoder_on_the_papers_tokens() -> None:
    ours = network()
    chunk, time, condition = inputs()
    decoder = nn.TransformerDecoder(
        nn.TransformerDecoderLayer(
            16, 2, 64, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        ),
        2,
    ).eval()
    for theirs, layer, remember in zip(decoder.layers, ours.layers, ours.remember, strict=True):
        pairs = [
            (theirs.self_attn.in_proj_weight, layer.among.weight),
            (theirs.self_attn.in_proj_bias, layer.among.bias),
            (
                theirs.multihead_attn.in_proj_weight,
                torch.cat([layer.ask.weight, remember.weight]),
            ),
            (theirs.multihead_attn.in_proj_bias, torch.cat([layer.ask.bias, remember.bias])),
        ]
        modules = [
            (theirs.self_attn.out_proj, layer.among_out),
            (theirs.multihead_attn.out_proj, layer.ask_out),
            (theirs.linear1, layer.map[0]),
            (theirs.linear2, layer.map[3]),
            (theirs.norm1, layer.norms[0]),
            (theirs.norm2, layer.norms[1]),
            (theirs.norm3, layer.norms[2]),
        ]
        for to, own in modules:
            pairs += [(to.weight, own.weight), (to.bias, own.bias)]
        for to, own in pairs:
            to.copy_(own)
    tokens = torch.cat(
        [sinusoids(time * 100, 16)[:, None], ours.observe(condition.unflatten(1, (3, 4)))], dim=1
    )
    memory = ours.encode(tokens + ours.seen_places)
    rows, columns = torch.meshgrid(torch.arange(5), torch.arange(4), indexing="ij")
    never = float("-inf")
    out = decoder(
        ours.enter(chunk) + ours.places,
        memory,
        tgt_mask=torch.full((5, 5), never).triu(1),
        memory_mask=torch.zeros(5, 4).masked_fill(rows < columns - 1, never),
    )
    expected = ours.leave(ours.norm(out))
    assert torch.allclose(ours(chunk, time, condition), expected, atol=1e-4)


@torch.no_grad()
def test_actions_see_no_later_action_and_no_later_observation() -> None:
    ours = network()
    chunk, time, condition = inputs()
    before = ours(chunk, time, condition)
    chunk = chunk.clone()
    chunk[:, 3] += 1
    moved = (ours(chunk, time, condition) - before).abs().amax(dim=(0, 2)) > 1e-5
    assert moved.tolist() == [False, False, False, True, True]
    later = condition.clone()
    later[:, 8:] += 1  # the third observation
    moved = (ours(inputs()[0], time, later) - before).abs().amax(dim=(0, 2)) > 1e-5
    assert moved.tolist() == [False, False, True, True, True]
    moved = (ours(inputs()[0], time + 0.1, condition) - before).abs().amax(dim=(0, 2)) > 1e-5
    assert moved.all()


@torch.no_grad()
def test_all_actions_see_all_where_it_is_not_causal() -> None:
    ours = network(replace(SMALL, causal=False))
    chunk, time, condition = inputs()
    before = ours(chunk, time, condition)
    last = chunk.clone()
    last[:, 4] += 1
    later = condition.clone()
    later[:, 8:] += 1
    for found in (ours(last, time, condition), ours(chunk, time, later)):
        assert ((found - before).abs().amax(dim=(0, 2)) > 1e-5).all()


@torch.no_grad()
def test_a_prepared_condition_gives_the_same() -> None:
    ours = network()
    chunk, time, condition = inputs()
    prepared = ours.prepare(condition)
    for shift in (0.0, 0.01):
        expected = ours(chunk, time + shift, condition)
        assert torch.equal(expected, ours.denoise(chunk, time + shift, prepared))


def test_the_published_size() -> None:
    ours = Transformer(10, 2, 2, 40, TransformerSettings.paper())
    assert sum(p.numel() for p in ours.parameters()) / 1e6 == pytest.approx(9, abs=0.1)


def test_every_weight_learns() -> None:
    ours = network().train()
    ours(*inputs()).square().sum().backward()
    for name, weights in ours.named_parameters():
        assert weights.grad is not None and float(weights.grad.abs().max()) > 0, name


def test_dropout_is_of_training_alone() -> None:
    ours = network(TransformerSettings(3, 16, 2, 2, dropout=0.5))
    assert torch.equal(ours(*inputs()), ours(*inputs()))
    ours.train()
    assert not torch.equal(ours(*inputs()), ours(*inputs()))


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="12 numbers cannot be cut into 5"):
        Transformer(5, 2, 2, 12, TransformerSettings(observations=5))
    with pytest.raises(ValueError, match="multiple of the 3 heads; got 16"):
        TransformerSettings(width=16, heads=3)
    with pytest.raises(ValueError, match="dropout must lie"):
        TransformerSettings(dropout=1.0)
    with pytest.raises(ValueError, match="must be 1 or more"):
        TransformerSettings(layers=0)


@torch.no_grad()
def test_fourier_features_of_an_observation_are_among_its_keys_and_values() -> None:
    ours = network(replace(SMALL, frequencies=5, bandwidth=0.5))
    plain = network(SMALL)
    plain.load_state_dict({n: ours.state_dict()[n] for n in plain.state_dict()})
    _, _, condition = inputs()
    assert ours.fourier is not None
    more = ours.prepare(condition) - plain.prepare(condition)  # (batch, layers, observations, ...)
    for place, observation in enumerate(condition.unflatten(1, (3, 4)).unbind(1)):
        angles = observation @ ours.fourier.rates
        told = ours.recall(torch.cat([angles.sin(), angles.cos()], dim=1))
        torch.testing.assert_close(more[:, :, place].flatten(1), told, atol=1e-5, rtol=1e-4)
