"""The optimisation loop: what it keeps, when it stops, and that a killed run resumes exactly.

Run as a script, this file is the child process that the kill test kills.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from scorefield.priors.noise import noise_generator
from scorefield.runs.folder import RunFolder
from scorefield.runs.loop import NonFiniteError, Task, optimise

STEPS = 60


class Regression:
    """A small network fitted to noise drawn anew in each step from (seed, step)."""

    def __init__(self, seed: int = 0, delay: float = 0.0) -> None:
        self.seed = seed
        self.delay = delay
        generator = torch.Generator().manual_seed(seed)
        self.net = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 8))
        with torch.no_grad():
            for parameter in self.net.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
        self.optimiser = torch.optim.Adam(self.net.parameters(), lr=1e-2)
        self.average = 0.0

    def step(self, step: int) -> Mapping[str, float]:
        generator = noise_generator(self.seed, step)
        x = torch.randn(32, 8, generator=generator)
        loss = (self.net(x) - x.roll(1, 1)).square().mean()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.average = 0.9 * self.average + 0.1 * loss.item()
        time.sleep(self.delay)
        return {"loss": loss.item(), "average": self.average}

    def preview(self, step: int) -> Tensor | None:
        assert not torch.is_grad_enabled()
        return self.net[0].weight.abs().expand(3, -1, -1)

    def state(self) -> dict[Any, Any]:
        return {
            "net": dict(self.net.state_dict()),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average,
        }

    def load_state(self, state: dict[Any, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average = state["average"]


def run(path: Path, task: Task | None = None, steps: int = STEPS, resume: bool = False) -> None:
    """The run of these tests: previews every 20 steps, checkpoints every 3."""
    optimise(
        Regression() if task is None else task,
        steps=steps,
        folder=RunFolder.create(path, {"seed": 0, "steps": steps}, resume=resume),
        preview_every=20,
        checkpoint_every=3,
        progress=False,
        resume=resume,
    )


def contents(path: Path) -> dict[str, bytes]:
    """Every file of a run, byte for byte."""
    return {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def rows(path: Path) -> int:
    file = path / "metrics.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    path = tmp_path_factory.mktemp("uninterrupted")
    run(path)
    return contents(path)


def test_a_task_is_recognised() -> None:
    assert isinstance(Regression(), Task)


def test_a_run_keeps_figures_previews_and_the_last_state(tmp_path: Path) -> None:
    task = Regression()
    run(tmp_path, task, steps=25)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(25))
    assert all(set(line) == {"step", "loss", "average"} for line in lines)
    assert lines[-1]["loss"] < 0.9 * lines[0]["loss"]
    assert sorted(path.name for path in (tmp_path / "previews").iterdir()) == [
        "000020.png",
        "000025.png",
    ]
    loaded = RunFolder(tmp_path, {}).load_checkpoint()
    assert loaded is not None
    assert loaded[0] == 25
    for name, tensor in task.net.state_dict().items():
        assert torch.equal(loaded[1]["net"][name], tensor)


def test_previews_round_to_the_nearest_of_256(tmp_path: Path) -> None:
    class Picture(Regression):
        def preview(self, step: int) -> Tensor | None:
            image = torch.zeros(3, 2, 4, requires_grad=True) + 0.0
            image[0, 1, 3] = 1.7
            image[1, 0, 0] = 0.5019
            image[2, 0, 0] = -1.0
            return image

    run(tmp_path, Picture(), steps=1)
    pixels = np.asarray(Image.open(tmp_path / "previews" / "000001.png"))
    assert pixels.shape == (2, 4, 3)
    assert pixels[1, 3].tolist() == [255, 0, 0]
    assert pixels[0, 0].tolist() == [0, 128, 0]


@pytest.mark.parametrize(("preview_every", "previews"), [(0, 0), (2, 3), (5, 1)])
def test_no_previews_when_not_asked_for_and_one_at_the_end(
    tmp_path: Path, preview_every: int, previews: int
) -> None:
    optimise(
        Regression(),
        steps=5,
        folder=RunFolder.create(tmp_path, {}),
        preview_every=preview_every,
        checkpoint_every=0,
        progress=False,
    )
    assert len(list(tmp_path.glob("previews/*"))) == previews
    assert (tmp_path / "checkpoint" / "state.json").exists()


def test_a_task_without_images_writes_none(tmp_path: Path) -> None:
    class Blind(Regression):
        def preview(self, step: int) -> Tensor | None:
            return None

    run(tmp_path, Blind(), steps=2)
    assert not (tmp_path / "previews").exists()


def test_the_same_seed_gives_the_same_run(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    run(tmp_path)
    assert contents(tmp_path) == uninterrupted


def test_extending_a_finished_run_equals_a_longer_one(
    tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    run(tmp_path, steps=20)
    run(tmp_path, resume=True)
    assert contents(tmp_path) == uninterrupted


def test_a_finished_run_is_left_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, steps=4)
    before = contents(tmp_path)
    folder = RunFolder.create(tmp_path, {"seed": 0, "steps": 4}, resume=True)
    optimise(
        Regression(), steps=4, folder=folder, preview_every=20, checkpoint_every=3, resume=True
    )
    assert contents(tmp_path) == before
    assert "all 4 steps are done" in capsys.readouterr().err


def test_a_folder_with_a_run_is_not_begun_again(tmp_path: Path) -> None:
    run(tmp_path, steps=2)
    folder = RunFolder(tmp_path, {})
    with pytest.raises(ValueError, match="holds a run; resume it"):
        optimise(Regression(), steps=4, folder=folder, preview_every=0, checkpoint_every=0)


@pytest.mark.parametrize("name", ["steps", "preview_every", "checkpoint_every"])
def test_numbers_out_of_range_are_refused(tmp_path: Path, name: str) -> None:
    numbers = {"steps": 1, "preview_every": 0, "checkpoint_every": 0}
    numbers[name] = -1
    with pytest.raises(ValueError, match=f"{name} is -1; it must be"):
        optimise(Regression(), folder=RunFolder.create(tmp_path, {}), **numbers)


def test_the_bar_shows_the_first_three_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Talkative(Regression):
        def step(self, step: int) -> Mapping[str, float]:
            return {"one": 1.0, "two": 2.0, "three": 3.0, "four": 4.0}

    folder = RunFolder.create(tmp_path, {})
    optimise(Talkative(), steps=3, folder=folder, preview_every=0, checkpoint_every=0)
    shown = capsys.readouterr().err
    assert "3/3" in shown
    assert "one=1, two=2, three=3" in shown
    assert "four" not in shown


# --- runs in memory ---


def test_a_run_in_memory_equals_one_in_a_folder(tmp_path: Path) -> None:
    kept, free = Regression(), Regression()
    run(tmp_path, kept, steps=5)
    optimise(free, steps=5, progress=False)
    for one, other in zip(kept.net.parameters(), free.net.parameters(), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(ValueError, match="in memory has no previews"):
        optimise(Regression(), steps=5, checkpoint_every=1)
    with pytest.raises(NonFiniteError, match=r"state\.net\.2\.bias not finite in step 4"):
        optimise(Failing(4, spoil=True), steps=5, progress=False)


# --- figures and states that are not finite ---


class Failing(Regression):
    """At one step returns a bad figure, or spoils its state after a good one."""

    def __init__(self, at: int, figure: float = 0.0, spoil: bool = False) -> None:
        super().__init__()
        self.at = at
        self.figure = figure
        self.spoil = spoil

    def step(self, step: int) -> Mapping[str, float]:
        metrics = dict(super().step(step))
        if step == self.at:
            if self.spoil:
                self.net[2].bias.data[3] = float("nan")
            else:
                metrics["norm"] = self.figure
        return metrics


@pytest.mark.parametrize("figure", [float("nan"), float("inf"), -float("inf")])
def test_a_bad_figure_stops_the_run_and_keeps_the_checkpoint(tmp_path: Path, figure: float) -> None:
    with pytest.raises(NonFiniteError) as caught:
        run(tmp_path, Failing(7, figure))
    error = caught.value
    assert str(error) == "norm not finite in step 7; the checkpoint after step 6 is kept"
    assert (error.step, error.names, error.checkpoint_step) == (7, ["norm"], 6)
    assert rows(tmp_path) == 7
    loaded = RunFolder(tmp_path, {}).load_checkpoint()
    assert loaded is not None
    assert loaded[0] == 6


def test_a_spoilt_state_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match=r"state\.net\.2\.bias not finite in step 5") as error:
        run(tmp_path, Failing(5, spoil=True))
    assert error.value.checkpoint_step == 3
    loaded = RunFolder(tmp_path, {}).load_checkpoint()
    assert loaded is not None
    assert loaded[0] == 3
    assert loaded[1]["net"]["2.bias"].isfinite().all()


def test_without_a_checkpoint_the_error_says_so(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match="no checkpoint was saved before"):
        run(tmp_path, Failing(0, float("nan")))
    assert RunFolder(tmp_path, {}).load_checkpoint() is None


def test_a_run_that_failed_resumes_exactly(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    with pytest.raises(NonFiniteError):
        run(tmp_path, Failing(40, float("nan")))
    run(tmp_path, resume=True)
    assert contents(tmp_path) == uninterrupted


# --- Ctrl-C ---


class Interrupted(Regression):
    """Gets Ctrl-C, or another signal, in the middle of one step."""

    def __init__(self, at: int, times: int = 1, kind: signal.Signals = signal.SIGINT) -> None:
        super().__init__()
        self.at = at
        self.times = times
        self.kind = kind

    def step(self, step: int) -> Mapping[str, float]:
        if step == self.at:
            for _ in range(self.times):
                signal.raise_signal(self.kind)
        return super().step(step)


def test_ctrl_c_finishes_the_step_saves_and_resumes_exactly(
    tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="stopped after step 11 of 60; resume"):
        run(tmp_path, Interrupted(10))
    assert signal.getsignal(signal.SIGINT) is before
    assert rows(tmp_path) == 11
    run(tmp_path, resume=True)
    assert contents(tmp_path) == uninterrupted


def test_sigterm_saves_a_checkpoint_and_then_has_its_usual_effect(
    tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    """As Slurm sends it before it takes the node away; whoever handled it before gets it."""
    got: list[int] = []

    def theirs(number: int, frame: FrameType | None) -> None:
        got.append(number)

    before = signal.signal(signal.SIGTERM, theirs)
    try:
        with pytest.raises(KeyboardInterrupt, match="stopped after step 11 of 60; resume"):
            run(tmp_path, Interrupted(10, kind=signal.SIGTERM))
        assert signal.getsignal(signal.SIGTERM) is theirs
    finally:
        signal.signal(signal.SIGTERM, before)
    assert got == [signal.SIGTERM]
    run(tmp_path, resume=True)
    assert contents(tmp_path) == uninterrupted


def test_ctrl_c_tells_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = RunFolder.create(tmp_path, {})
    with pytest.raises(KeyboardInterrupt):
        optimise(Interrupted(1), steps=9, folder=folder, preview_every=0, checkpoint_every=0)
    told = f"resume {tmp_path} (--resume; resume=True in Python)"
    assert told in capsys.readouterr().err


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Interrupted(10, times=2))
    assert rows(tmp_path) == 10


def test_another_thread_than_the_main_one_can_run(
    tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    thread = threading.Thread(target=run, args=(tmp_path,))
    thread.start()
    thread.join()
    assert contents(tmp_path) == uninterrupted


# --- kill -9 ---


def start_child(path: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.Popen([sys.executable, "-P", __file__, str(path)], env=environment)


def wait_for(condition: Callable[[], bool], child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert child.poll() is None, "the child ended before it could be killed"
        assert time.monotonic() < deadline, "the child did not get on"
        time.sleep(0.001)


def test_killed_twice_and_resumed_equals_uninterrupted(
    tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    """SIGKILL from outside, in the middle of whatever the child is doing, then --resume."""
    for least in (8, 31):
        child = start_child(tmp_path)
        wait_for(lambda: rows(tmp_path) >= least, child)  # noqa: B023
        child.kill()
        assert child.wait() == -signal.SIGKILL
        assert least <= rows(tmp_path) < STEPS
    run(tmp_path, resume=True)
    ours = contents(tmp_path)
    assert ours["metrics.jsonl"] == uninterrupted["metrics.jsonl"]
    assert ours == uninterrupted


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    run(Path(sys.argv[1]), Regression(delay=0.02), resume=True)
