"""DIFT on images: presets, joined maps, propagation, and the command."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch
from PIL import Image

from scorefield.cli.main import main
from scorefield.images import load_image, save_image
from scorefield.perception.correspondence import dift
from scorefield.perception.correspondence.dift import (
    DiftPreset,
    _over_shifts,
    dift_preset,
    features,
    join_maps,
    match,
)
from scorefield.perception.correspondence.matches import Matches
from scorefield.perception.correspondence.propagation import propagate_edit, propagate_labels
from scorefield.priors.loading import _quiet, load_prior
from scorefield.priors.schedule import DiscreteSchedule, FlowSchedule
from scorefield.world import draw_scene, render


def test_preset_levels() -> None:
    preset = DiftPreset(("up1",), log_snr=0.644, timestep=261)
    schedule = DiscreteSchedule.scaled_linear()
    exact = schedule.at_timestep(261)
    assert torch.equal(preset.level(schedule).alpha, exact.alpha)
    # the same level where timesteps mean something else
    assert float(preset.level(FlowSchedule()).log_snr) == pytest.approx(0.644, abs=1e-4)
    assert float(exact.log_snr) == pytest.approx(0.644, abs=1e-3)


@pytest.mark.parametrize("name", ["sd", "sdxl", "if", "ddpm", "dit", "sd3", "flux"])
def test_every_family_of_images_has_a_preset(name: str, tmp_path: Path) -> None:
    with _quiet():
        folder = tiny_models.build(name, tmp_path / name)
    prior = load_prior(folder, **tiny_models.SIZES.get(name, {}))
    preset = dift_preset(prior)
    side = prior.image_size
    images = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    assert features(prior, images, preset=preset).isfinite().all()
    assert preset.source


def test_maps_are_moved_back() -> None:
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    same = _over_shifts(lambda x, _: {"x": x}, image, None, (-2, 1))["x"]
    torch.testing.assert_close(same[..., 2:-2, 2:-2], image[..., 2:-2, 2:-2])
    # cells of 4 pixels: over all four shifts they are the moving mean about each pixel
    mean = torch.nn.functional.avg_pool2d

    def pooled(x: torch.Tensor, _: object) -> dict[str, torch.Tensor]:
        return {"x": mean(x, 4).repeat_interleave(4, -1).repeat_interleave(4, -2)}

    found = _over_shifts(pooled, image, None, (-2, -1, 0, 1))["x"]
    # a pixel is in each column of its cell once: triangular weights of 7 pixels
    triangle = torch.tensor([1.0, 2, 3, 4, 3, 2, 1]) / 16
    kernel = (triangle[:, None] * triangle).expand(3, 1, 7, 7)
    expected = torch.nn.functional.conv2d(image, kernel, groups=3)
    torch.testing.assert_close(found[..., 4:-4, 4:-4], expected[..., 1:-1, 1:-1])


def test_moved_and_centred_maps_do_not_depend_on_the_batch() -> None:
    prior = load_prior("shapes")
    images = render([draw_scene(9, i) for i in range(3)]).images
    preset = DiftPreset(("mid", "down0"), log_snr=4.0, ensemble=1, shifts=(-2, 1), centred=True)
    whole = features(prior, images, preset=preset, batch_size=8)
    parts = features(prior, images.flip(0), preset=preset, batch_size=2).flip(0)
    assert whole.shape[-2:] == (64, 64)
    torch.testing.assert_close(whole, parts, rtol=1e-3, atol=1e-4)


def test_half_precision_is_inside_the_network_only() -> None:
    images = render([draw_scene(9, i) for i in range(2)]).images
    preset = DiftPreset(("up0",), log_snr=2.0, ensemble=2)
    full, half = (
        features(load_prior("shapes", dtype=dtype), images, preset=preset)
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert half.dtype == torch.float32
    # bfloat16 has 8 bits: 0.4% a rounding, some dozen layers
    assert 1e-5 < float((full - half).norm() / full.norm()) < 0.05


def test_joined_maps_have_the_mean_of_the_cosines() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(1, c, 4, 4, generator=generator) for c in (3, 5))
    joined = join_maps([a, b])
    cosine = torch.nn.functional.cosine_similarity
    found = cosine(joined[0, :, 0, 0], joined[0, :, 2, 3], dim=0)
    apart = [cosine(m[0, :, 0, 0], m[0, :, 2, 3], dim=0) for m in (a, b)]
    assert float(found) == pytest.approx(float(sum(apart)) / 2, abs=1e-6)


def test_labels_follow_a_square_that_moves() -> None:
    # features are the square's and the ground's identities: labels must be carried exactly
    frames, side = 5, 10
    labels = torch.zeros(frames, side, side)
    for t in range(frames):
        labels[t, 2:5, 1 + t : 4 + t] = 1
    features = torch.stack([labels, 1 - labels], 1)
    shares = torch.stack([labels[0], 1 - labels[0]])
    found = propagate_labels(shares, features, nearest=5, reach=5, temperature=0.05)
    assert torch.equal(found[:, 0].round(), labels)
    torch.testing.assert_close(found.sum(1), torch.ones(frames, side, side))
    with pytest.raises(ValueError, match="grid"):
        propagate_labels(torch.ones(2, 4, 4), features)


def test_labels_go_no_further_than_they_may() -> None:
    labels = torch.zeros(2, 1, 9)
    labels[0, 0, 0] = 1
    labels[1, 0, 1:] = 1
    features = torch.zeros(2, 2, 1, 9)
    features[0, 1], features[0, 0, 0, 0], features[0, 1, 0, 0] = 1, 1, 0
    features[1, 1], features[1, 0, 0, 8], features[1, 1, 0, 8] = 1, 1, 0
    near = propagate_labels(labels, features, nearest=1, reach=3)
    far = propagate_labels(labels, features, nearest=1, reach=17)
    assert float(near[1, 0, 0, 8]) == 0 and float(far[1, 0, 0, 8]) == 1


def test_an_edit_lands_where_its_homography_puts_it() -> None:
    edit = torch.zeros(4, 20, 20)
    edit[0, 4:8, 4:8] = edit[3, 4:8, 4:8] = 1
    grid = torch.cartesian_prod(torch.arange(20.0), torch.arange(20.0)) + 0.5
    ones = torch.ones(len(grid))
    matches = Matches(grid, grid + torch.tensor([7.0, 3.0]), ones, ones * 0, ones)
    found = propagate_edit(edit, torch.zeros(3, 20, 30), matches)
    expected = torch.zeros(3, 20, 30)
    expected[0, 7:11, 11:15] = 1
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
    with pytest.raises(ValueError, match="transparent"):
        propagate_edit(torch.zeros(4, 20, 20), torch.zeros(3, 20, 30), matches)


@pytest.fixture(scope="module")
def ducks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    scenes = [draw_scene(9, i, category="duck", color=c) for i, c in enumerate(("red", "blue"))]
    folder = tmp_path_factory.mktemp("ducks")
    images = render(scenes).images
    return [save_image(folder / f"{i}.png", image) for i, image in enumerate(images)]


def test_a_image_finds_itself(ducks: list[Path]) -> None:
    prior, image = load_prior("shapes"), load_image(ducks[0])
    preset = DiftPreset(("up0",), log_snr=2.0, ensemble=1)
    points = torch.tensor([[20.5, 30.5], [40.0, 33.0]])
    same = match(prior, image, image, points, preset=preset)[0]
    assert float((same.target - points).norm(dim=1).max()) < 1
    mutual = match(prior, image, image, preset=preset)[0]
    assert len(mutual) == 64 and torch.equal(mutual.source, mutual.target)


def test_points_are_those_of_the_image_as_it_is(ducks: list[Path]) -> None:
    prior, image = load_prior("shapes"), load_image(ducks[0])
    wide = image.repeat_interleave(3, -1).repeat_interleave(2, -2)
    preset = DiftPreset(("up0",), log_snr=2.0, ensemble=1)
    found = match(prior, image, wide, torch.tensor([[30.5, 30.5]]), preset=preset)[0]
    assert (found.target / torch.tensor([3, 2]) - found.source).norm() < 6


@pytest.fixture
def one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Presets look at an image once; in `test_benchmark_keypoints.py` they look as they are."""
    monkeypatch.setattr(
        dift, "dift_preset", lambda prior: replace(dift_preset(prior), ensemble=1, shifts=(0,))
    )


