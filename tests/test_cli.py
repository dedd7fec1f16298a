"""The command line: what is written, exit codes, one-line errors, JSON alone on stdout."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from small_scenes import small_scenes
from untrained import untrained_shapes

from scorefield.cli.command import PriorCommand
from scorefield.cli.commands import COMMANDS
from scorefield.cli.distillation.text_to_3d import TextTo3DCommand
from scorefield.cli.distillation.text_to_svg import TextToSvgCommand
from scorefield.cli.loading import dtype_of
from scorefield.cli.main import main
from scorefield.images import load_image
from scorefield.sds.nerf.scene_distillation import TextTo3D
from scorefield.training import data
from scorefield.world.judge import JudgeNet

TINY = ["--steps", "2", "--views", "1", "--samples", "8", "--size", "16", "--device", "cpu"]
TINY += ["--render-size", "16", "--frames", "2", "--mesh-resolution", "24", "--texture", "64"]
TINY += ["--preview-every", "0"]


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a pipeline of random weights."""
    torch.manual_seed(0)
    return str(untrained_shapes(tmp_path_factory.mktemp("prior") / "tiny"))


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file with a judge of random weights."""
    path = tmp_path_factory.mktemp("judge") / "judge.safetensors"
    save_file(JudgeNet().state_dict(), path)
    return str(path)


@pytest.fixture(autouse=True)
def few_voxels(monkeypatch: pytest.MonkeyPatch) -> None:
    small_scenes(monkeypatch)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The line of a command that must be refused."""
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("scorefield: error: ") and captured.err.count("\n") == 1
    return captured.err


def test_help_is_quick_and_lists_the_commands() -> None:
    started = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "scorefield.cli.main", "--help"],
        capture_output=True,
        text=True,
        env={**os.environ, "COVERAGE": ""},
    )
    assert time.monotonic() - started < 5
    assert run.returncode == 0
    assert all(f"  {name} " in run.stdout for name in COMMANDS)
    assert not any(line.endswith((" torch", " diffusers")) for line in run.stderr.splitlines())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_the_common_options(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*name.split(), "--help"]) == 0
    text = capsys.readouterr().out
    common = ["--seed", "--device", "--dtype", "--json", "--quiet", "--debug"]
    if name not in ("info", "energy", "policy inspect", "seal", "doctor"):  # they print
        common.append("--out")
    if issubclass(COMMANDS[name].load(), PriorCommand) and name != "info":  # it is its argument
        common.append("--prior")
    if name.startswith(("sample", "compose", "edit", "invert", "text", "train", "policy train")):
        common.append("--steps")
    if "train" in name or "3d" in name:
        common.append("--resume")
    assert [option for option in common if f" {option} " not in text] == []


def test_settings_keep_their_help_and_nested_ones_their_prefix(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["text-to-3d", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--views INT Cameras per update, spread evenly around the object." in text
    assert "--levels.final-high" in text and "--cameras.elevation FLOAT FLOAT" in text


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["sampel"], "did you mean sample?"),
        (["txt23d"], "did you mean text-to-3d"),
        (["text_to_svg"], "did you mean text-to-svg"),
        (["train"], "policy train"),
        (["policy", "trian"], "did you mean policy train?"),
        (["evaluate"], "evaluate is several commands: evaluate prior, "),
        (["-x"], "scorefield --help lists all"),
        (["zzzz"], "there is no command 'zzzz'; scorefield --help lists all"),
    ],
)
def test_a_misspelt_command_is_answered_by_its_neighbours(
    words: list[str], near: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, *words)
    assert near in line and line.count(" or ") <= 2


def test_without_a_command_the_usage_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "evaluate prior" in captured.err


