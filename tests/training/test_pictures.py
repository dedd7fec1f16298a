"""Training on a folder of captioned pictures: reading, views, warm starts, a whole tiny run."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from untrained import narrow_codec, narrow_denoiser, untrained_shapes

from scorefield.priors import load_prior
from scorefield.training import pictures as recipe
from scorefield.training.folder import (
    BACKGROUNDS,
    CaptionedImage,
    image_views,
    read_folder,
    words_of,
)
from scorefield.training.icon_concepts import CONCEPTS
from scorefield.training.pictures import train_pictures
from scorefield.training.recipes import ICON_CONCEPTS, PictureSettings
from scorefield.training.settings import TrainingSettings
from scorefield.training.text_to_image import TextToImageTask
from scorefield.training.tokenizer import make_tokenizer
from scorefield.training.warm_start import WarmStart

TINY = TrainingSettings(steps=2, batch_size=2, warmup=1)


def dot(path: Path, color: str = "red", mode: str = "RGBA") -> Path:
    """A square of 20 pixels off the centre of a picture of 64."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new(mode, (64, 64))
    picture.paste(color, (10, 30, 30, 50))
    picture.save(path)
    return path


def test_captions_of_a_metadata_file(tmp_path: Path) -> None:
    for name in "abc":
        dot(tmp_path / f"{name}.png")
    lines = [
        {"file_name": "b.png", "text": ["a fox", "an icon of a fox"]},
        {"file_name": "a.png", "text": "an owl", "style": "flat"},
        {"file_name": "c.png", "text": ""},
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    pictures = read_folder(tmp_path)
    assert [p.path.name for p in pictures] == ["a.png", "b.png", "c.png"]
    assert [p.captions for p in pictures] == [("an owl",), ("a fox", "an icon of a fox"), ()]


def test_captions_beside_pictures_and_of_folders(tmp_path: Path) -> None:
    dot(tmp_path / "red_fox" / "1.png")
    dot(tmp_path / "owls" / "2.png")
    (tmp_path / "owls" / "2.txt").write_text("an owl\nan icon of an owl\n")
    captions = {p.path.name: p.captions for p in read_folder(tmp_path)}
    assert captions == {"1.png": ("red fox",), "2.png": ("an owl", "an icon of an owl")}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("{", "line 1: give a line such as"),
        ('{"file_name": "a.png"}', "line 1: give a line such as"),
        ('{"file_name": "b.png", "text": "a fox"}', "line 1: no image b.png"),
        ('{"file_name": "a.png", "text": 3}', "line 1: text must be"),
        ('{"file_name": "a.png", "text": ""}', "no captions"),
        ('{"file_name": 3, "text": "a fox"}', "line 1: no image 3"),
        ("[" * 100_000, "line 1: give a line such as"),
        ("\xe6", "metadata.jsonl: cannot be read"),
        (None, "a.png: no caption; write it into a.txt"),
    ],
)
def test_what_is_wrong_with_a_folder(tmp_path: Path, metadata: str | None, message: str) -> None:
    dot(tmp_path / "a.png")
    if metadata is not None:
        (tmp_path / "metadata.jsonl").write_text(metadata, encoding="latin-1")
    with pytest.raises(ValueError, match=message):
        read_folder(tmp_path)


def test_views_show_the_whole_drawing_on_the_background_they_name(tmp_path: Path) -> None:
    picture = CaptionedImage(dot(tmp_path / "a.png", "#ff0000"), ("a square",))
    views, captions = image_views(picture, 60, 64, np.random.default_rng(0))
    assert views.shape == (60, 64, 64, 3)
    for view, caption in zip(views.numpy().astype(int), captions, strict=True):
        red = (np.abs(view - (255, 0, 0)).sum(-1) < 30).sum()
        # 80 to 100 percent of each side, less a soft border of a pixel on each side
        assert (0.8 * 64 - 3) ** 2 <= red <= 64**2
        named = caption.removeprefix("a square").removeprefix(", ").removesuffix(" background")
        assert caption == "a square" or named in BACKGROUNDS
        corner = BACKGROUNDS[named or "white"]
        if red < 63**2:
            edges = np.concatenate([view[0], view[-1], view[:, 0], view[:, -1]])
            assert (np.abs(edges - corner).sum(-1) < 3).any()


