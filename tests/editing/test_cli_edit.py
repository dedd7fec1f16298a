"""`scorefield edit` and `scorefield invert`: what they write, and their one-line errors."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from scorefield.cli.main import main
from scorefield.images import load_image, save_image
from scorefield.priors.loading import load_prior
from scorefield.sds.edit import EditSettings, edit
from scorefield.world import draw_scene, render


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an image, masks, and files that are neither."""
    monkeypatch.chdir(tmp_path)
    image = render([draw_scene(3, 0, category="mushroom", color="red")]).images[0]
    save_image("image.png", image)
    mask = torch.zeros(1, 64, 64)
    mask[:, 8:40, 8:56] = 1
    save_image("mask.png", mask)
    save_image("small.png", mask[:, :32, :32])
    save_image("black.png", torch.zeros(1, 64, 64))
    Path("file.png").write_text("no image")
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("scorefield: error: ") and captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize(
    ("words", "method"),
    [
        ([], "sdedit"),
        (["--source", "a red mushroom"], "inversion"),
        (["--mask", "mask.png", "--resamplings", "2"], "inpaint"),
        (["--source", "a mushroom", "--method", "prompt-to-prompt"], "prompt-to-prompt"),
        (["--source", "a mushroom", "--method", "dds"], "dds"),
        (["--source", "a mushroom", "--method", "pds"], "pds"),
    ],
)
def test_edit_writes_the_image_and_only_json(
    words: list[str], method: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["edit", "image.png", "a blue mushroom", *words, "--out", "new/edited.png"]
    assert main([*command, "--steps", "2", "--json", "--device", "cpu"]) == 0
    captured = capsys.readouterr()
    metrics = json.loads(captured.out)
    assert metrics["method"] == method and metrics["size"] == 64
    shown = {"inpaint": "inpainting", "dds": "gradient", "pds": "gradient"}
    assert shown.get(method, "denoising") in captured.err
    before, after = load_image("image.png"), load_image("new/edited.png")
    assert after.shape == before.shape
    changed = (after - before).abs().amax(0) > 0
    if method == "inpaint":
        assert not changed[load_image("mask.png")[0] == 0].any()
    assert changed.float().mean() > 0.1


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ([], {}),
        (["--source", "a mushroom"], {"source": "a mushroom"}),
        (["--mask", "mask.png"], {"mask": "mask.png"}),
    ],
)
def test_the_function_does_what_the_command_does(
    words: list[str], options: dict[str, str], here: Path
) -> None:
    command = ["edit", "image.png", "a blue mushroom", *words, "--out", "edited.png"]
    assert main([*command, "--steps", "2", "--device", "cpu", "--quiet"]) == 0
    mask = options.pop("mask", None)
    method = "inpaint" if mask else "inversion" if options else "sdedit"
    found = edit(
        load_prior("shapes"), "image.png", "a blue mushroom", mask=mask,
        settings=EditSettings(method, steps=2), **options,
    )  # fmt: skip
    assert found.shape == (1, 3, 64, 64)
    # the file has 256 values
    torch.testing.assert_close(load_image("edited.png"), found[0], atol=0.51 / 255, rtol=0)