@pytest.mark.usefixtures("one_look")
def test_match_command(ducks: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "matches.png"
    words = ["match", *map(str, ducks), "--ensemble", "1", "--out", str(out), "--quiet"]
    assert main([*words, "--points", "30,30 20.5,40", "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert [row["source"] for row in metrics["matches"]] == [[30, 30], [20.5, 40]]
    assert load_image(out).shape[1] == 384
    assert main([*words, "--points", "30,30", "--with", "sift", "--weight", "0.5", "--json"]) == 0
    fused = json.loads(capsys.readouterr().out)
    assert fused["with"] == "sift" and fused["weight"] == 0.5 and len(fused["matches"]) == 1
    assert fused["matches"][0]["similarity"] != metrics["matches"][0]["similarity"]
    # two matches are no homography, and are drawn all the same
    out.unlink()
    assert main([*words, "--points", "30,30 20.5,40", "--json", "--homography"]) == 1
    told = capsys.readouterr()
    assert json.loads(told.out)["matches"] == metrics["matches"] and out.exists()
    assert "done in part: a homography needs at least 4 matches; got 2" in told.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--points", "1,2,3"], "--points must be pixels"),
        (["--points", "a,b"], "--points must be pixels"),
        (["--points", "99,3"], "99,3 is outside the image of 64x64"),
        (["--layer", "up7"], "no layer 'up7'"),
        (["--out", "x.txt"], "--out must end in"),
        (["--weight", "0.5"], "give --with sift as well"),
        (["--log-snr", "99"], "log"),
    ],
)
def test_match_command_refuses(
    ducks: list[Path], words: list[str], says: str, capsys: pytest.CaptureFixture
) -> None:
    assert main(["match", *map(str, ducks), *words]) == 2
    assert says in capsys.readouterr().err


def test_damaged_images_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    assert main(["match", str(path), str(path)]) == 2
    assert "cannot be read as an image" in capsys.readouterr().err


def test_images_of_every_mode(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    Image.fromarray(values).save(tmp_path / "deep.png")
    torch.testing.assert_close(
        load_image(tmp_path / "deep.png")[1], torch.arange(12.0).reshape(3, 4) * 5000 / 65535
    )
    turned = Image.new("RGB", (6, 2), "red")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    assert load_image(tmp_path / "turned.jpg").shape == (3, 6, 2)
    Image.new("RGBA", (2, 2), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert bool((load_image(tmp_path / "clear.png") == 1).all())


@pytest.mark.usefixtures("one_look")
@pytest.mark.parametrize("mode", ["L", "RGBA", "I;16", "P", "CMYK"])
def test_match_takes_every_mode_and_size(ducks: list[Path], tmp_path: Path, mode: str) -> None:
    with Image.open(ducks[0]) as opened:
        grey = np.array(opened.convert("L").resize((90, 50)), dtype=np.uint16) * 257
        other = Image.fromarray(grey) if mode == "I;16" else opened.convert(mode)
    path = tmp_path / ("a.tiff" if mode == "CMYK" else "a.png")
    other.save(path)
    words = ["match", str(path), str(ducks[1]), "--layer", "mid", "--ensemble", "1", "--quiet"]
    assert main([*words, "--points", "30,30", "--out", str(tmp_path / "x.png")]) == 0


def test_info_command(capsys: pytest.CaptureFixture) -> None:
    assert main(["info", "shapes", "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert metrics["latent_shape"] == [4, 16, 16]
    layers = {layer["name"]: layer for layer in metrics["layers"]}
    assert layers["mid"]["shape"] == [160, 4, 4]
    assert 0 < layers["up0"]["evaluations"] < layers["up1"]["evaluations"] < 1
    # nine places of an image twice as large, as far as up0.resnets.1
    assert metrics["dift"]["evaluations"] == pytest.approx(36 * 0.36, rel=0.02)
    assert main(["info", "shapes", "--inner"]) == 0
    assert "up0.resnets.0" in capsys.readouterr().out