def test_a_photograph_fills_its_views(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 64, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    picture = CaptionedImage(tmp_path / "a.png", ("noise",))
    views, captions = image_views(picture, 2, 64, np.random.default_rng(0), mirror=False)
    assert captions == ["noise", "noise"]
    middle = Image.fromarray(pixels).crop((12, 0, 52, 40)).convert("RGBA")
    expected = np.asarray(middle.resize((64, 64), Image.Resampling.LANCZOS).convert("RGB"))
    assert np.array_equal(views[0].numpy(), expected)


def test_a_warm_start_of_the_same_kind_is_the_prior(untrained: Path) -> None:
    start = WarmStart(untrained)
    tokenizer = make_tokenizer()
    module = start.denoiser(narrow_denoiser(tokenizer), tokenizer)
    for name, weight in start.unet.state_dict().items():
        assert torch.equal(module.unet.state_dict()[name], weight)
    x = torch.rand(1, 3, 64, 64)
    ours, theirs = (c.encode(x).latent_dist for c in (start.codec(narrow_codec()), start.vae))
    torch.testing.assert_close(ours.mean, theirs.mean)
    torch.testing.assert_close(ours.logvar, theirs.logvar)


def test_more_channels_keep_the_codes_of_the_prior(untrained: Path) -> None:
    start = WarmStart(untrained)
    codec = start.codec(narrow_codec(8))
    x = torch.rand(2, 3, 64, 64)
    ours, theirs = (c.encode(x).latent_dist for c in (codec, start.vae))
    torch.testing.assert_close(ours.mean[:, :4], theirs.mean)
    torch.testing.assert_close(ours.logvar[:, :4], theirs.logvar)


def test_a_prior_of_another_kind_is_no_start() -> None:
    with pytest.raises(ValueError, match="digits: has no autoencoder, U-Net and CLIP"):
        WarmStart("digits")


def test_words_keep_their_vectors(untrained: Path) -> None:
    start = WarmStart(untrained)
    tokenizer = make_tokenizer(["fox", "mushroom"])
    module = start.denoiser(narrow_denoiser(tokenizer), tokenizer)
    ours = module.text_encoder.get_input_embeddings().weight
    theirs = start.text.model.get_input_embeddings().weight
    word = "mushroom</w>"
    mine = tokenizer.convert_tokens_to_ids(word)
    assert torch.equal(
        ours[mine], theirs[start.text.tokenizer.convert_tokens_to_ids(word)].to(ours)
    )
    assert not torch.equal(ours[tokenizer.convert_tokens_to_ids("fox</w>")], ours[mine])


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return untrained_shapes(tmp_path_factory.mktemp("start") / "tiny")


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Narrow networks are trained, and no images made of them on the way."""
    monkeypatch.setattr(recipe, "make_codec", narrow_codec)
    monkeypatch.setattr(recipe, "TextToLatents", narrow_denoiser)
    monkeypatch.setattr(TextToImageTask, "preview", lambda self, step: None)


@pytest.mark.usefixtures("narrow")
def test_a_folder_becomes_a_prior(tmp_path: Path, untrained: Path) -> None:
    dot(tmp_path / "data" / "fox" / "1.png")
    dot(tmp_path / "data" / "owl" / "1.png", "blue")
    pictures = PictureSettings(views=2, channels=6, start=untrained)

    def train(resume: bool) -> Path:
        return train_pictures(
            tmp_path / "data",
            tmp_path / "out",
            pictures=pictures,
            codec=TINY,
            denoiser=replace(TINY, steps=3),
            card={"synonyms": {"vixen": "fox"}},
            resume=resume,
            progress=False,
        )

    prior = load_prior(train(False))
    assert prior.name == "data" and prior.latent_shape == (6, 16, 16)
    assert prior.generate(["fox, white background"], steps=2).shape == (1, 3, 64, 64)
    with pytest.raises(ValueError, match="does not know 'cat'"):
        prior.condition("cat")
    said, meant = (prior.text.encode([word]).tensors for word in ("Vixen", "fox"))
    assert meant and all(torch.equal(said[name], meant[name]) for name in meant)
    before = {p: p.read_bytes() for p in (tmp_path / "out" / "data").rglob("*.safetensors")}
    train(True)
    assert before and {p: p.read_bytes() for p in before} == before


@pytest.mark.usefixtures("narrow")
def test_the_decoder_alone_keeps_the_latents(tmp_path: Path, untrained: Path) -> None:
    dot(tmp_path / "data" / "fox" / "1.png")

    def train(channels: int, start: Path | None = untrained) -> Path:
        return train_pictures(
            tmp_path / "data",
            tmp_path / f"out-{channels}",
            pictures=PictureSettings(views=2, channels=channels, start=start, decoder_only=True),
            codec=replace(TINY, steps=3),
            denoiser=TINY,
            progress=False,
        )

    start = load_prior(untrained)
    prior = load_prior(train(start.latent_shape[0]))
    x = torch.rand(2, 3, 64, 64)
    assert torch.equal(prior.encode(x), start.encode(x))
    z = start.encode(x)
    assert not torch.allclose(prior.decode(z), start.decode(z), atol=1e-4)
    with pytest.raises(ValueError, match=r"have 4 channels.*got 6"):
        train(6)
    with pytest.raises(ValueError, match="only be trained from a prior"):
        train(4, None)


def test_concepts_and_their_words_are_unambiguous() -> None:
    names = [concept.name for concept in CONCEPTS]
    synonyms = [word for concept in CONCEPTS for word in concept.synonyms]
    assert len({*names, *synonyms}) == len(names) + len(synonyms) and len(names) == ICON_CONCEPTS
    assert words_of(names) and all(word.isalnum() for word in synonyms)
