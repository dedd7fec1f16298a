"""Prompt-to-prompt: alignments, identities, and that the network is left as it was."""

import pytest
import torch

from scorefield.priors import FrozenPrior, load_prior
from scorefield.priors.editing import (
    AttentionEdit,
    ddim_generate,
    ddim_invert,
    edit_friendly_invert,
    prompt_to_prompt,
)
from scorefield.priors.editing.prompt_to_prompt import edited_attention, tokenizer_of, unet_of
from scorefield.priors.noise import keyed_noise
from scorefield.priors.sampling import sample
from scorefield.training.tokenizer import make_tokenizer

RED, BLUE = "a red mushroom", "a blue mushroom"
WHOLE = {"cross_share": 1, "self_share": 1}


@pytest.fixture(scope="module")
def prior() -> FrozenPrior:
    return load_prior("shapes")


class Letters:
    """A tokenizer of one token per letter: words of several tokens."""

    model_max_length = 12

    def __call__(self, word, add_special_tokens):
        assert not add_special_tokens
        return type("Encoding", (), {"input_ids": [ord(letter) for letter in word]})


def pairs_of(mapping: torch.Tensor) -> dict[int, int]:
    """target: source of a mapping with one source per target at most."""
    return {int(b): int(a) for a, b in mapping.nonzero()}


def test_the_tokens_of_words_are_those_of_the_prompt() -> None:
    tokenizer = make_tokenizer()
    edit = AttentionEdit.replacement(tokenizer, RED, BLUE)
    ids = tokenizer(RED).input_ids
    words = [tokenizer(word, add_special_tokens=False).input_ids for word in RED.split()]
    assert ids[1:-1] == [token for word in words for token in word]
    assert torch.equal(edit.mapping, torch.eye(tokenizer.model_max_length))
    assert bool((edit.taken == 1).all())


def test_replacement_shares_out_words_of_unequal_length() -> None:
    edit = AttentionEdit.replacement(Letters(), "a xy b", "a z b")
    # begin, a, x, y, b, end, paddings -> begin, a, z, b, end, paddings
    assert edit.mapping[2, 2] == 1 and edit.mapping[3, 2] == 1
    assert edit.mapping[4, 3] == 1 and edit.mapping[5, 4] == 1 and edit.mapping[11, 10] == 1
    split = AttentionEdit.replacement(Letters(), "a z b", "a xy b")
    assert split.mapping[2].tolist()[2:4] == [0.5, 0.5]
    for one in (edit, split):
        assert torch.equal(one.mapping.sum(dim=1), torch.ones(12))


def test_refinement_aligns_what_both_prompts_have() -> None:
    edit = AttentionEdit.refinement(Letters(), "a c", "a b c d")
    expected = {0: 0, 1: 1, 3: 2, 5: 3, 6: 4, 7: 5, 8: 6, 9: 7, 10: 8, 11: 9}
    assert pairs_of(edit.mapping) == expected
    assert edit.taken.tolist() == [1, 1, 0, 1, 0, 1, 1, 1, 1, 1, 1, 1]
    shorter = AttentionEdit.refinement(Letters(), "a b c", "a c")
    assert pairs_of(shorter.mapping)[2] == 3
    assert shorter.taken.tolist() == [1] * 11 + [0]


