"""Feature taps: what they read, what they leave, what they cost."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_models
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch.nn import functional

from scorefield.cli.main import main
from scorefield.images import load_image, save_image
from scorefield.priors.features.cache import FeatureCache
from scorefield.priors.features.extraction import extract_features, image_key
from scorefield.priors.features.memory import memory_estimate
from scorefield.priors.features.network_cost import network_cost
from scorefield.priors.features.taps import block_paths, layer_path, short_name, tapped
from scorefield.priors.frozen_prior import FrozenPrior, prior_digest
from scorefield.priors.loading import _quiet, load_prior
from scorefield.priors.noise import keyed_noise

Load = Callable[[str], FrozenPrior]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    loaded: dict[str, FrozenPrior] = {}

    def of(name: str) -> FrozenPrior:
        if name not in loaded:
            with _quiet():
                folder = tiny_models.build(name, tmp_path_factory.mktemp("tiny") / name)
            loaded[name] = load_prior(folder, **tiny_models.SIZES.get(name, {}))
        return loaded[name]

    return of


def pictures(prior: FrozenPrior, n: int = 2) -> torch.Tensor:
    side = prior.image_size
    shape = (n, prior.frames, 3, side, side) if prior.frames else (n, 3, side, side)
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", list(tiny_models.TINY))
def test_every_family_has_maps_of_the_announced_shapes(load: Load, name: str) -> None:
    prior = load(name)
    prompt = "circle" if name == "ddpm-classes" else None
    cost = network_cost(prior, prompt)
    assert {layer.path for layer in cost.layers} == set(block_paths(prior.network.model))
    fractions = [layer.fraction for layer in cost.layers]
    assert fractions == sorted(fractions) and 0 < fractions[0] < fractions[-1] <= 1
    layers = [layer.name for layer in cost.layers]
    # of two experts the first is tapped, that of high noise
    level = prior.schedule.at_fraction(0.98 if name == "wan-two-experts" else 0.3)
    maps = extract_features(prior, pictures(prior), layers, level, prompt, ensemble=2)
    for layer in cost.layers:
        assert maps[layer.name].shape == (2, *layer.shape)
        assert maps[layer.name].dtype == torch.float32


def test_tokens_become_the_map_they_were_made_from(load: Load) -> None:
    # DiT's tokens in their own order: block0's map is the token sequence, row by row
    prior = load("dit")
    model = prior.network.model
    level = prior.schedule.at_timestep(100)
    images = pictures(prior, 1)
    maps = extract_features(prior, images, ["block0"], level, ensemble=1)["block0"]
    key = image_key(images[0])
    mean, std = prior.codec.posterior(images)
    noise = [keyed_noise(0, [key], draw, mean.shape[1:]) for draw in (0, 1)]
    z = level.add_noise(mean + std * noise[1], noise[0])
    seen = []
    handle = model.transformer_blocks[0].register_forward_hook(lambda *a: seen.append(a[2]))
    prior.condition(None)(z, level)
    handle.remove()
    torch.testing.assert_close(maps.flatten(2).mT, seen[0])


def test_matches_the_reference_with_one_encoding(load: Load) -> None:
    """Tang et al.'s steps, one after the other: repeat, encode each copy, noise each, average.

    The noise is ours, for theirs is whatever the generator has next; what is compared is the rest.
    """
    prior = load("sd")
    unet, vae, images = prior.network.model, prior.codec.vae, pictures(prior, 1)
    timestep, ensemble, calls = 261, 8, {"encode": 0, "rows": 0}

    def count(name: str) -> Callable[..., None]:
        def hook(_module: object, inputs: tuple[torch.Tensor, ...]) -> None:
            calls[name] += len(inputs[0])

        return hook

    handles = [
        vae.encoder.register_forward_pre_hook(count("encode")),
        unet.up_blocks[1].register_forward_pre_hook(lambda *_: calls.update(late=1)),
        unet.conv_in.register_forward_pre_hook(count("rows")),
    ]
    ours = extract_features(
        prior, images, ["up0"], prior.schedule.at_timestep(timestep), ensemble=ensemble
    )
    # one encoding instead of eight, and the last block is never entered
    assert calls == {"encode": 1, "rows": ensemble}
    for handle in handles:
        handle.remove()

    key = image_key(images[0])
    shape = (4, *[side // prior.codec.factor for side in images.shape[2:]])
    noise = torch.cat([keyed_noise(0, [key], 2 * k, shape) for k in range(ensemble)])
    draw = torch.cat([keyed_noise(0, [key], 2 * k + 1, shape) for k in range(ensemble)])
    with torch.no_grad():
        copies = (images * 2 - 1).repeat(ensemble, 1, 1, 1)
        posterior = vae.encode(copies).latent_dist
        latents = (posterior.mean + posterior.std * draw) * vae.config.scaling_factor
        scheduler = tiny_models.chain()
        times = torch.tensor(timestep)
        noisy = scheduler.add_noise(latents, noise, times)
        hidden = prior.condition("").condition.tensors["encoder_hidden_states"]
        kept = []
        handle = unet.up_blocks[0].register_forward_hook(lambda *a: kept.append(a[2]))
        unet(noisy, times, hidden.repeat(ensemble, 1, 1))
        handle.remove()
    theirs = kept[0].mean(0, keepdim=True)
    assert float((ours["up0"] - theirs).norm() / theirs.norm()) < 1e-4


def test_fewer_operations_than_the_reference(load: Load) -> None:
    """The reference encodes all eight copies, and its passes end at the same block.

    At 768 pixels, where an encoding costs 1.2 evaluations, the share is 0.39; a toy's encoder is
    cheaper.
    """
    cost = network_cost(load("sd"))
    until = 8 * next(layer.fraction for layer in cost.layers if layer.name == "up0")
    assert cost.encode is not None
    assert (cost.encode + until) / (8 * cost.encode + until) < 0.7


def test_hooks_leave_nothing_behind(load: Load) -> None:
    prior = load("sd")
    model, level = prior.network.model, prior.schedule.at_timestep(100)
    z = torch.randn(1, *prior.latent_shape, generator=torch.Generator().manual_seed(1))
    before = prior.condition(None)(z, level).eps
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    extract_features(prior, pictures(prior), ["up0", "mid"], level, ensemble=1)
    with pytest.raises(ValueError, match="one value per place"):
        extract_features(prior, pictures(prior), ["time_embedding"], level, ensemble=1)
    after = prior.condition(None)(z, level).eps
    assert torch.equal(before, after)
    assert hooks == [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]


def test_a_pass_ends_at_the_last_wanted_layer(load: Load) -> None:
    prior = load("sd")
    model = prior.network.model
    entered = []
    handles = [
        model.get_submodule(path).register_forward_pre_hook(lambda *_, p=path: entered.append(p))
        for path in block_paths(model)
    ]
    extract_features(
        prior, pictures(prior), ["down1", "down0"], prior.schedule.at_timestep(9), ensemble=1
    )
    for handle in handles:
        handle.remove()
    assert entered == ["down_blocks.0", "down_blocks.1"]


def test_other_errors_of_a_pass_are_not_swallowed(load: Load) -> None:
    model = load("sd").network.model
    with pytest.raises(RuntimeError, match="of the user"), tapped(model, ["mid_block"]):
        raise RuntimeError("of the user")
    assert not model.mid_block._forward_hooks


def test_neither_batch_nor_order_matters(load: Load) -> None:
    prior = load("sd")
    images, level = pictures(prior, 3), prior.schedule.at_timestep(300)
    options = {"ensemble": 3, "seed": 4}
    whole = extract_features(prior, images, ["up0"], level, **options)["up0"]
    parts = extract_features(prior, images.flip(0), ["up0"], level, batch_size=2, **options)["up0"]
    torch.testing.assert_close(whole, parts.flip(0), rtol=1e-4, atol=1e-5)
    prompts = ["a cat", "", "a dog"]
    one = extract_features(prior, images[1:2], ["up0"], level, **options)["up0"]
    named = extract_features(prior, images, ["up0"], level, prompts, **options)["up0"]
    torch.testing.assert_close(named[1:2], one, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(named[0], whole[0], rtol=1e-3)
    assert not torch.allclose(
        extract_features(prior, images, ["up0"], level, ensemble=3, seed=5)["up0"], whole, rtol=1e-3
    )


def test_the_mean_over_draws_comes_closer_with_more(load: Load) -> None:
    # var of the mean falls as 1 / n: two means of 32 draws differ about 4 times less than of 2
    prior = load("ddpm")
    images, level = pictures(prior, 1), prior.schedule.at_timestep(300)

    def apart(n: int) -> float:
        a, b = (
            extract_features(prior, images, ["mid"], level, ensemble=n, seed=s)["mid"]
            for s in (0, 1)
        )
        return float((a - b).norm())

    assert 2 < apart(2) / apart(32) < 8


def test_a_shift_by_a_stride_shifts_the_maps() -> None:
    """Away from the border, where the network is convolutional: the embedded prior's `down0`."""
    prior = load_prior("shapes")
    generator = torch.Generator().manual_seed(0)
    wide = functional.interpolate(
        torch.rand(1, 3, 6, 7, generator=generator), (64, 72), mode="bicubic"
    ).clamp(0, 1)
    a, b = wide[..., :64], wide[..., 8:]
    level = prior.schedule.at_log_snr(7.0)  # hardly any noise, which does not shift along
    options = {"ensemble": 1}
    maps = [extract_features(prior, x, ["down0"], level, **options)["down0"] for x in (a, b)]
    # 8 pixels are a cell of down0's map; receptive fields end within it from columns 3 to 5
    left, right = maps[0][..., 2:6, 3:6], maps[1][..., 2:6, 2:5]
    similarity = functional.cosine_similarity(left, right, dim=1)
    elsewhere = functional.cosine_similarity(left, right.roll(1, -1), dim=1)
    assert float(similarity.mean()) > float(elsewhere.mean()) + 0.1


