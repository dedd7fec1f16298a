"""Many runs of one command: what a file asks for, and what Ray makes of it."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from scorefield.cli.main import main
from scorefield.cli.sweep.plan import SweepFile
from scorefield.cli.sweep.table import last_row

SVG = 'command = "text-to-svg"\n'
PROMPT = '[options]\nprompt = "a fox"\n'


def sweep_of(tmp_path: Path, text: str) -> SweepFile:
    path = tmp_path / "sweep.toml"
    path.write_text(text, encoding="utf-8")
    return SweepFile(path)


def test_each_combination_is_a_run_and_a_command_line(tmp_path: Path) -> None:
    file = sweep_of(
        tmp_path,
        SVG + "[options]\nsteps = 20\nlevels.low = 0.05\nlora_weights = [1.0, 0.5]\n"
        "low-memory = true\nunverified = false\n"
        '[axes]\nprompt = ["a fox", "Ein Bär!"]\nseed = [0, 7]\n',
    )
    assert [run.name for run in file.runs] == [
        "a-fox_seed-0", "a-fox_seed-7", "ein-bär_seed-0", "ein-bär_seed-7",
    ]  # fmt: skip
    rest = ("--steps", "20", "--levels.low", "0.05", "--lora-weights", "1.0", "0.5", "--low-memory")
    assert file.runs[1].words == ("text-to-svg", "a fox", "--seed", "7", *rest)
    assert str(file.runs[3]).startswith("scorefield text-to-svg 'Ein Bär!' --seed 7 --steps 20")
    whole = file.runs[0].words_for(Path("x"), on_cpu=True)
    assert whole[-6:] == ["--device", "cpu", "--out", "x", "--resume", "--quiet"]


def test_names_stay_when_values_are_added_and_tell_all_runs_apart(tmp_path: Path) -> None:
    few, many = (
        sweep_of(tmp_path, SVG + f"[axes]\nprompt = {prompts}\nseed = {seeds}\n").runs
        for prompts, seeds in (
            ('["a fox", "キツネ", "?"]', "[1]"),
            ('["?", "a fox", "an owl", "キツネ", "!"]', "[0, 1]"),
        )
    )
    assert {run.words: run.name for run in few}.items() <= {r.words: r.name for r in many}.items()
    assert len({run.name for run in many}) == len(many) == 10
    same = sweep_of(tmp_path, SVG + '[axes]\nprompt = ["a fox", "a fox!", "A  FOX"]\n').runs
    long = sweep_of(tmp_path, SVG + f'[axes]\nprompt = ["{"é" * 200} a", "{"é" * 200} b"]\n').runs
    for runs in (same, long):
        assert len({run.name for run in runs}) == len(runs)
        assert all(len(run.name.encode()) <= 120 for run in runs)


def test_a_file_without_axes_is_one_run(tmp_path: Path) -> None:
    assert [run.name for run in sweep_of(tmp_path, SVG + PROMPT).runs] == ["run"]


@pytest.mark.parametrize(
    "text, said",
    [
        ("command = ", "no TOML"),
        ("[axes]\nseed = [1]\n", "command: None is none of scorefield's"),
        ('command = "text-to-svgs"\n', "perhaps you meant text-to-svg"),
        ('command = "sample"\n', "sample makes no run that could be resumed"),
        ('command = "sweep"\n', "sweep makes no run that could be resumed"),
        (SVG + "[axis]\nseed = [1]\n", "axis: a sweep has command, options, axes, perhaps you"),
        (SVG + "axes = [1]\n", "axes: give a table"),
        (SVG + "[axes]\nsead = [1]\n", "[axes] sead: text-to-svg has no such option, perhaps you"),
        (SVG + "[options]\npreviewevery = 1\n", "[options] previewevery: text-to-svg has no such"),
        (SVG + "[options]\nlevel.low = 1\n", "level.low: text-to-svg has no such option, perhaps"),
        (SVG + '[options]\nout = "x"\n', "[options] out: the sweep itself sees to --out"),
        (SVG + "[axes]\nresume = [true]\n", "the sweep itself sees to --resume"),
        (SVG + "[axes]\nseed = 1\n", "[axes] seed: an axis is a list of values"),
        (SVG + "[axes]\nseed = []\n", "[axes] seed: an axis is a list of values"),
        (SVG + "[axes]\nseed = [1, 1]\n", "[axes] seed: a value comes twice"),
        (SVG + "[axes]\nseed = [1]\n[options]\nseed = 2\n", "seed stands in [options] and in"),
        (SVG + "[options]\nseed = 2020-01-01\n", "[options] seed: give a text, a number"),
        (SVG + f"[axes]\nseed = {list(range(400))}\npaths = {list(range(400))}\n", "160000 runs"),
        # What only the command knows:
        (SVG, "Missing: PROMPT"),
        (SVG + PROMPT + "[axes]\nseed = [1, -2]\n", "--seed must be at least 0; got -2"),
        (SVG + PROMPT + 'steps = "many"\n', "--steps: 'many' is not a whole number"),
        (SVG + PROMPT + "levels.lo = 0.5\n", "--levels.lo"),
        (SVG + PROMPT + 'preset = "vectorfusio"\n', "there is no preset 'vectorfusio'; give"),
        (SVG + PROMPT + 'paths = 9\nstyle = "pixel-art"\n', "pixel art has no --paths"),
        (SVG + PROMPT + 'lora = ["no-file"]\n', "no-file: there is no such file"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_begins(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "sweep.toml", tmp_path / "out"
    path.write_text(text, encoding="utf-8")
    assert main(["sweep", str(path), "--out", str(out)]) == 2
    line = capsys.readouterr().err
    assert said in line and line.count("\n") == 1 and str(path) in line
    assert not out.exists()


def test_a_dry_run_prints_the_command_lines_and_needs_no_ray(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(SVG + PROMPT + "[axes]\nseed = [0, 1]\n", encoding="utf-8")
    monkeypatch.setitem(sys.modules, "ray", None)
    words = ["sweep", str(path), "--out", str(tmp_path / "out")]
    assert main([*words, "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"scorefield text-to-svg 'a fox' --seed {seed}" for seed in (0, 1)]
    assert main(words) == 2
    assert "pip install 'scorefield[ray]'" in capsys.readouterr().err
    assert main([*words, "--seed", "3"]) == 2
    assert "--seed is not used by sweep; name them in FILE" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_last_whole_row_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert last_row(path) == {}
    path.write_text('{"step": 0, "loss": 2.0}\n' * 500 + '{"step": 7, "loss": 1.5}\n{"ste')
    assert last_row(path) == {"step": 7, "loss": 1.5}
    path.write_text('{"ste')
    assert last_row(path) == {}


TINY = """
[options]
prior = "icons"
trace-steps = 2
samples = 1
views = 1
size = 32
paths = 2
render-size = 32
checkpoint-every = 2
steps = 20
"""


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
def test_a_killed_worker_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    """Two runs, of which one is killed half-way, and one that cannot be."""
    path, out = tmp_path / "sweep.toml", tmp_path / "out"
    axes = '[axes]\nprompt = ["a fox", "an owl", "a xyzzy"]\n'
    path.write_text(SVG + TINY + axes, encoding="utf-8")
    program = [sys.executable, "-m", "scorefield"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*program, "sweep", str(path), "--out", str(out), "--workers", "2", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env=env)  # fmt: skip
    checkpoint, log = out / "runs" / "a-fox" / "checkpoint", out / "logs" / "a-fox.log"
    while not checkpoint.exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    os.kill(int(log.read_text("utf-8").split("# process ")[1]), signal.SIGKILL)
    said, errors = process.communicate(timeout=2000)
    assert process.returncode == 1, errors
    found = json.loads(said)
    assert found["done"] == ["a-fox", "an-owl"] and list(found["failed"]) == ["a-xyzzy"]
    assert "1 of 3 runs failed: a-xyzzy: " in errors and "xyzzy" in found["failed"]["a-xyzzy"]
    assert [begun(out, name) for name in ("a-fox", "an-owl", "a-xyzzy")] == [2, 1, 1]

    undisturbed = tmp_path / "undisturbed"
    words = next(run.words for run in SweepFile(path).runs if run.name == "a-fox")
    words = (*words, "--device", "cpu", "--out", str(undisturbed), "--quiet")
    subprocess.run([*program, *words], check=True, env=env, stdout=subprocess.DEVNULL)
    for name in ("metrics.jsonl", "final.svg", "final.png", "checkpoint/state.safetensors"):
        assert (out / "runs" / "a-fox" / name).read_bytes() == (undisturbed / name).read_bytes()

    # What is done is not begun again; the file may change.
    path.write_text(SVG + TINY + axes.replace(', "a xyzzy"', ""), encoding="utf-8")
    before = {one: one.stat().st_mtime_ns for one in (out / "runs").rglob("*")}
    again = subprocess.run([*command, "--resume"], capture_output=True, text=True, env=env)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["done"] == ["a-fox", "an-owl"]
    assert {one: one.stat().st_mtime_ns for one in (out / "runs").rglob("*")} == before
    page = (out / "gallery" / "index.html").read_text("utf-8")
    assert "a fox" in page and "an owl" in page


def begun(out: Path, name: str) -> int:
    """How many processes have begun a run."""
    return (out / "logs" / f"{name}.log").read_text("utf-8").count("# process ")
