"""The study of the bandwidth: its tasks can be done, and the script runs and goes on."""

from pathlib import Path

import bandwidth
import networks
import numpy as np
import pytest
from small_tasks import SMALL_TASKS

from scorefield.control.environments.collection import demonstrate
from scorefield.control.environments.environment import Environment, Expert


@pytest.mark.parametrize("name", SMALL_TASKS)
def test_experts_arrive_and_an_episode_depends_on_its_seed_alone(name: str) -> None:
    task = SMALL_TASKS[name]()
    assert isinstance(task, Environment) and isinstance(task, Expert)
    episodes = demonstrate(task, task, range(40, 70))
    assert len(episodes) == 30
    alone = demonstrate(task, task, [45])[0]
    np.testing.assert_allclose(alone.state, episodes[5].state, atol=1e-6)
    # Nothing done arrives nowhere.
    task.reset(range(30))
    while not task.ended.all():
        task.step(np.zeros((30, task.spaces.action)))
    assert task.success.mean() < 0.2


def test_the_script_of_the_networks(tmp_path: Path) -> None:
    for _ in range(2):
        networks.main(tmp_path, ["arm", "two-routes"], ["transformer-narrow"], seeds=1, steps=2)
        assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 3
    table = (tmp_path / "table.md").read_text()
    assert "| arm | transformer-narrow | 2 | 0." in table and "| two-routes |" in table


def test_the_script(tmp_path: Path) -> None:
    for _ in range(2):
        bandwidth.main(tmp_path, ["arm"], ["derived", "none"], seeds=1, steps=2)
        assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 3
    assert "| arm | derived, 0." in (tmp_path / "table.md").read_text()
