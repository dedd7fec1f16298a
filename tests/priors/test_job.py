"""One way to run: what is refused before the first step, what a killed job does, how it ends."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from scorefield.runs import Job, run
from scorefield.runs.job import begin


class Sums:
    """Adds the number of each step to a total, and writes the total at the end."""

    def __init__(self, steps: int = 5, killed_at: int | None = None) -> None:
        self.steps = steps
        self.killed_at = killed_at
        self.total = torch.zeros(())
        self.taken: list[int] = []

    def step(self, step: int) -> Mapping[str, float]:
        if step == self.killed_at:
            raise KeyboardInterrupt
        self.total += step
        self.taken.append(step)
        return {"total": self.total.item()}

    def preview(self, step: int) -> Tensor | None:
        return None

    def state(self) -> dict[str, Any]:
        return {"total": self.total}

    def load_state(self, state: dict[str, Any]) -> None:
        self.total = state["total"]

    def config(self) -> dict[str, Any]:
        return {"steps": self.steps, "out": "a setting that happens to have this name"}

    def finish(self, folder: Path, *, progress: bool = True) -> dict[str, Path]:
        path = folder / "total.txt"
        path.write_text(str(self.total.item()))
        return {"total": path}


def test_a_killed_job_goes_on_and_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    job = Sums(killed_at=3)
    assert isinstance(job, Job)
    with pytest.raises(KeyboardInterrupt):
        run(job, tmp_path / "run", progress=False, checkpoint_every=2)
    assert not (tmp_path / "run" / "total.txt").exists()
    again = Sums()
    written = run(again, tmp_path / "run", resume=True, progress=False)
    assert again.taken == [2, 3, 4], "the checkpoint holds two steps"
    assert written == {"total": tmp_path / "run" / "total.txt"}
    assert written["total"].read_text() == "10.0"
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [0, 1, 2, 3, 4]


def test_a_job_whose_steps_are_done_is_only_finished_again(tmp_path: Path) -> None:
    run(Sums(), tmp_path, progress=False)["total"].unlink()
    again = Sums(killed_at=0)
    assert run(again, tmp_path, resume=True, progress=False)["total"].read_text() == "10.0"
    assert again.taken == []


def test_another_run_is_refused_before_the_first_step(tmp_path: Path) -> None:
    run(Sums(), tmp_path / "run", progress=False)
    with pytest.raises(ValueError, match="not empty"):
        run(Sums(killed_at=0), tmp_path / "run", progress=False)
    with pytest.raises(ValueError, match="made with steps = 5, now steps = 9"):
        run(Sums(steps=9, killed_at=0), tmp_path / "run", resume=True, progress=False)
    other = Sums(killed_at=0)
    other.config = lambda: {"steps": 5, "out": "another"}  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="made with out"):
        run(other, tmp_path / "run", resume=True, progress=False)


def test_what_was_begun_is_run(tmp_path: Path) -> None:
    """In two parts, for those who must tell a refusal from a failure."""
    folder = begin(Sums(), tmp_path / "run")
    assert (tmp_path / "run" / "config.json").exists()
    assert run(Sums(), folder, progress=False)["total"].read_text() == "10.0"
