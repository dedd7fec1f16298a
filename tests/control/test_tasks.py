"""Policies that are told the text of a task."""

import json
from dataclasses import replace
from pathlib import Path

import demonstration_files
import numpy as np
import pytest
import torch
from demonstration_files import ACTIONS, LENGTHS, STATES, lerobot
from safetensors.torch import load_file

from scorefield.cli.main import main
from scorefield.control.data.episode import Episode
from scorefield.control.data.episodes import Episodes
from scorefield.control.data.normalizer import Normalizer
from scorefield.control.data.spaces import Horizons, PolicySpaces
from scorefield.control.data.tasks import with_tasks
from scorefield.control.data.windows import Windows
from scorefield.control.environments.planar import TWO_ROUTES, PlanarTask
from scorefield.control.environments.task_observations import TaskObservationWrapper
from scorefield.control.evaluation.rollout import roll_out
from scorefield.control.networks.settings import PerceptronSettings
from scorefield.control.policies.diffusion_policy import DiffusionPolicy
from scorefield.control.policies.export import export_policy
from scorefield.control.policies.loading import load_policy
from scorefield.control.policies.policy import ChunkRequest
from scorefield.control.policies.runner import ExportedPolicy
from scorefield.control.training.train import TrainingSettings, train_policy

TEXTS = ["pull", "push", "pull"]
HORIZONS = Horizons(2, 4, 5)
TRAIN = ["--quiet", "--batch-size", "4", "--width", "16", "--layers", "1", "--task-text"]
TRAIN += ["--n-action-steps", "1", "--n-obs-steps", "1", "--horizon", "2"]


def two_ways() -> tuple[Episodes, tuple[str, ...]]:
    """The same states, in which a text alone says whether the action is 1 or -1."""
    state = np.linspace(-1, 1, 12)[:, None]
    sides = {"pull": -1.0, "push": 1.0}
    episodes = [
        Episode(state, np.full((12, 1), sides[text]), rate=10.0, name=text)
        for text in 4 * ["pull", "push"]
    ]
    return with_tasks(Episodes.of(episodes), [episode.name for episode in episodes])


def test_states_end_in_their_tasks() -> None:
    episodes = Episodes.of(
        Episode(STATES[i], np.zeros((LENGTHS[i], 2)), name=str(i)) for i in range(3)
    )
    told, tasks = with_tasks(episodes, TEXTS)
    assert tasks == ("pull", "push")
    for number, text in enumerate(TEXTS):
        end = told[number].state[:, -2:]
        assert (end == [text == "pull", text == "push"]).all()
        assert (told[number].state[:, :-2] == episodes[number].state).all()
    with pytest.raises(ValueError, match="2 task texts for 3 episodes"):
        with_tasks(episodes, TEXTS[:2])
    with pytest.raises(ValueError, match="the task of episode 1 is an empty text"):
        with_tasks(episodes, ["pull", " ", "pull"])


def test_what_it_is_told_is_what_it_does(tmp_path: Path) -> None:
    episodes, tasks = two_ways()
    spaces = PolicySpaces.of(episodes, tasks=tasks)
    policy = DiffusionPolicy(spaces, HORIZONS, PerceptronSettings(32, 1, 8))
    settings = TrainingSettings(steps=150, batch_size=32, learning_rate=1e-2)
    trained = train_policy(policy, Windows(episodes, HORIZONS), settings, tmp_path / "run")
    loaded = load_policy(tmp_path / "run" / "policy")
    assert loaded.spaces == spaces
    state = {"state": torch.zeros(6, 2, 1)}
    for text, side in (("pull", -1.0), ("push", 1.0)):
        found = loaded.act(state, task=text)
        assert float((found - side).abs().max()) < 0.3
        torch.testing.assert_close(found, trained.act({**state, "task": text}))
        told = {"observation.state": state["state"], "task": [text] * 6}
        torch.testing.assert_close(found, loaded.act(told))
    with pytest.raises(ValueError, match=r"no task 'pul'; the nearest of its 2 are 'pull', 'push'"):
        loaded.act(state, task="pul")
    with pytest.raises(ValueError, match=r"acts by a task text, act\(..., task=...\), one of"):
        loaded.act(state)
    export_policy(loaded, tmp_path / "out")
    exported, one = ExportedPolicy(tmp_path / "out"), np.zeros((2, 1))
    for text, side in (("pull", -1.0), ("push", 1.0)):
        assert np.abs(exported.act({"state": one}, task=text) - side).max() < 0.3
    with pytest.raises(ValueError, match="knows no task 'pul'"):
        exported.act({"state": one}, task="pul")
    with pytest.raises(ValueError, match=r"observations must be \['state'\]"):
        exported.act({}, task="push")


def test_without_texts_nothing_can_be_told() -> None:
    policy = DiffusionPolicy(
        PolicySpaces(1, 1, (-1.0,), (1.0,)), HORIZONS, PerceptronSettings(16, 1)
    )
    state = {"state": torch.zeros(2, 1)}
    assert policy.act({**state, "task": "push"}).equal(policy.act(state))
    with pytest.raises(ValueError, match="was trained without task texts"):
        policy.act(state, task="push")