def test_cache(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prior, cache = load("sd"), FeatureCache(tmp_path / "cache")
    images, level = pictures(prior, 2), prior.schedule.at_timestep(50)
    first = extract_features(prior, images[:1], ["up0"], level, ensemble=2, cache=cache)["up0"]
    rows = []
    handle = prior.network.model.conv_in.register_forward_pre_hook(
        lambda _, inputs: rows.append(len(inputs[0]))
    )
    both = extract_features(prior, images, ["up0"], level, ensemble=2, cache=cache)["up0"]
    assert rows == [2]  # the second image's two draws
    assert torch.equal(both[:1], first)
    again = extract_features(prior, images, ["up0"], level, ensemble=2, cache=cache)["up0"]
    assert rows == [2] and torch.equal(again, both)
    others = [{"seed": 1}, {"ensemble": 3}, {"prompts": "a cat"}, {"layers": ["mid"]}]
    for other in others:
        options = {"layers": ["up0"], "ensemble": 2, **other}
        extract_features(prior, images[:1], level=level, cache=cache, **options)
    extract_features(
        prior, images[:1], ["up0"], prior.schedule.at_timestep(51), ensemble=2, cache=cache
    )
    assert rows == [2, 2, 3, 2, 2, 2]
    for file in cache.folder.iterdir():
        file.write_bytes(b"damaged")
    torch.testing.assert_close(
        extract_features(prior, images, ["up0"], level, ensemble=2, cache=cache)["up0"], both
    )
    handle.remove()
    key = prior_digest(prior)
    with torch.no_grad():
        prior.network.model.conv_out.bias.add_(1)
        changed = prior_digest(prior)
        prior.network.model.conv_out.bias.sub_(1)
    assert changed != key
    key = prior_digest(prior)
    prior.codec.always_in_tiles = True  # how it is computed, not what
    assert prior_digest(prior) == key
    prior.codec.always_in_tiles = False


def test_names(load: Load) -> None:
    model = load("sd").network.model
    for path in ("up_blocks.1", "mid_block", "down_blocks.0.resnets.0"):
        assert layer_path(model, short_name(path)) == layer_path(model, path) == path
    inner = "up1.attentions.0.transformer_blocks.0.attn2.to_q"
    level = load("sd").schedule.at_timestep(1)
    query = extract_features(load("sd"), pictures(load("sd")), [inner], level, ensemble=1)[inner]
    assert query.shape == (2, 8, 8, 8)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"layers": ["up9"]},
            r"no layer 'up9' \(did you mean up\d\?\); the blocks are down0, down1, up0",
        ),
        ({"layers": []}, "no layers"),
        ({"layers": ["up1.attentions.0.transformer_blocks.0.attn2.to_k"]}, "of the text"),
        ({"ensemble": 0}, "ensemble and batch_size must be at least 1"),
        ({"images": torch.rand(2, 3, 15, 16)}, "do not divide"),
        ({"images": torch.rand(0, 3, 16, 16)}, "no images"),
        ({"prompts": ["a", "b", "c"]}, "3 items"),
    ],
)
def test_refusals(load: Load, change: dict[str, object], says: str) -> None:
    prior = load("sd")
    options = {
        "images": pictures(prior),
        "layers": ["up0"],
        "level": prior.schedule.at_timestep(1),
        "ensemble": 1,
        **change,
    }
    with pytest.raises(ValueError, match=says):
        extract_features(prior, **options)


