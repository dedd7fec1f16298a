"""The environments that the command line knows by name, and their experts."""

import os
from typing import Any

from scorefield.control.environments.environment import Environment, Expert
from scorefield.control.environments.planar import AVOIDING, TWO_ROUTES, Layout, PlanarTask
from scorefield.control.environments.routes import DISTURBANCE, RouteExpert

PLANAR: dict[str, Layout] = {"two-routes": TWO_ROUTES, "avoiding": AVOIDING}
"""The tasks that need no simulator."""

NAMES = (*PLANAR, "push-t", "metaworld/TASK", "gym:ID")
"""What can be named; TASK is one of Meta-World's, such as push-v3, and ID is registered with
gymnasium, such as Pendulum-v1."""


def environment_of(name: str) -> Environment:
    """The environment of that name.

    Raises:
        ValueError: there is none, or what it needs is not installed.
    """
    if name in PLANAR:
        return PlanarTask(PLANAR[name])
    simulators = _simulators(name)
    if name == "push-t":
        return simulators.push_t()
    if name.startswith("gym:"):
        from scorefield.control.environments.registered import registered

        return registered(name.removeprefix("gym:"))
    return simulators.meta_world(name.removeprefix("metaworld/"))


def demonstration_of(name: str) -> tuple[Environment, Expert]:
    """Where demonstrations are collected, with more noise than where policies act, and by whom.

    Raises:
        ValueError: there is no such environment, or nobody demonstrates in it.
    """
    if name in PLANAR:
        return PlanarTask(PLANAR[name], noise=DISTURBANCE), RouteExpert(PLANAR[name])
    if name.startswith("gym:"):
        raise ValueError(f"nobody demonstrates in {name}; policies are evaluated there")
    simulators = _simulators(name)
    if name == "push-t":
        environment = simulators.push_t()  # refuses if gym-pusht is not installed
        from scorefield.control.environments.push_t_expert import PushTExpert

        return environment, PushTExpert()
    task = name.removeprefix("metaworld/")
    return simulators.meta_world(task), simulators.MetaWorldExpert(task)


def _simulators(name: str) -> Any:
    """The module of the simulators, which are installed apart."""
    if name != "push-t" and not name.startswith(("metaworld/", "gym:")):
        raise ValueError(f"there is no environment {name!r}; there are {', '.join(NAMES)}")
    # pygame, which draws Push-T, looks for a screen.
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    try:
        from scorefield.control.environments import simulators
    except ImportError as error:
        raise ValueError(f"{name} needs gymnasium: pip install 'scorefield[control]'") from error
    return simulators