READ = {
    "sample": ["a cup", "--lora", "MISSING"],
    "texture": ["MISSING", "a cup", "--out", "OUT"],
    "trace": ["MISSING", "--out", "OUT"],
    "gallery": ["MISSING", "--out", "OUT"],
    "sweep": ["MISSING", "--out", "OUT"],
    "nerfstudio dataset": ["MISSING", "--out", "OUT"],
    "nerfstudio export": ["MISSING", "--out", "OUT"],
    "policy inspect": ["MISSING"],
    "seal": ["MISSING"],
    "distill": ["--prompts", "MISSING", "--out", "OUT"],
    "train-prior objects": ["--package", "MISSING", "--out", "OUT"],
    "train-prior pictures": ["MISSING", "--out", "OUT"],
    "edit": ["MISSING", "a cup"],
    "edit --mask": [__file__, "a cup", "--mask", "MISSING"],
    "invert": ["MISSING", "--out", "OUT"],
    "text-to-svg": ["a cup", "--start", "MISSING", "--out", "OUT"],
    "classify": [__file__, "MISSING", "--labels", "a,b"],
    "rank": ["MISSING", "--text", "a cup"],
    "segment": ["MISSING", "--out", "OUT"],
    "match": [__file__, "MISSING"],
    "features": ["MISSING", "--out", "OUT"],
    "energy": ["MISSING"],
    "policy train": ["MISSING", "--out", "OUT"],
    "policy evaluate": ["MISSING", "--env", "two-routes", "--out", "OUT"],
    "policy distill": ["MISSING", "MISSING", "--out", "OUT"],
    "policy export": ["MISSING", "--out", "OUT"],
    "evaluate prior": ["--judge", "MISSING", "--out", "OUT"],
    "evaluate correspondence": ["--data", "spair", "MISSING", "--out", "OUT"],
    "evaluate segmentation": ["--data", "voc", "MISSING", "--out", "OUT"],
    "evaluate classifier": ["--data", "imagefolder", "MISSING", "--out", "OUT"],
    "evaluate text-to-3d": ["--prompts", "MISSING", "--out", "OUT"],
    "evaluate text-to-svg": ["--prompts", "MISSING", "--out", "OUT"],
}
"""Commands that read files, and words that name one that is not there."""


@pytest.mark.parametrize("name", READ)
def test_a_missing_file_is_refused_before_anything_is_loaded(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scorefield.priors.loading.load_prior", None)  # nothing may call it
    missing, out = tmp_path / "missing", tmp_path / "out"
    words = [{"MISSING": str(missing), "OUT": str(out)}.get(word, word) for word in READ[name]]
    line = refused(capsys, *name.split(" --")[0].split(), *words)
    assert f"{missing}: there is no such file" in line
    assert not out.exists()


def test_every_command_that_reads_files_is_tried() -> None:
    of_all = {"out", *(field.name for field in fields(PriorCommand))}
    reading = {
        name
        for name, entry in COMMANDS.items()
        if any("Path" in str(f.type) and f.name not in of_all for f in fields(entry.load()))
    }
    assert reading <= set(READ)


def test_the_earlier_name_of_the_scale_is_understood(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for words in (["--guidance", "x"], ["--guidance=x"], ["--scale", "x"]):
        line = refused(capsys, "text-to-3d", "a cup", "--out", str(out), *words)
        assert "Error parsing --scale" in line


def test_version_and_group_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("scorefield ")
    assert main(["evaluate", "--help"]) == 0
    assert "  sample" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sample", "a cup", "--sed", "3"], "options: --sed, 3; perhaps you meant --seed INT;"),
        (["sample", "a cup", "-n", "x"], "Error parsing -n/--n: 'x' is not a whole number"),
        (["text-to-3d", "a cup"], "--out"),
        (
            ["text-to-3d", "a cup", "--out", "x", "--cameras.overhead-share", "2"],
            "is a probability",
        ),
    ],
)
def test_options_that_cannot_be_parsed_are_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, *words)
    assert message in line and line.endswith(f"; scorefield {words[0]} --help lists all options\n")


