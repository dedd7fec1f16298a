"""Control by denoising: policies that sample action chunks given observations.

Readers of other formats are in `scorefield.control.formats`, simulators, which are installed apart,
in `scorefield.control.simulators`.
"""

from scorefield.control.chunk_policy import HEADS, ChunkPolicy, ChunkPolicyTask, train_chunk_policy
from scorefield.control.collection import collect, demonstrate
from scorefield.control.drawing import draw_paths, write_video
from scorefield.control.environment import Environment, Expert, Observations, Step
from scorefield.control.episodes import Episode, Episodes, EpisodeWriter, write_episodes
from scorefield.control.heads import (
    Diffusion,
    Head,
    Mixture,
    RecurrentMixture,
    SquaredError,
    TwoStep,
)
from scorefield.control.limits import Limits, bounded
from scorefield.control.planar import AVOIDING, TWO_ROUTES, Layout, PlanarTask
from scorefield.control.policy import Policy
from scorefield.control.rollout import Rollout, latency, roll_out
from scorefield.control.routes import DISTURBANCE, SPEED, RouteExpert
from scorefield.control.scores import Scores, bootstrap, score, wilson
from scorefield.control.spaces import Horizons, PolicySpaces
from scorefield.control.trunk import Trunk, TrunkSettings
from scorefield.control.windows import Windows, as_pictures

__all__ = [
    "AVOIDING",
    "DISTURBANCE",
    "HEADS",
    "SPEED",
    "TWO_ROUTES",
    "ChunkPolicy",
    "ChunkPolicyTask",
    "Diffusion",
    "Environment",
    "Episode",
    "EpisodeWriter",
    "Episodes",
    "Expert",
    "Head",
    "Horizons",
    "Layout",
    "Limits",
    "Mixture",
    "Observations",
    "PlanarTask",
    "Policy",
    "PolicySpaces",
    "RecurrentMixture",
    "Rollout",
    "RouteExpert",
    "Scores",
    "SquaredError",
    "Step",
    "Trunk",
    "TrunkSettings",
    "TwoStep",
    "Windows",
    "as_pictures",
    "bootstrap",
    "bounded",
    "collect",
    "demonstrate",
    "draw_paths",
    "latency",
    "roll_out",
    "score",
    "train_chunk_policy",
    "wilson",
    "write_episodes",
    "write_video",
]
