"""Environments by their gymnasium id: what they show and take, and what is refused."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from scorefield.cli.main import main
from scorefield.cli.policy.environments import demonstration_of, environment_of
from scorefield.control.data.episode import Episode
from scorefield.control.data.episodes import write_episodes
from scorefield.control.environments.environment import Environment
from scorefield.control.environments.registered import registered

BOX = gymnasium.spaces.Box


class Seeing(gymnasium.Env[Any, Any]):
    """Observes whatever its space is, filled with half of the upper bounds."""

    action_space = BOX(-1, 1, (2,), np.float32)

    def __init__(self, space: Any, render_mode: str | None = None) -> None:
        self.observation_space, self.render_mode = space, render_mode

    def seen(self) -> Any:
        def half(box: Any) -> Any:
            return (np.minimum(box.high, 1e3) / 2).astype(box.dtype)

        space = self.observation_space
        inside = getattr(space, "spaces", None)
        return half(space) if inside is None else {key: half(box) for key, box in inside.items()}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return self.seen(), {}

    def step(self, action: Any) -> Any:
        return self.seen(), float(np.sum(action)), False, False, {}


SPACES: dict[str, Any] = {
    "Vector": BOX(-1, 1, (3,)),
    "Images": BOX(0, 255, (8, 9, 3), np.uint8),
    "Both": gymnasium.spaces.Dict(
        arm=BOX(-1, 1, (2,)),
        grip=BOX(0, 1, ()),
        action=BOX(0, 255, (8, 8, 3), np.float32),
        top=BOX(0, 1, (8, 8, 3), np.float32),
    ),
    "Depth": BOX(0, 5, (8, 9, 1)),
    "Text": gymnasium.spaces.Text(5),
}


@pytest.fixture(autouse=True)
def ids() -> Iterator[None]:
    for name, space in SPACES.items():
        gymnasium.register(f"{name}-v0", entry_point=Seeing, kwargs={"space": space})
    yield
    for name in SPACES:
        del gymnasium.registry[f"{name}-v0"]


def test_spaces_of_registered_environments() -> None:
    environment = environment_of("gym:Pendulum-v1")
    assert isinstance(environment, Environment) and environment.max_steps == 200
    spaces = environment.spaces
    assert (spaces.state, spaces.action, spaces.low, spaces.high) == (3, 1, (-2.0,), (2.0,))
    assert spaces.rate == 20.0 and spaces.images == {}  # 1 / dt, and not what it is drawn at
    first = environment.reset([5, 6])["state"]
    assert np.array_equal(environment.reset([6, 5])["state"], first[::-1])
    assert registered("Images-v0").spaces.images == {"view": (8, 9)}
    assert registered("Images-v0").spaces.state == 0
    both = registered("Both-v0")
    assert both.spaces.state == 3 and both.max_steps == 1000
    assert both.spaces.images == {"action_camera": (8, 8), "top": (8, 8)}
    seen = both.reset([0])
    assert seen["state"].tolist() == [[0.5, 0.5, 0.5]]
    assert (seen["action_camera"] == 128).all() and (seen["top"] == 128).all()


def test_arguments_follow_the_id() -> None:
    heavy, usual = registered("Pendulum-v1?g=30"), registered("Pendulum-v1")
    actions = np.zeros((1, 1))
    for environment in (heavy, usual):
        environment.reset([3])
    seen = [one.step(actions).observations["state"][0, 2] for one in (heavy, usual)]
    # the speed changes by 3 g / 2 sin(angle) dt
    angle = usual.reset([3])["state"][0]
    assert seen[0] - seen[1] == pytest.approx(1.5 * (30 - 10) * angle[1] * 0.05, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Pendulum-v1?weight=3", "unexpected keyword argument 'weight'"),
        ("Pendulum-v1?g", "bad query field"),
        ("Pendulum-v99", "gym:Pendulum-v99 cannot be made (VersionNotFound: "),
        ("Nothing-v0", "gym:Nothing-v0 cannot be made (NameNotFound: "),
        ("no_module:X-v0", "gym:no_module:X-v0 cannot be made (ModuleNotFoundError: "),
        ("CartPole-v1", "gym:CartPole-v1: actions are Discrete(2)"),
        ("Depth-v0", "gym:Depth-v0: observes Box(0.0, 5.0, (8, 9, 1), float32); a policy sees"),
        ("Text-v0", "gym:Text-v0: observes Text(1, 5"),
    ],
)
def test_what_cannot_be_acted_in_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        registered(name)


def test_nobody_demonstrates_there() -> None:
    with pytest.raises(ValueError, match="nobody demonstrates in gym:Pendulum-v1"):
        demonstration_of("gym:Pendulum-v1")


def test_a_policy_of_one_s_own_data_is_evaluated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    rows = [(rng.uniform(-1, 1, (20, 3)), rng.uniform(-1.5, 1.5, (20, 1))) for _ in range(3)]
    demos = write_episodes(tmp_path / "demos", [Episode(s, a) for s, a in rows])
    small = ["--quiet", "--steps", "1", "--batch-size", "4", "--width", "16", "--layers", "1"]
    assert main(["policy", "train", str(demos), *small, "--out", str(tmp_path / "a")]) == 0
    words = ["policy", "evaluate", str(tmp_path / "a" / "policy"), "--quiet", "--episodes", "2"]
    assert main([*words, "--env", "gym:Pendulum-v1", "--out", str(tmp_path / "e")]) == 0
    told = capsys.readouterr().out
    assert "mean return: -" in told and "reports no success" in told
    for name, message in (("Nothing-v0", "cannot be made"), ("Both-v0", "differ in action")):
        assert main([*words, "--env", f"gym:{name}", "--out", str(tmp_path / "f")]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1 and not (tmp_path / "f").exists()