def test_sample_writes_one_sheet_and_only_json(
    prior: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "sheet.png"
    words = ["sample", "a red cup", "a blue duck", "--prior", prior, "-n", "2", "--steps", "1"]
    assert main([*words, "--out", str(out), "--json", "--device", "cpu"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert metrics["prompts"] == ["a red cup", "a blue duck"] and metrics["n"] == 2
    assert load_image(out).shape == (3, 2 * 66 + 2, 2 * 66 + 2)
    assert main([*words[:2], *words[3:5], "-n", "1", "--steps", "1", "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"wrote {out}\n" and "sampling" in captured.err
    assert load_image(out).shape == (3, 64, 64)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sample"], "no prompt is given"),
        (["sample", "  "], "the prompt is empty"),
        (["sample", "a red mushrom"], "'mushrom' (nearest: mushroom)"),
        (["sample", "a cup", "--negative", "a bycicle"], "'bycicle'"),
        (["sample", "a cup", "-n", "0"], "--n must be at least 1; got 0"),
        (["sample", "a cup", "--out", "sheet.mp3"], "--out must end in one of .png"),
        (["sample", "a cup", "--out", "file/sheet.png"], "is a file"),
        (["sample", "a cup", "--device", "abacus"], "--device abacus cannot be used"),
        (["sample", "a cup", "--prior", "nowhere"], "nowhere: no such folder"),
        (["text-to-3d", " ", "--out", "new"], "the prompt is empty"),
        (["text-to-3d", "a bycicle", "--out", "new"], "'bycicle'"),
        (["text-to-3d", "a cup", "--out", "full"], "full is not empty"),
        (["text-to-3d", "a cup", "--out", "full", "--resume"], "has no config.json"),
        (["text-to-3d", "a cup", "--out", "file"], "is a file"),
        (["text-to-3d", "a cup", "--out", "new", "--steps", "0"], "steps must be at least 1"),
        (
            ["text-to-3d", "a cup", "--out", "new", "--size", "-1"],
            "size must be at least 0; got -1",
        ),
        (["text-to-3d", "a cup", "--out", "new", "--frames", "0"], "--frames must be at least 1"),
        (["train-prior", "shapes", "--out", "full"], "full is not empty"),
        (["train-prior", "judge", "--out", "new", "--images", "0"], "--images must be at"),
        (["evaluate", "prior", "--out", "new", "--seed", "1"], "--seed must be at least 2; got 1"),
        (["evaluate", "prior", "--out", "new", "--judge", "file"], "file: cannot be loaded"),
        (
            ["evaluate", "text-to-3d", "--out", "new", "--prompts", "no"],
            "no: there is no such file",
        ),
    ],
)
def test_refusals_are_one_line_and_write_nothing(
    words: list[str],
    message: str,
    prior: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    if words[0] != "train-prior" and "--prior" not in words:
        words = [*words, "--prior", prior]
    assert message in refused(capsys, *words)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("has_units", [True, False])
@pytest.mark.parametrize(
    ("command", "units", "none"),
    [
        (TextTo3DCommand(prompt="a cup", out=Path("out")), torch.bfloat16, None),
        (TextToSvgCommand(prompt="a cup", out=Path("out")), torch.bfloat16, None),
        (TextTo3DCommand(prompt="a cup", out=Path("out"), dtype="float32"), *2 * [torch.float32]),
        (PriorCommand(), None, None),
    ],
)
def test_prompts_are_distilled_in_bfloat16_where_a_cpu_multiplies_it(
    command: PriorCommand,
    units: torch.dtype | None,
    none: torch.dtype | None,
    has_units: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = {"amx_bf16": has_units}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)
    assert dtype_of(command, torch.device("cpu")) is (units if has_units else none)
    assert dtype_of(replace(command, dtype="auto"), torch.device("cuda")) is None


def test_text_to_3d_is_interrupted_and_resumed(
    prior: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["text-to-3d", "a red cup", *TINY, "--prior", prior, "--out", str(tmp_path / "run")]
    step = TextTo3D.step

    def interrupted(self: TextTo3D, number: int) -> Mapping[str, float]:
        signal.raise_signal(signal.SIGINT)
        return step(self, number)

    monkeypatch.setattr(TextTo3D, "step", interrupted)
    assert main([*words, "--quiet"]) == 130
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "scorefield: interrupted; the same command with --resume goes on\n"
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 1

    monkeypatch.setattr(TextTo3D, "step", step)
    assert "is not empty" in refused(capsys, *words)
    assert main([*words, "--resume", "--refine", "1", "--json"]) == 0
    captured = capsys.readouterr()
    metrics = json.loads(captured.out)
    assert metrics["problem"] is None
    assert sorted(metrics["files"]) == sorted(metrics["refined"])
    assert Path(metrics["refined"]["glb"]) == tmp_path / "run" / "refined" / "mesh.glb"
    assert sorted(metrics["files"]) == ["glb", "mtl", "obj", "ply", "png", "turntable", "views"]
    assert all(Path(path).is_file() for path in metrics["files"].values())
    assert "2/2" in captured.err


def test_text_to_3d_that_fails_on_the_way_ends_with_1(
    prior: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def poisoned(self: TextTo3D, number: int) -> Mapping[str, float]:
        return {"loss": float("nan")}

    words = ["text-to-3d", "a red cup", *TINY, "--prior", prior, "--quiet"]
    monkeypatch.setattr(TextTo3D, "step", poisoned)
    assert main([*words, "--out", str(tmp_path / "nan")]) == 1
    line = "scorefield: error: NonFiniteError: loss not finite in step 0"
    captured = capsys.readouterr()
    assert captured.err.startswith(line) and captured.err.count("\n") == 1
    assert main([*words, "--out", str(tmp_path / "debug"), "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err

    def emptied(self: TextTo3D, number: int) -> Mapping[str, float]:
        with torch.no_grad():
            for level in self.scene.field.parameters():
                level.fill_(-10.0)
        self.scene.update_occupancy()
        return {"loss": 0.0}

    monkeypatch.setattr(TextTo3D, "step", emptied)
    assert main([*words, "--out", str(tmp_path / "empty"), "--json"]) == 1
    captured = capsys.readouterr()
    assert "error: done in part: no mesh: no ray has an opacity above 1/2" in captured.err
    assert sorted(json.loads(captured.out)["files"]) == ["turntable", "views"]
    assert (tmp_path / "empty" / "views.png").is_file()


def test_evaluate_text_to_3d(
    prior: str, judge: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "prompts.txt").write_text("# cups\na red cup\n\n")
    words = ["evaluate", "text-to-3d", *TINY, "--prior", prior, "--judge", judge, "--quiet"]
    words += ["--prompts", str(tmp_path / "prompts.txt"), "--azimuths", "1"]
    assert main([*words, "--out", str(tmp_path / "out"), "--json"]) == 0
    table: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert [row["prompt"] for row in table["rows"]] == ["a red cup"]
    assert table["totals"]["done"] == 1
    assert {"table.json", "table.md", "sheet.png"} <= {p.name for p in (tmp_path / "out").iterdir()}
    assert main([*words, "--out", str(tmp_path / "out"), "--resume"]) == 0
    assert "| all 1 | 1 done |" in capsys.readouterr().out

    (tmp_path / "prompts.txt").write_text("a red photo\n")
    message = refused(capsys, *words, "--out", str(tmp_path / "other"))
    assert "'a red photo' cannot be judged" in message


def test_evaluate_prior(
    prior: str, judge: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "prior", "--prior", prior, "--judge", judge, "--out", str(tmp_path)]
    numbers = ["-n", "2", "--steps", "1", "--renders", "8", "--seed", "9"]  # none has a front
    assert main([*words, *numbers, "--command", "train it"]) == 0
    captured = capsys.readouterr()
    assert "category_accuracy: " in captured.out and "sampling" in captured.err
    assert json.loads((tmp_path / "metrics.json").read_text())["seed"] == 9
    assert "    train it" in (tmp_path / "README.md").read_text()


def test_train_judge_and_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(data, "SHARD", 32)
    words = ["train-prior", "judge", "--images", "32", "--steps", "2", "--device", "cpu"]
    words += ["--out", str(tmp_path), "--quiet", "--json"]
    assert main(words) == 0
    written = json.loads(capsys.readouterr().out)["out"]
    assert Path(written).is_file()
    assert "is not empty" in refused(capsys, *words)
    assert main([*words, "--resume"]) == 0
