import warnings
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel

from scorefield.priors.text import ClipTextConditioner
from scorefield.training.tokenizer import WORDS, make_tokenizer
from scorefield.views import VIEWS
from scorefield.world import CATEGORIES, COLORS, draw_scene


def encoder(length: int = 16, vocabulary: list[str] | None = WORDS) -> ClipTextConditioner:
    tokenizer = make_tokenizer(length=length)
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return ClipTextConditioner(tokenizer, CLIPTextModel(config), vocabulary)


@pytest.fixture(scope="module")
def text() -> ClipTextConditioner:
    return encoder()


def test_rows_follow_the_prompts(text: ClipTextConditioner) -> None:
    prompts = ["a red mushroom", "", "a blue cup", "a red mushroom"]
    hidden = text.encode(prompts).tensors["encoder_hidden_states"]
    assert hidden.shape == (4, 16, 16)
    assert torch.equal(hidden[0], hidden[3])
    assert not torch.allclose(hidden[0], hidden[2])
    for i, prompt in enumerate(prompts):
        tokens = text.tokenizer(prompt, padding="max_length", return_tensors="pt").input_ids
        with torch.no_grad():
            expected = text.model(tokens).last_hidden_state
        torch.testing.assert_close(hidden[i : i + 1], expected)
    assert not hidden.requires_grad
    assert not any(p.requires_grad for p in text.model.parameters())


def test_unknown_words_of_all_prompts_are_named_at_once(text: ClipTextConditioner) -> None:
    with pytest.raises(ValueError, match=r"'mushrom' .*; 'grean' .*It knows"):
        text.encode(["a red mushrom", "a red cup", "a grean cup"])


def test_where_there_are_many_words_the_things_are_named(text: ClipTextConditioner) -> None:
    words = [*(text.vocabulary or ()), *(f"w{i}" for i in range(99))]
    many = ClipTextConditioner(text.tokenizer, text.model, words, concepts=["cup", "chair"])
    with pytest.raises(ValueError, match=r"know 'sofa'.*It draws: cup, chair; scorefield info"):
        many.check("a sofa")
    few = ClipTextConditioner(text.tokenizer, text.model, text.vocabulary, concepts=["cup"])
    with pytest.raises(ValueError, match=r"It knows: .*mushroom"):
        few.check("a sofa")


def test_no_prompts(text: ClipTextConditioner) -> None:
    with pytest.raises(ValueError, match="at least one"):
        text.encode([])


@pytest.mark.parametrize(
    ("prompt", "unknown"),
    [
        ("a red mushrom", r"'mushrom' \(nearest: mushroom"),
        ("a grean Cup", r"'grean' \(nearest: .*green"),
        ("a red mushroom and a cup", "does not know 'and'"),
        ("A sofa, side view", "know 'sofa'"),
        ("two cups", r"'two'; 'cups' \(nearest: cup"),
    ],
)
def test_unknown_words(text: ClipTextConditioner, prompt: str, unknown: str) -> None:
    with pytest.raises(ValueError, match=unknown) as caught:
        text.encode(["a cup", prompt])
    assert "mushroom" in str(caught.value).split("It knows: ")[1]
    assert "\n" not in str(caught.value)


def test_known_words_in_any_case_and_punctuation(text: ClipTextConditioner) -> None:
    text.encode(["A photo of a Red MUSHROOM, white background!", ""])


def test_without_a_vocabulary_every_text_is_taken() -> None:
    encoder(length=32, vocabulary=None).encode(["ein Gemälde, 二 cats"])


def test_long_prompts_are_cut_with_a_warning() -> None:
    text = encoder(length=6)
    # four words fit between the start and the end
    with pytest.warns(UserWarning, match="longer than 4 tokens; dropped: 'background of a'"):
        cut = text.encode(["a red mushroom white background of a"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        short = text.encode(["a red mushroom white"])
    name = "encoder_hidden_states"
    torch.testing.assert_close(cut.tensors[name], short.tensors[name])


def test_the_tokenizer_keeps_each_word_whole() -> None:
    tokenizer = make_tokenizer()
    for word in WORDS:
        assert tokenizer.tokenize(word) == [word + "</w>"]
        assert tokenizer.tokenize(f"a {word.upper()}")[1:] == [word + "</w>"]
    assert len({tokenizer(word).input_ids[1] for word in WORDS}) == len(WORDS)
    text = "a photo of a red mushroom, side view"
    ids = tokenizer(text).input_ids
    assert [ids[0], ids[-1]] == [tokenizer.bos_token_id, tokenizer.eos_token_id]
    assert tokenizer.decode(ids, skip_special_tokens=True).replace(" ,", ",").strip() == text
    assert tokenizer.model_max_length == 16


def test_the_tokenizer_spells_other_words() -> None:
    tokenizer = make_tokenizer(["cat", "car", "cart"])
    assert tokenizer.tokenize("cat car cart") == ["cat</w>", "car</w>", "cart</w>"]
    assert "".join(tokenizer.tokenize("tracé")).endswith("</w>")
    assert tokenizer.unk_token_id not in tokenizer("tracé 二").input_ids[1:-1]


def test_the_tokenizer_survives_saving(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    again = type(tokenizer).from_pretrained(tmp_path)
    prompt = "a flat icon of an orange robot"
    assert again(prompt).input_ids == tokenizer(prompt).input_ids
    assert again.model_max_length == 16


def test_captions_of_the_world_fit(text: ClipTextConditioner) -> None:
    assert {*CATEGORIES, *COLORS, *" ".join(VIEWS).split()} <= set(WORDS)
    for index in range(500):
        caption = draw_scene(0, index).caption
        text.check(caption)
        assert len(text.tokenizer(caption).input_ids) <= text.tokenizer.model_max_length


def test_a_prior_that_knows_all_the_words_is_named() -> None:
    text = encoder(vocabulary=["a", "red"])
    with pytest.raises(ValueError, match=r"'chair'\. Use the prior shapes, which does"):
        text.check("a red chair")
    with pytest.raises(ValueError, match=r"Use the prior icons, which does"):
        text.check("a penguin")
    with pytest.raises(ValueError, match=r"Use another prior"):
        text.check("a penguin on a chair")


def test_prompts_are_kept_while_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    conditioner = encoder()
    prompts = [f"a {color} cup" for color in list(COLORS)[:4]]
    encoded: list[str] = []
    encode_one = conditioner.encode_one

    def counted(prompt: str) -> Mapping[str, torch.Tensor]:
        encoded.append(prompt)
        return encode_one(prompt)

    monkeypatch.setattr(conditioner, "encode_one", counted)
    monkeypatch.setattr("scorefield.priors.text._CACHE", 3 * 16 * 16 * 4 + 1)  # bytes of three
    whole = conditioner.encode(prompts)  # more than there is room for, at once
    assert encoded == prompts and len(conditioner._cache) == 3
    conditioner.encode([prompts[1], prompts[0], prompts[1]])  # the first was let go, then the third
    conditioner.encode([prompts[3], prompts[2]])
    assert encoded == [*prompts, prompts[0], prompts[2]]
    for i, prompt in enumerate(prompts):
        row = conditioner.encode([prompt]).tensors["encoder_hidden_states"]
        assert torch.equal(row, whole.tensors["encoder_hidden_states"][i : i + 1])