def test_the_function_refuses_what_it_would_not_read(here: Path) -> None:
    prior, image = load_prior("shapes"), "image.png"
    for settings, options, words in (
        (EditSettings("sdedit"), {"mask": "mask.png"}, "inpaint takes a mask"),
        (EditSettings("inpaint"), {}, "inpaint takes a mask"),
        (EditSettings("sdedit"), {"source": "a mushroom"}, "sdedit reads no source"),
        (EditSettings("dds"), {}, "dds needs a source"),
        (None, {"source": "a corgi"}, "corgi"),
    ):
        with pytest.raises(ValueError, match=words):
            edit(prior, image, "a blue mushroom", settings=settings, **options)
    for bad in ({"strength": 0.0}, {"steps": 0}, {"cross_share": 2.0}, {"learning_rate": 0.0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            EditSettings("sdedit", **bad)


def test_updates_may_be_more_than_the_schedules_levels(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def edit_image(*args: object, steps: int, **options: object) -> torch.Tensor:
        asked.append(steps)
        return torch.zeros(1, 3, 64, 64)

    monkeypatch.setattr("scorefield.sds.image_distillation.edit_image", edit_image)
    words = ["edit", "image.png", "a blue mushroom", "--source", "a mushroom"]
    assert main([*words, "--method", "dds", "--steps", "2000"]) == 0
    assert asked == [2000]


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "CMYK"])
def test_images_of_any_size_and_mode_are_taken(
    mode: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (50, 90, 3), dtype=np.uint8)
    name = "odd.tiff" if mode == "CMYK" else "odd.png"
    Image.fromarray(noise).convert(mode).save(name)
    assert main(["edit", name, "a red cup", "--steps", "1", "--strength", "1"]) == 0
    said, wrote = capsys.readouterr().out.splitlines()
    assert said == f"the middle square of {name} (90x50) is taken at 64x64, the prior's size"
    assert wrote == "sdedit: wrote edited.png"
    assert load_image("edited.png").shape == (3, 64, 64)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["image.png", " "], "the prompt is empty"),
        (["nothing.png", "a cup"], "nothing.png: there is no such file"),
        (["file.png", "a cup"], "file.png: cannot be read as an image"),
        (["image.png", "a bycicle"], "'bycicle'"),
        (["image.png", "a cup", "--source", "a bycicle"], "'bycicle'"),
        (["image.png", "a cup", "--mask", "small.png"], "is 32x32, the image 64x64"),
        (["image.png", "a cup", "--mask", "black.png"], "is black"),
        (["image.png", "a cup", "--mask", "file.png"], "file.png: cannot be read"),
        (["image.png", "a cup", "--strength", "0"], "--strength must be between 0 and 1"),
        (["image.png", "a cup", "--steps", "0"], "--steps must be at least 1"),
        (["image.png", "a cup", "--steps", "2000"], "at most the schedule's 1000"),
        (["image.png", "a cup", "--self-share", "2"], "--self-share must be between 0 and 1"),
        (["image.png", "a cup", "--out", "x.mp3"], "--out must end in"),
        (["image.png", "a cup", "--method", "inpaint"], "needs --mask"),
        (["image.png", "a cup", "--method", "inversion"], "needs --source"),
        (["image.png", "a cup", "--method", "pds"], "--method pds needs --source"),
        (
            ["image.png", "a cup", "--learning-rate", "0"],
            "--learning-rate must be above 0",
        ),
        (
            ["image.png", "a cup", "--method", "sdedit", "--mask", "mask.png"],
            "--mask is not used by --method sdedit",
        ),
        (
            ["image.png", "a cup", "--mask", "mask.png", "--source", "a cup"],
            "--source is not used by --method inpaint",
        ),
        (
            ["image.png", "a cup", "--mask", "mask.png", "--strength", "0.9"],
            "--strength is not used by --method inpaint",
        ),
        (
            ["image.png", "a cup", "--source", "a cup", "--cross-share", "0.5"],
            "--cross-share is not used by --method inversion",
        ),
        (
            ["image.png", "a cup", "--learning-rate", "0.1"],
            "--learning-rate is not used by --method sdedit",
        ),
        (["image.png", "a cup", "--mask", "mask.png", "--steps", "2000"], "schedule's 1000"),
    ],
)
def test_refusals_are_one_line_and_write_nothing(
    words: list[str], message: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(here.rglob("*"))
    assert message in refused(capsys, "edit", *words)
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize(
    ("method", "bound"), [("edit-friendly", 1e-4), ("ddim", 5.0)], ids=["edit-friendly", "ddim"]
)
def test_invert_writes_reconstruction_noise_and_figures(
    method: str, bound: float, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["invert", "image.png", "--prompt", "a red mushroom", "--method", method]
    assert main([*words, "--out", "found", "--steps", "3", "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert 0 <= metrics["latent_error_rms"] <= metrics["latent_error_max"] < bound
    assert load_image("found/side_by_side.png").shape == (3, 68, 3 * 66 + 2)
    error = load_image("found/reconstruction.png") - load_image("image.png")
    # the file holds eight bits
    assert abs(float(error.square().mean().sqrt()) - metrics["image_error_rms"]) < 0.005
    noise = load_file("found/noise.safetensors")
    assert noise["z"].shape == (1, 4, 16, 16)
    if method == "edit-friendly":
        assert noise["residuals"].shape == (3, 1, 4, 16, 16)
        assert metrics["image_error_rms"] == pytest.approx(metrics["codec_error_rms"], abs=1e-4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["image.png", "--out", "file.png"], "is a file"),
        (["file.png", "--out", "found"], "cannot be read as an image"),
        (["image.png", "--out", "found", "--prompt", "a bycicle"], "'bycicle'"),
        (["image.png", "--out", "found", "--iterations", "0"], "--iterations must be at least"),
        (["image.png", "--out", "found", "--method", "ddim", "--steps", "1"], "at least 2"),
    ],
)
def test_invert_refuses_in_one_line(
    words: list[str], message: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(capsys, "invert", *words)
    assert not Path("found").exists()