def test_the_command_takes_the_texts_of_lerobot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = {"tasks": [[text] for text in TEXTS]}
    words = ["policy", "train", str(lerobot(tmp_path / "set", video=False, rows=rows)), *TRAIN]
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    assert main([*words, "--steps", "4", "--out", str(straight)]) == 0
    assert "told one of 2 tasks: 'pull', 'push'" in capsys.readouterr().out
    spaces = load_policy(straight / "policy").spaces
    assert (spaces.state, spaces.tasks) == (3 + 2, ("pull", "push"))
    # resumed with what it was told, and not without
    assert main([*words, "--steps", "4", "--out", str(resumed)]) == 0
    without = [word for word in words if word != "--task-text"]
    assert main([*without, "--steps", "4", "--out", str(resumed), "--resume"]) == 2
    assert "was made with demonstrations" in capsys.readouterr().err
    assert main([*words, "--steps", "4", "--out", str(resumed), "--resume"]) == 0
    weights = [load_file(run / "policy" / "policy.safetensors") for run in (straight, resumed)]
    assert all(tensor.equal(weights[1][name]) for name, tensor in weights[0].items())


def test_episodes_of_no_task_or_of_several_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = {"tasks": [["pull"], ["pull", "push"], ["push"]]}
    words = ["policy", "train", str(lerobot(tmp_path / "set", video=False, rows=rows)), *TRAIN]
    assert main([*words, "--out", str(tmp_path / "x")]) == 2
    told = capsys.readouterr().err
    assert "needs one of LeRobot's per episode, and episode 1 has ['pull', 'push']" in told


def told_policy(folder: Path, *tasks: str) -> Path:
    """Of the two routes, with random weights, that is told one of some tasks."""
    spaces = PlanarTask(TWO_ROUTES).spaces
    told = replace(spaces, state=spaces.state + len(tasks), tasks=tasks)
    policy = DiffusionPolicy(told, Horizons(2, 7, 8), PerceptronSettings(32, 1, bandwidth=2.0))
    low, high = (torch.tensor(side) for side in (spaces.low, spaces.high))
    policy.actions = Normalizer(2 / (high - low), -(high + low) / (high - low))
    return policy.save(folder)


def test_an_environment_tells_the_task(tmp_path: Path) -> None:
    policy, environment = (
        load_policy(told_policy(tmp_path, "left", "right")),
        PlanarTask(TWO_ROUTES),
    )
    wrapped = TaskObservationWrapper(environment, "right", policy.spaces.tasks)
    first = wrapped.reset([3, 4])
    np.testing.assert_array_equal(first["state"][:, -2:], [[0, 1], [0, 1]])
    rollout = roll_out(policy, wrapped, [3])[0]
    history = {"state": np.stack([rollout.states[0, :2]] * 2)[None]}
    request = {"state": torch.from_numpy(np.stack([rollout.states[0]] * 2))[None]}
    by_hand = policy.chunk(ChunkRequest(request, 0, items=[3]))[0, policy.horizons.executed]
    done = torch.from_numpy(rollout.actions[:7])
    torch.testing.assert_close(done, by_hand[: len(done)])
    # act tells the same numbers
    told = [policy.act(history, task=text) for text in ("left", "right")]
    torch.testing.assert_close(told[1], policy.act(request))
    assert float((told[0] - told[1]).abs().max()) > 1e-3
    with pytest.raises(ValueError, match="nearest of its 2 are 'right', 'left'"):
        TaskObservationWrapper(environment, "rigth", policy.spaces.tasks)


def test_evaluate_tells_the_task_that_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = told_policy(tmp_path / "two", "left", "right")
    one, none = told_policy(tmp_path / "one", "left"), told_policy(tmp_path / "none")
    words = ["policy", "evaluate", "--env", "two-routes", "--episodes", "2", "--quiet", "--json"]
    roughness = []
    for task in ("left", "right"):
        assert main([*words, str(two), "--task", task, "--out", str(tmp_path / task)]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["task"] == task
        roughness.append(told["roughness"])
    assert roughness[0] != roughness[1]
    assert main([*words, str(one), "--out", str(tmp_path / "only")]) == 0
    assert json.loads(capsys.readouterr().out)["task"] == "left"
    assert main([*words, str(none), "--out", str(tmp_path / "untold")]) == 0
    assert "task" not in json.loads(capsys.readouterr().out)
    for policy, more, message in (
        (two, [], f"{two} is told a task: say with --task which of 'left', 'right'"),
        (two, ["--task", "lef"], "--task: the policy knows no task 'lef'; the nearest of its 2"),
        (one, ["--task", "right"], "--task: the policy knows no task 'right'"),
        (none, ["--task", "left"], f"{none} was trained without --task-text"),
    ):
        assert main([*words, str(policy), *more, "--out", str(tmp_path / "no")]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1, error
        assert not (tmp_path / "no").exists()


def test_an_environment_s_policy_is_told_too_and_so_is_its_student(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # a state and actions such as the two routes have
    monkeypatch.setattr(demonstration_files, "STATES", [0.1 * x[:, :2] for x in STATES])
    monkeypatch.setattr(demonstration_files, "ACTIONS", [0.1 * x for x in ACTIONS])
    info = {
        "fps": 10,
        "features": {
            "observation.state": {"dtype": "float32", "shape": [2]},
            "action": {"dtype": "float32", "shape": [2]},
        },
    }
    rows = {"tasks": [[text] for text in TEXTS]}
    demos = str(lerobot(tmp_path / "set", video=False, rows=rows, info=info))
    words = ["policy", "train", demos, *TRAIN, "--env", "two-routes", "--steps", "2"]
    assert main([*words, "--out", str(tmp_path / "a")]) == 0
    assert "--env two-routes --task pull --out" in capsys.readouterr().out
    assert load_policy(tmp_path / "a").spaces.tasks == ("pull", "push")
    distil = ["policy", "distill", str(tmp_path / "a"), demos, "--quiet", "--updates", "2"]
    distil += ["--regression-updates", "1"]
    assert main([*distil, "--batch-size", "4", "--out", str(tmp_path / "b")]) == 0
    assert load_policy(tmp_path / "b").spaces.tasks == ("pull", "push")
