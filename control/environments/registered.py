"""Any environment that is registered with gymnasium, by its id."""

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import gymnasium
import numpy as np
from numpy.typing import NDArray

from scorefield.control.data.episode import observed_as
from scorefield.control.environments.image_observations import VIEW
from scorefield.control.environments.simulators import GymnasiumEnvironment
from scorefield.files import parse_json

_STEPS = 1000
"""Of an episode, where the registration says no other number."""


def registered(identifier: str) -> GymnasiumEnvironment:
    """An environment by its id, such as Pendulum-v1, or MODULE:ID for a module that registers it.

    Arguments follow as in an address, Pendulum-v1?g=9.81 or Meta-World/MT1?env_name=push-v3:
    numbers and the like as JSON, and all else as texts.

    Its actions are a bounded Box of one axis. Of what it observes, vectors and numbers are the
    state, those of a Dict side by side in its order, and colour images are cameras; one that
    stands alone is called "view". Steps per second are 1 / dt of the environment, or its
    `render_fps`.

    Raises:
        ValueError: there is none of this id, what it needs is not installed, or its actions or
            observations are of another kind.
    """
    first = _made(identifier)
    observe = _observer(identifier, first.observation_space)
    steps = first.spec.max_episode_steps if first.spec is not None else None
    copies = [first]
    try:
        return GymnasiumEnvironment(
            lambda: copies.pop() if copies else _made(identifier),
            name=f"gym:{identifier}",
            max_steps=steps or _STEPS,
            rate=_rate(first),
            observe=observe,
        )
    except ValueError:
        raise
    except Exception as error:
        raise _refused(identifier, error) from error


def _made(identifier: str) -> gymnasium.Env[Any, Any]:
    name, _, query = identifier.partition("?")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
        arguments: dict[str, Any] = {key: _value(text) for key, text in pairs}
        arguments["disable_env_checker"] = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it draws no images, or has a later version
            try:
                return gymnasium.make(name, render_mode="rgb_array", **arguments)
            except TypeError:  # it takes no render_mode
                return gymnasium.make(name, **arguments)
    except Exception as error:  # whatever the environment's own code raises
        raise _refused(identifier, error) from error


def _value(text: str) -> Any:
    """An argument from its text."""
    try:
        return parse_json(text)
    except ValueError:
        return text


def _refused(identifier: str, error: Exception) -> ValueError:
    reason = " ".join(str(error).split())
    return ValueError(
        f"gym:{identifier} cannot be made ({type(error).__name__}: {reason}); name a "
        "registered id, or MODULE:ID of the module that registers it, and what it must be given as "
        "ID?name=value"
    )


def _rate(environment: gymnasium.Env[Any, Any]) -> float | None:
    """Steps per second."""
    step = getattr(environment.unwrapped, "dt", None)
    if isinstance(step, int | float) and math.isfinite(step) and step > 0:
        return float(1 / step)
    shown = environment.metadata.get("render_fps")
    return None if shown is None else float(shown)


def _observer(identifier: str, space: Any) -> Callable[[Any], Mapping[str, NDArray[Any]]]:
    """What gives the state and the images of an observation."""
    inside = space.spaces if isinstance(space, gymnasium.spaces.Dict) else {VIEW: space}
    kinds = {key: _kind(one) for key, one in inside.items()}
    if wrong := [key for key, kind in kinds.items() if not kind]:
        raise ValueError(
            f"gym:{identifier}: observes {inside[wrong[0]]}; a policy sees vectors, and images "
            "of (height, width, 3): wrap the environment"
        )
    vectors = [key for key, kind in kinds.items() if kind == "vector"]
    images = {observed_as(key): key for key, kind in kinds.items() if kind == "images"}

    def observe(seen: Any) -> dict[str, NDArray[Any]]:
        parts = seen if isinstance(space, gymnasium.spaces.Dict) else {VIEW: seen}
        numbers = [np.asarray(parts[key], dtype=np.float64).reshape(-1) for key in vectors]
        return {
            "state": np.concatenate([*numbers, np.zeros(0)]),
            **{name: _frame(parts[key], inside[key]) for name, key in images.items()},
        }

    return observe


def _kind(space: Any) -> str:
    if not isinstance(space, gymnasium.spaces.Box):
        return ""
    if len(space.shape) < 2:
        return "vector"
    return "images" if len(space.shape) == 3 and space.shape[2] == 3 else ""


def _frame(image: Any, space: gymnasium.spaces.Box) -> NDArray[Any]:
    """An image as uint8, or as floats in [0, 1], by what its space says is white."""
    image = np.asarray(image)
    if image.dtype == np.uint8 or float(np.max(space.high)) <= 1:
        return image
    return image / 255