def test_weights_reach_every_token_of_the_word() -> None:
    edit = AttentionEdit.reweighting(Letters(), "ab c ab", {"ab": -2, "c": 0.5})
    assert edit.weights.tolist() == [1, -2, -2, 0.5, -2, -2, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("scale", [1, 3])
def test_the_source_is_the_sample_and_its_own_attention_reproduces_it(prior, scale) -> None:
    edit = AttentionEdit.replacement(tokenizer_of(prior), RED, RED, **WHOLE)
    source, edited = prompt_to_prompt(prior, edit, guidance=scale, steps=3, seed=4, items=(1,))
    assert torch.equal(source, edited)
    guided, noise = prior.guided(RED, scale), keyed_noise(4, [1], 0, prior.latent_shape)
    expected = ddim_generate(guided, noise, steps=3)
    # our softmax and torch's fused one differ in rounding
    torch.testing.assert_close(source, expected, rtol=0, atol=2e-5)


def test_weight_one_is_the_identity_and_other_weights_are_not(prior) -> None:
    tokenizer = tokenizer_of(prior)
    same = AttentionEdit.reweighting(tokenizer, RED, {"red": 1}, **WHOLE)
    source, edited = prompt_to_prompt(prior, same, steps=2)
    assert torch.equal(source, edited)
    more = AttentionEdit.reweighting(tokenizer, RED, {"red": 4}, **WHOLE)
    again, edited = prompt_to_prompt(prior, more, steps=2)
    assert torch.equal(source, again)
    assert (edited - source).abs().max() > 1e-2


def test_without_shares_it_is_sampling_both_prompts_from_one_noise(prior) -> None:
    edit = AttentionEdit.replacement(tokenizer_of(prior), RED, BLUE, cross_share=0, self_share=0)
    source, edited = prompt_to_prompt(prior, edit, steps=2, seed=7)
    for prompt, latents in ((RED, source), (BLUE, edited)):
        expected = sample(prior.guided(prompt), prior.latent_shape, steps=2, seed=7)
        torch.testing.assert_close(latents, expected, rtol=0, atol=1e-4)


def test_the_more_attention_is_taken_the_closer_the_edit(prior) -> None:
    distances = []
    for share in (0, 1):
        edit = AttentionEdit.replacement(
            tokenizer_of(prior),
            "a red mushroom",
            "a red lamp",
            cross_share=share,
            self_share=share,
        )
        source, edited = prompt_to_prompt(prior, edit, steps=3)
        distances.append(float((edited - source).square().mean()))
    assert distances[1] < 0.7 * distances[0]


def test_the_network_is_left_as_it_was(prior) -> None:
    z = keyed_noise(0, [0], 0, prior.latent_shape)
    level = prior.schedule.at_fraction(0.7)
    denoiser = prior.condition(RED)
    before, processors = denoiser(z, level).v, unet_of(prior).attn_processors
    edit = AttentionEdit.replacement(tokenizer_of(prior), RED, BLUE, **WHOLE)
    with edited_attention(prior, edit) as pairs:
        pairs(torch.cat([z, z]), level)
        assert torch.equal(denoiser(z, level).v, before)
        with pytest.raises(ValueError, match="computes its attention by _EditedProcessor"):
            with edited_attention(prior, edit):
                pass
    with pytest.raises(KeyError):
        with edited_attention(prior, edit):
            raise KeyError
    after = unet_of(prior).attn_processors
    assert after.keys() == processors.keys()
    assert all(after[name] is processors[name] for name in processors)
    assert torch.equal(denoiser(z, level).v, before)


def test_shares_are_counted_from_the_noisy_end(prior) -> None:
    edit = AttentionEdit.replacement(
        tokenizer_of(prior), RED, BLUE, cross_share=0.5, self_share=0.2
    )
    z = keyed_noise(0, [0, 1], 0, prior.latent_shape)
    with edited_attention(prior, edit) as pairs:
        plain = prior.condition([RED, BLUE])
        changed = [
            not torch.equal(pairs(z, level).v, plain(z, level).v)
            for level in map(prior.schedule.at_fraction, (0.95, 0.6, 0.4))
        ]
    assert changed == [True, True, False]


def test_items_do_not_depend_on_the_batch(prior) -> None:
    edit = AttentionEdit.replacement(tokenizer_of(prior), RED, BLUE)
    _, both = prompt_to_prompt(prior, edit, steps=2, items=(3, 5))
    _, one = prompt_to_prompt(prior, edit, steps=2, items=(5,))
    torch.testing.assert_close(one, both[1:], rtol=0, atol=1e-4)


def test_a_image_that_exists_is_the_source_through_its_noise_maps(prior) -> None:
    x = sample(prior.guided(RED), prior.latent_shape, steps=4)
    edit = AttentionEdit.refinement(tokenizer_of(prior), RED, BLUE)
    maps = edit_friendly_invert(prior.guided(RED, 2), x, steps=4)
    for skip in (0, 1):
        source, edited = prompt_to_prompt(prior, edit, guidance=2, noise_maps=maps, skip=skip)
        torch.testing.assert_close(source, x, rtol=0, atol=1e-4)
        assert (edited - x).abs().max() > 0.1
    start = ddim_invert(prior.condition(RED), x, steps=4)
    source, _ = prompt_to_prompt(prior, edit, guidance=1, steps=4, start=start)
    assert source.shape == x.shape


def test_refusals(prior) -> None:
    tokenizer = tokenizer_of(prior)
    with pytest.raises(ValueError, match="has 3 words, 'a cup' has 2; use refinement"):
        AttentionEdit.replacement(tokenizer, RED, "a cup")
    with pytest.raises(ValueError, match="has 12 tokens, the encoder takes 10; shorten"):
        AttentionEdit.refinement(Letters(), "a", "a" * 12)
    with pytest.raises(ValueError, match="'green' cannot be weighted; the words of the prompt are"):
        AttentionEdit.reweighting(tokenizer, RED, {"green": 2})
    with pytest.raises(ValueError, match="weight of 'red' must be finite"):
        AttentionEdit.reweighting(tokenizer, RED, {"red": float("nan")})
    with pytest.raises(ValueError, match=r"self_share must lie in \[0, 1\], got 2"):
        AttentionEdit.refinement(tokenizer, RED, BLUE, self_share=2)
    edit = AttentionEdit.replacement(tokenizer, RED, BLUE)
    z = torch.zeros(1, *prior.latent_shape)
    maps = edit_friendly_invert(prior.condition(RED), z, steps=2)
    with pytest.raises(ValueError, match="give one of them"):
        prompt_to_prompt(prior, edit, start=z, noise_maps=maps)
    with pytest.raises(ValueError, match="skip = 1 leaves out"):
        prompt_to_prompt(prior, edit, skip=1)
    level = prior.schedule.at_fraction(0.9)
    with edited_attention(prior, edit) as pairs, pytest.raises(ValueError, match="got 1 rows"):
        pairs(z, level)
    foreign = AttentionEdit.replacement(Letters(), "a", "b")
    with edited_attention(prior, foreign) as pairs, pytest.raises(ValueError, match="12 tokens"):
        prior.text.check = lambda prompt: None
        try:
            pairs(torch.cat([z, z]), level)
        finally:
            del prior.text.check


def test_a_prior_without_a_unet_is_refused(prior) -> None:
    bare = FrozenPrior.__new__(FrozenPrior)
    bare.name, bare.network = "bare", torch.nn.Linear(1, 1)
    with pytest.raises(ValueError, match="bare has no UNet2DConditionModel"):
        unet_of(bare)
    bare.text = object()
    with pytest.raises(ValueError, match="bare reads no text"):
        tokenizer_of(bare)
