"""Students of a prior: folders like any other, and runs that go on."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from untrained import untrained_shapes, untrained_views

from scorefield.cli.main import main
from scorefield.files import write_json
from scorefield.integrity import write_seal
from scorefield.priors.loading import PriorError, load_prior
from scorefield.training.students.images import _checksum, distill_prior
from scorefield.training.students.settings import StudentSettings
from scorefield.training.students.training import StudentTask

PROMPTS = ["a red mushroom, front view", "a blue cup, side view"]
SETTINGS = StudentSettings(
    steps=2, sampler="renoised", updates=2, regression_updates=0, fake_updates=1, batch_size=2
)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return untrained_shapes(tmp_path_factory.mktemp("teacher") / "shapes")


@pytest.fixture(scope="module")
def student(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("student") / "run"
    return distill_prior(teacher, out, PROMPTS, SETTINGS, preview_every=1, progress=False)


def test_a_student_is_a_prior_of_few_steps(teacher: Path, student: Path) -> None:
    prior = load_prior(student)
    assert (prior.name, prior.steps, prior.guidance_scale) == ("shapes-2-step", 2, 1.0)
    assert type(prior.scheduler).__name__ == "LCMScheduler"
    images = prior.generate(PROMPTS, seed=0)
    assert images.shape == (2, 3, 64, 64)
    taught = load_prior(teacher)
    same = [
        torch.equal(mine.half(), theirs.half())
        for mine, theirs in zip(
            prior.network.parameters(), taught.network.parameters(), strict=True
        )
    ]
    assert not all(same)
    assert (student.parent / "previews" / "000002.png").exists()


def test_a_student_of_a_student_is_sampled_by_ddim(student: Path, tmp_path: Path) -> None:
    settings = StudentSettings(steps=1, updates=2, batch_size=2, teacher_batches=1)
    path = distill_prior(student, tmp_path, PROMPTS, settings, preview_every=1, progress=False)
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    assert config["student"]["teacher_steps"] == load_prior(student).steps == 2
    prior = load_prior(path)
    assert (prior.name, prior.steps, prior.guidance_scale) == ("shapes-1-step", 1, 1.0)
    scheduler = json.loads((path / "scheduler/scheduler_config.json").read_text("utf-8"))
    assert scheduler["_class_name"] == "DDIMScheduler"
    assert prior.generate(PROMPTS, seed=0).shape == (2, 3, 64, 64)
    assert (tmp_path / "previews" / "000002.png").exists()


def test_a_resumed_run_makes_the_same_student(
    teacher: Path, student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = StudentTask.step

    def stopped(task: StudentTask, number: int) -> Mapping[str, float]:
        if number == 1:
            raise KeyboardInterrupt
        return step(task, number)

    monkeypatch.setattr(StudentTask, "step", stopped)
    with pytest.raises(KeyboardInterrupt):
        distill_prior(teacher, tmp_path, PROMPTS, SETTINGS, checkpoint_every=1, progress=False)
    monkeypatch.undo()
    again = distill_prior(teacher, tmp_path, PROMPTS, SETTINGS, resume=True, progress=False)
    mine, other = load_prior(again).network, load_prior(student).network
    for one, two in zip(mine.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


def test_another_teacher_is_refused(
    student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = student.parent
    other = shutil.copytree(student, tmp_path / "other")
    card = json.loads((other / "scorefield.json").read_text("utf-8"))
    write_json(other / "scorefield.json", {**card, "steps": 25})  # as many as the teacher takes
    write_seal(other)
    words = ["distill", str(other), "--out", str(run), "--resume", "--quiet", "--scale", "3.5"]
    (run / "prompts.txt").write_text("\n".join(PROMPTS), encoding="utf-8")
    settings = ["--steps", "2", "--updates", "2", "--fake-updates", "1", "--batch-size", "2"]
    settings += ["--sampler", "renoised", "--regression-updates", "0"]
    assert main([*words, *settings, "--prompts", str(run / "prompts.txt")]) == 2
    assert "was made with teacher = " in capsys.readouterr().err


def test_a_teacher_in_several_files_is_known_by_all_of_them(tmp_path: Path) -> None:
    for order in ((1, 2), (2, 1)):  # of writing, in which some file systems list them
        folder = tmp_path / f"{order[0]}"
        folder.mkdir()
        for number in order:
            (folder / f"model-{number:05}-of-00002.safetensors").write_bytes(b"%d" % number)
    checksum = _checksum(tmp_path / "1")
    assert _checksum(tmp_path / "2") == checksum
    for name in ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"):
        (tmp_path / "1" / name).write_bytes(b"other")
        assert _checksum(tmp_path / "1") != checksum
        shutil.copy(tmp_path / "2" / name, tmp_path / "1")
    assert _checksum(tmp_path / "1") == checksum
    with pytest.raises(PriorError, match=r"no weights in \.safetensors"):
        _checksum(tmp_path)


def test_prompts_are_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["distill", "digits", "--out", str(tmp_path / "run")]) == 2
    assert "--prompts is needed" in capsys.readouterr().err


def test_a_teacher_that_is_told_cameras_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is told cameras, and a student is trained on prompts"):
        distill_prior(untrained_views(tmp_path / "views"), tmp_path / "out", ["a red chair"])
    assert not (tmp_path / "out").exists()