def test_features_command(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """All images that can be read, the damaged one named; what is there is not done again."""
    generator = torch.Generator().manual_seed(0)
    paths = [save_image(tmp_path / f"{i}.png", torch.rand(3, 40, 60, generator=generator))
             for i in range(2)]  # fmt: skip
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    out = tmp_path / "maps"
    words = ["features", str(paths[0]), str(broken), str(paths[1]), "--out", str(out), "--quiet"]
    words += ["--layers", "mid", "down0", "--ensemble", "2"]
    assert main(words) == 1
    assert "broken.png: cannot be read" in capsys.readouterr().err
    assert sorted(path.name for path in out.iterdir()) == ["0.safetensors", "1.safetensors"]
    prior = load_prior("shapes")
    maps = extract_features(
        prior,
        load_image(paths[1], 64)[None],
        ["mid", "down0"],
        prior.schedule.at_log_snr(4.0),
        ensemble=2,
    )
    for name, found in load_file(out / "1.safetensors").items():
        torch.testing.assert_close(found, maps[name][0], rtol=1e-4, atol=1e-4)
    with safe_open(out / "1.safetensors", "pt") as file:
        metadata = file.metadata()
    assert list(metadata) == ["settings"]  # several have another order in each process
    assert json.loads(metadata["settings"])["layers"] == ["mid", "down0"]
    before = [path.stat().st_mtime_ns for path in sorted(out.iterdir())]
    assert main(words) == 2  # not empty
    assert main([*words, "--resume"]) == 1
    assert [path.stat().st_mtime_ns for path in sorted(out.iterdir())] == before
    assert main([*words, "--resume", "--seed", "1"]) == 1
    assert [path.stat().st_mtime_ns for path in sorted(out.iterdir())] != before
    # another image of the same name is not passed off as done, and nothing else is done again
    other, words[1] = tmp_path / "other" / "0.png", str(tmp_path / "other" / "0.png")
    save_image(other, torch.rand(3, 40, 60, generator=generator))
    words += ["--seed", "1", "--resume"]
    zero, one = (load_file(path)["mid"] for path in sorted(out.iterdir()))
    assert main(words) == 1
    again = [load_file(path)["mid"] for path in sorted(out.iterdir())]
    assert not torch.equal(again[0], zero) and torch.equal(again[1], one)
    assert main(["features", str(paths[0]), "--out", str(tmp_path / "y"), "--layers", "up7"]) == 2


@pytest.mark.parametrize("name", ["sd", "dit", "ddpm"])
def test_large_images_take_fewer_rows_at_once_or_are_refused(load: Load, name: str) -> None:
    prior = load(name)
    images = pictures(prior)
    large = images.repeat_interleave(2, -1).repeat_interleave(2, -2)
    layer, level = short_name(block_paths(prior.model)[0]), prior.schedule.at_fraction(0.3)
    need = memory_estimate(prior, 4).most / 2**30
    rows = []
    handle = prior.model.register_forward_pre_hook(
        lambda _module, args, kwargs: rows.append(len(next(iter([*args, *kwargs.values()])))),
        with_kwargs=True,
    )
    try:
        maps = [
            extract_features(prior, large, [layer], level, ensemble=2, memory=m * need)[layer]
            for m in (100, 1.1)
        ]
        assert rows == [4, 1, 1, 1, 1]
    finally:
        handle.remove()
    torch.testing.assert_close(*maps, rtol=1e-4, atol=1e-4)
    side = large.shape[-1]
    with pytest.raises(ValueError, match=f"{side}x{side} pixels need .* resize them to ") as told:
        extract_features(prior, large, [layer], level, memory=need / 2)
    fits = int(str(told.value).split("resize them to ")[1].split()[0])
    assert prior.image_size < fits < side
    extract_features(prior, large[..., :fits, :fits], [layer], level, memory=need / 2)
    with pytest.raises(ValueError, match="no size fits, or give more memory"):
        extract_features(prior, large, [layer], level, memory=1e-12)
