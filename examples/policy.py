"""A policy from nothing: demonstrations, training, rollouts, and a picture of both routes.

An expert passes a disc on either side, by a fair coin. A diffusion policy learns both ways; a
policy of the mean goes between them, into the disc.

    python examples/policy.py
"""

import tempfile
from pathlib import Path

from scorefield.control.data.episodes import Episodes
from scorefield.control.data.spaces import Horizons
from scorefield.control.data.windows import Windows
from scorefield.control.environments.collection import demonstrate
from scorefield.control.environments.planar import TWO_ROUTES, PlanarTask
from scorefield.control.environments.routes import DISTURBANCE, RouteExpert
from scorefield.control.evaluation.drawing import draw_paths
from scorefield.control.evaluation.rollout import roll_out
from scorefield.control.evaluation.scores import score
from scorefield.control.networks.settings import TrunkSettings
from scorefield.control.policies.chunk_policy import ChunkPolicy, train_chunk_policy
from scorefield.control.policies.heads import Diffusion, SquaredError
from scorefield.priors.training.settings import TrainingSettings


def main(picture: str = "policy.png", steps: int = 1500, episodes: int = 60) -> None:
    """Train both policies, print their figures and draw their paths."""
    world = PlanarTask(TWO_ROUTES, noise=DISTURBANCE)
    demonstrations = Episodes.of(demonstrate(world, RouteExpert(TWO_ROUTES), range(100)))
    windows = Windows(demonstrations, Horizons(observation=2, action=8, prediction=9))
    task, panels = PlanarTask(TWO_ROUTES), {}
    for name, head in (("diffusion", Diffusion), ("squared error", SquaredError)):
        policy = ChunkPolicy(head, task.spaces, windows.horizons, TrunkSettings(width=128))
        settings = TrainingSettings(steps, batch_size=256, learning_rate=1e-3)
        with tempfile.TemporaryDirectory() as folder:
            trained = train_chunk_policy(policy, windows, settings, Path(folder), progress=True)
        panels[name] = roll_out(trained, task, range(100_000, 100_000 + episodes))
        scores = score(panels[name], task.spaces, task.modes, windows.horizons.action)
        print(f"{name}: success {scores.success:.2f}, left and right {scores.modes}")
    draw_paths(TWO_ROUTES, panels, picture)


if __name__ == "__main__":
    main()
