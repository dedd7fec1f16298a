"""A policy from nothing: demonstrations, training, rollouts, and an image of both routes.

An expert passes a disc on either side, by a fair coin, and a diffusion policy learns both ways.

    python examples/policy.py
"""

import tempfile
from pathlib import Path

from scorefield.control import (
    TWO_ROUTES,
    DiffusionPolicy,
    DiffusionSettings,
    Episodes,
    Horizons,
    PerceptronSettings,
    PlanarTask,
    RouteExpert,
    TrainingSettings,
    Windows,
    roll_out,
    score,
    train_policy,
)
from scorefield.control.environments.collection import demonstrate
from scorefield.control.environments.routes import DISTURBANCE
from scorefield.control.evaluation.drawing import draw_paths


def main(image: str = "policy.png", steps: int = 1500, episodes: int = 60) -> None:
    """Train the policy, print its figures and draw its paths."""
    world = PlanarTask(TWO_ROUTES, noise=DISTURBANCE)
    demonstrations = Episodes.of(demonstrate(world, RouteExpert(TWO_ROUTES), range(100)))
    horizons = Horizons(n_obs_steps=2, n_action_steps=8, horizon=9)
    windows, held_out = Windows(demonstrations, horizons).split(0.1)
    task = PlanarTask(TWO_ROUTES)
    policy = DiffusionPolicy(
        task.spaces, horizons, PerceptronSettings(width=128), DiffusionSettings("x0")
    )
    settings = TrainingSettings(steps, batch_size=256, learning_rate=1e-3)
    with tempfile.TemporaryDirectory() as folder:
        policy = train_policy(
            policy, windows, settings, Path(folder), held_out=held_out, progress=True
        )
    rollouts = roll_out(policy, task, range(100_000, 100_000 + episodes))
    scores = score(rollouts, task.spaces, task.modes, horizons.n_action_steps)
    print(f"success {scores.success:.2f}, left and right {scores.modes}")
    draw_paths(TWO_ROUTES, {"diffusion policy": rollouts}, image)


if __name__ == "__main__":
    main()
