"""Environments of gymnasium: any, Meta-World with its scripted experts, and Push-T.

Needs `pip install 'scorefield[control]'`.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from scorefield.control.data.spaces import PolicySpaces
from scorefield.control.environments.environment import Observations, Step
from scorefield.control.environments.planar import PlanarTask

PUSH_T_STEPS = 300
META_WORLD_STEPS = 300
"""The experts need 40 to 90; the simulator itself allows 500."""


class GymnasiumEnvironment:
    """n copies of a gymnasium environment, made when they are needed; an `Environment`.

    Copies whose episode has ended are not stepped any more.
    """

    modes = 0

    def __init__(
        self,
        make: Callable[[], gymnasium.Env[Any, Any]],
        *,
        name: str,
        max_steps: int,
        rate: float | None = None,
        observe: Callable[[Any], Mapping[str, NDArray[Any]]] | None = None,
        success: Callable[[Mapping[str, Any]], bool] | None = None,
    ) -> None:
        """Makes the first copy.

        Args:
            make: one environment; its actions are a bounded Box of one axis, of whole numbers the
                nearest is taken.
            name: for tables.
            max_steps: an episode ends after so many.
            rate: steps per second; None: the environment's `render_fps`, if it says one.
            observe: "state" (D,) and images (H, W, 3) by camera, uint8 or floats in [0, 1], of
                an observation; None: an observation of one axis is the state.
            success: whether the goal is reached, of a step's info; None: its `is_success`, or
                `success`. An episode ends with it.

        Raises:
            ValueError: actions or observations are of another kind.
        """
        self.name = name
        self.max_steps = max_steps
        self._make = make
        self._observe = observe or _vector
        self._success = success or _succeeded
        self._copies = [make()]
        first = self._copies[0]
        box = first.action_space
        bounded = isinstance(box, gymnasium.spaces.Box) and box.is_bounded() and len(box.shape) == 1
        if not bounded:
            raise ValueError(
                f"{name}: actions are {box}; a policy needs a bounded Box of one axis: wrap the "
                "environment"
            )
        assert isinstance(box, gymnasium.spaces.Box)
        seen = self._observe(first.reset(seed=0)[0])
        rate = first.metadata.get("render_fps") if rate is None else rate
        self.spaces = PolicySpaces(
            state=len(seen["state"]),
            images={key: image.shape[:2] for key, image in seen.items() if key != "state"},
            action=box.shape[0],
            low=tuple(float(bound) for bound in box.low),
            high=tuple(float(bound) for bound in box.high),
            rate=None if rate is None else float(rate),
        )
        self._dtype = box.dtype

    def reset(self, seeds: Sequence[int]) -> Observations:
        """Begins one episode per seed."""
        while len(self._copies) < len(seeds):
            self._copies.append(self._make())
        self._seen = [
            dict(self._observe(copy.reset(seed=int(seed))[0]))
            for copy, seed in zip(self._copies, seeds, strict=False)
        ]
        self._done = 0
        self._succeeded = np.zeros(len(seeds), dtype=bool)
        self._ended = np.zeros(len(seeds), dtype=bool)
        return self._observations()

    def step(self, actions: NDArray[Any]) -> Step:
        """One step of all that have not ended; actions are brought into their bounds."""
        inside = np.clip(actions, self.spaces.low, self.spaces.high)
        if np.issubdtype(self._dtype, np.integer):
            inside = np.rint(inside)
        inside = inside.astype(self._dtype)
        rewards = np.zeros(len(self._ended))
        self._done += 1
        for i in np.flatnonzero(~self._ended):
            seen, reward, terminated, truncated, info = self._copies[i].step(inside[i])
            self._seen[i] = dict(self._observe(seen))
            rewards[i] = float(reward)
            self._succeeded[i] = self._success(info)
            over = terminated or truncated or self._done >= self.max_steps
            self._ended[i] = bool(over or self._succeeded[i])
        return Step(self._observations(), rewards, self._succeeded.copy(), self._ended.copy())

    def mode(self) -> NDArray[np.int64]:
        """(n,) of -1: no ways are told apart."""
        return np.full(len(self._ended), -1, dtype=np.int64)

    def frames(self) -> NDArray[np.uint8]:
        """(n, H, W, 3): what `render` of each gives."""
        copies = self._copies[: len(self._ended)]
        return np.stack([np.asarray(copy.render(), dtype=np.uint8) for copy in copies])

    def _observations(self) -> Observations:
        together = {name: np.stack([one[name] for one in self._seen]) for name in self._seen[0]}
        return {
            name: array.astype(np.float32) if name == "state" else self._images(name, array)
            for name, array in together.items()
        }

    def _images(self, camera: str, images: NDArray[Any]) -> NDArray[np.uint8]:
        """(n, H, W, 3) of bytes, from those or from floats in [0, 1]."""
        if images.dtype == np.uint8:
            return images
        low, high = float(images.min()), float(images.max())
        if images.dtype.kind != "f" or not (low >= 0 and high <= 1):
            raise ValueError(
                f"{self.name}: images of {camera} are {images.dtype} in [{low:g}, {high:g}]; "
                "they must be uint8, or floats in [0, 1]: convert them with `observe`"
            )
        return np.rint(255 * images).astype(np.uint8)


def meta_world(task: str) -> GymnasiumEnvironment:
    """A task of Meta-World, such as "push-v3", from the 39 numbers it observes, the goal included.

    Where things lie and where they should go is drawn anew for every seed. 80 steps a second.

    Raises:
        ValueError: there is no such task.
    """
    return GymnasiumEnvironment(
        lambda: _MetaWorld(task),
        name=f"metaworld/{task}",
        max_steps=META_WORLD_STEPS,
        rate=80.0,
        success=lambda info: bool(info["success"]),
    )


class MetaWorldExpert:
    """The scripted policy of a Meta-World task; an `Expert`.

    What it asks for beyond the bounds of the actions is cut off, as the simulator does.
    """

    def __init__(self, task: str) -> None:
        from metaworld.policies import ENV_POLICY_MAP

        self._make = _known(task, ENV_POLICY_MAP)

    def begin(self, seeds: Sequence[int]) -> None:
        """A policy of its own for every episode."""
        self._policies = [self._make() for _ in seeds]

    def act(self, observations: Observations) -> NDArray[Any]:
        """(n, 4): change of the hand's position and effort of the gripper, in [-1, 1]."""
        rows = zip(self._policies, observations["state"].astype(np.float64), strict=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it exceeds the bounds
            actions = np.stack([policy.get_action(row) for policy, row in rows])
        return np.clip(actions, -1, 1)


def push_t() -> GymnasiumEnvironment:
    """Push-T of gym-pusht: a T is pushed onto its place (Florence et al. 2021, Chi et al. 2023).

    The state is the position of the agent and the corners of the T, 2 + 16 numbers in pixels; the
    action is the position to move to. The reward is the coverage of the place over 0.95, at most 1,
    and success is a coverage of 0.95: two figures, and the field confuses them. Seeds are
    gym-pusht's and not those of the paper.
    """
    try:
        import gym_pusht  # noqa: F401  (registers the environment)
    except ImportError as error:
        raise ValueError("Push-T needs gym-pusht: pip install 'scorefield[control]'") from error

    def make() -> gymnasium.Env[Any, Any]:
        return gymnasium.make(
            "gym_pusht/PushT-v0",
            obs_type="environment_state_agent_pos",
            render_mode="rgb_array",
            max_episode_steps=PUSH_T_STEPS,
            disable_env_checker=True,
        )

    def observe(seen: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return {"state": np.concatenate([seen["agent_pos"], seen["environment_state"]])}

    return GymnasiumEnvironment(
        make, name="push-t", max_steps=PUSH_T_STEPS, rate=10.0, observe=observe
    )


class PlanarEnv(gymnasium.Env[Any, Any]):
    """One point of a `PlanarTask` as a gymnasium environment, for the libraries that take one."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 (gymnasium's own)
    render_mode = "rgb_array"

    def __init__(self, task: PlanarTask) -> None:
        self.task = task
        low, high = (
            np.array(bound, dtype=np.float32) for bound in (task.layout.low, task.layout.high)
        )
        self.action_space = gymnasium.spaces.Box(low, high)
        self.observation_space = gymnasium.spaces.Box(low, high)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begins the episode of a seed, or of one that is drawn."""
        super().reset(seed=seed)
        drawn = int(self.np_random.integers(2**31)) if seed is None else seed
        return self.task.reset([drawn])["state"][0], {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step; the info says `is_success` and, where all rows are passed, the `mode`."""
        step = self.task.step(np.asarray(action)[None])
        info = {"is_success": bool(step.success[0]), "mode": int(self.task.mode()[0])}
        ended, late = bool(step.ended[0]), bool(self.task.timed_out[0])
        return (
            step.observations["state"][0],
            float(step.reward[0]),
            ended and not late,
            ended and late,
            info,
        )

    def render(self) -> Any:
        """(96, 96, 3)."""
        return self.task.frames()[0]


class _MetaWorld(gymnasium.Env[Any, Any]):
    """One task whose draw depends on the seed alone; gymnasium's own MT1 keeps 50 draws apart."""

    def __init__(self, task: str) -> None:
        try:
            from metaworld.env_dict import ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE as TASKS
        except ImportError as error:
            raise ValueError(
                "Meta-World is not installed: pip install 'scorefield[control]'"
            ) from error
        names = {key.removesuffix("-goal-observable"): make for key, make in TASKS.items()}
        self._env = _known(task, names)(render_mode="rgb_array")
        self._env.seeded_rand_vec, self._env._freeze_rand_vec = True, False
        self.action_space = self._env.action_space
        self.observation_space = self._env.observation_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        if seed is not None:
            self._env.seed(seed)
        seen, info = self._env.reset()
        return seen, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        seen, reward, terminated, truncated, info = self._env.step(action)
        return seen, float(reward), bool(terminated), bool(truncated), info

    def render(self) -> Any:
        return self._env.render()


def _known(task: str, tasks: Mapping[str, Any]) -> Any:
    if task not in tasks:
        raise ValueError(f"Meta-World has no task {task!r}; it has {', '.join(sorted(tasks))}")
    return tasks[task]


def _vector(seen: Any) -> dict[str, NDArray[Any]]:
    array = np.asarray(seen)
    if array.ndim != 1:
        raise ValueError(
            f"observations are of shape {array.shape}, not of one axis; say with `observe` what "
            "the state and the images are"
        )
    return {"state": array}


def _succeeded(info: Mapping[str, Any]) -> bool:
    return bool(info.get("is_success", info.get("success", False)))
