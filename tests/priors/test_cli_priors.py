"""Options that every command of a prior has, on a tiny Stable Diffusion."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from scorefield.cli.main import main
from scorefield.cli.priors.info import Info
from scorefield.priors.codec import LatentCodec
from scorefield.priors.embedded import EMBEDDED

Tiny = Callable[[str], Path]


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main(list(words))
    told = capsys.readouterr()
    return code, told.out + told.err


def test_scale_0_is_refused_before_anything_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    code, told = run(capsys, "sample", "a cup", "--prior", "nowhere", "--scale", "0")
    assert (code, "--scale 1" in told) == (2, True)


def test_the_prior_says_steps_and_size(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "a.png")
    options = ["--prior", str(tiny("sd")), "--image-size", "32", "-n", "1", "--quiet", "--json"]
    options += ["--scheduler", "DPMSolverMultistepScheduler", "--low-memory", "--out", out]
    code, told = run(capsys, "sample", "a cup", *options, "--steps", "2")
    assert code == 0, told
    assert json.loads(told)["steps"] == 2
    code, told = run(capsys, "sample", "a cup", *options[:6], "--scheduler", "DPMScheduler")
    assert (code, "nearest" in told) == (2, True)


def test_what_was_sampled_outlives_a_failed_decoding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(LatentCodec, "decode", fail)
    out = tmp_path / "a.png"
    words = ["sample", "a red mushroom", "-n", "2", "--steps", "2", "--quiet", "--out", str(out)]
    code, told = run(capsys, *words)
    assert (code, "a.safetensors" in told, "--image-size" in told) == (1, True, True)
    assert load_file(out.with_suffix(".safetensors"))["latents"].shape[0] == 2


def test_out_of_memory_names_what_to_lower(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("scorefield.priors.prior.sample", fail)
    code, told = run(
        capsys, "sample", "a red mushroom", "--quiet", "--out", str(tmp_path / "a.png")
    )
    assert code == 1
    assert "lower --batch-size (now 16)" in told
    assert "give --low-memory" in told


def test_what_is_typed_goes_before_the_preset(
    tiny: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["text-to-3d", "a cup", "--prior", str(tiny("sd")), "--field", "voxels", "--quiet"]
    words += ["--size", "8", "--steps", "1", "--samples", "4", "--scale", "7.5", "--frames", "1"]
    words += ["--cameras.distance", "2.0", "2.5", "--mesh-resolution", "8", "--render-size", "8"]
    main([*words, "--out", str(tmp_path / "run")])
    told = capsys.readouterr()
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["preset"] == "dreamfusion", told
    assert (config["scale"], config["field"], config["views"]) == (7.5, "voxels", 1)
    assert config["cameras"]["distance"] == [2.0, 2.5]
    assert config["cameras"]["elevation"] == [-10.0, 45.0]
    assert main([*words, "--out", str(tmp_path / "b"), "--preset", "vectorfusion"]) == 2
    assert "give one of embedded, dreamfusion, prolificdreamer" in capsys.readouterr().err
    # a run whose settings had other names is not resumed
    config["guidance"] = config.pop("scale")
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    assert main([*words, "--out", str(tmp_path / "run"), "--resume"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "was made with guidance = 7.5, now guidance = (not given)" in line


def test_info_says_how_a_prior_is_used(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    """The preset by the kind of prior, and the memory of its parts in bytes of their dtype."""
    sizes = []
    for dtype in ("float32", "bfloat16"):
        assert main(["info", str(tiny("sd")), "--json", "--dtype", dtype]) == 0
        said = json.loads(capsys.readouterr().out)
        assert (said["kind"], said["dtype"], said["steps"]) == ("sd", dtype, 25)
        assert said["presets"]["scene"][:2] == ["dreamfusion", "prolificdreamer"]
        assert said["presets"]["drawing"] == ["vectorfusion"]
        sizes.append(said["memory_bytes"]["network"])
    assert sizes[0] == 2 * sizes[1] == 4 * said["parameters"]


@pytest.mark.parametrize(
    ("name", "kind", "views", "line"),
    [
        ("shapes", "vocabulary", 4, "such as: a red {}, front view"),
        ("icons", "vocabulary", 0, "views: it has no words for them"),
        ("digits", "classes", 0, "prompts: one of 10 classes (0, 1, 2"),
        ("sd", "text", 4, "prompts: any text of up to 77 tokens"),
        ("flux", "text", 4, "prompts: any text of up to 512 tokens"),
        ("ddpm", "none", 0, "prompts: none, it is unconditional"),
    ],
)
def test_the_card_of_every_prior_says_what_it_can_be_told(
    tiny: Tiny, name: str, kind: str, views: int, line: str
) -> None:
    source = name if name in EMBEDDED else str(tiny(name))
    told = Info(prior=source, image_size=16 if name == "flux" else None).run()
    assert line in "\n".join(told.lines)
    assert (told.metrics["prompts"], len(told.metrics["views"])) == (kind, views)


def test_info_lists_the_things_that_a_prior_draws() -> None:
    told = Info(prior="icons").run()
    assert [line for line in told.lines if line.startswith("110 things: fox, cat, panda")]
    assert len(told.metrics["concepts"]) == 110
    assert Info(prior="digits").run().metrics["concepts"] == []


def test_doctor_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    code, told = run(capsys, "doctor", "--json")
    said = json.loads(told)
    assert code == 0
    assert said["versions"]["torch"] == torch.__version__
    cpu = said["devices"][0]
    assert cpu["device"] == "cpu"
    assert cpu["total"] is None or 0 < cpu["free"] <= cpu["total"]
    assert len(said["devices"]) - 1 == torch.cuda.device_count() + torch.backends.mps.is_available()


def test_an_unconditional_prior_is_sampled_without_a_prompt(
    tiny: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sample", "--prior", str(tiny("ddpm")), "-n", "2", "--steps", "2", "--quiet"]
    assert main([*words, "--out", str(tmp_path / "samples.png")]) == 0
    assert (tmp_path / "samples.png").exists()
    capsys.readouterr()
    assert main(["sample", "--out", str(tmp_path / "other.png")]) == 2
    assert "no prompt is given" in capsys.readouterr().err
