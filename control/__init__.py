"""Control by denoising: policies that sample action chunks given observations.

Readers of other formats are in `scorefield.control.formats`, simulators, which are installed apart,
in `scorefield.control.simulators`.
"""

from scorefield.control.chunk_policy import HEADS, ChunkPolicy, train_chunk_policy
from scorefield.control.chunking import Continuing, continue_chunk, soft_mask
from scorefield.control.collection import collect, demonstrate
from scorefield.control.denoising import (
    ChunkDenoiser,
    Follow,
    RealTime,
    WarmStart,
    draw_chunk,
)
from scorefield.control.diffusion_policy import DiffusionPolicy, DiffusionSettings
from scorefield.control.diffusion_training import (
    DiffusionPolicyTask,
    power_decay,
    train_diffusion_policy,
)
from scorefield.control.drawing import draw_paths, write_video
from scorefield.control.draws import Draws
from scorefield.control.encoders import EncoderSettings, ObservationEncoder
from scorefield.control.environment import Environment, Expert, Observations, Step
from scorefield.control.episodes import Episode, Episodes, EpisodeWriter, write_episodes
from scorefield.control.export import export_policy
from scorefield.control.heads import (
    Diffusion,
    Head,
    Mixture,
    RecurrentMixture,
    SquaredError,
    TwoStep,
)
from scorefield.control.limits import Limits, bounded
from scorefield.control.loading import load_policy
from scorefield.control.network import ChunkNetwork
from scorefield.control.observing import VIEW, Observing
from scorefield.control.planar import AVOIDING, TWO_ROUTES, Layout, PlanarTask
from scorefield.control.policy import ChunkRequest, NetworkPolicy, Policy
from scorefield.control.processes import Processes
from scorefield.control.rollout import Rollout, latency, roll_out
from scorefield.control.routes import DISTURBANCE, SPEED, RouteExpert
from scorefield.control.scores import Scores, bootstrap, score, wilson
from scorefield.control.solver import SolverStep, solve, solver_steps
from scorefield.control.spaces import Horizons, PolicySpaces
from scorefield.control.training import PolicyTask, train_policy
from scorefield.control.transformer import Transformer, TransformerSettings
from scorefield.control.trunk import Trunk, TrunkSettings
from scorefield.control.unet1d import UNet1D, UNet1DSettings
from scorefield.control.windows import Windows, as_pictures
from scorefield.priors.training.task import TrainingSettings

__all__ = [
    "AVOIDING",
    "DISTURBANCE",
    "HEADS",
    "SPEED",
    "TWO_ROUTES",
    "VIEW",
    "ChunkDenoiser",
    "ChunkNetwork",
    "ChunkPolicy",
    "ChunkRequest",
    "Continuing",
    "Diffusion",
    "DiffusionPolicy",
    "DiffusionPolicyTask",
    "DiffusionSettings",
    "Draws",
    "EncoderSettings",
    "Environment",
    "Episode",
    "EpisodeWriter",
    "Episodes",
    "Expert",
    "Follow",
    "Head",
    "Horizons",
    "Layout",
    "Limits",
    "Mixture",
    "NetworkPolicy",
    "ObservationEncoder",
    "Observations",
    "Observing",
    "PlanarTask",
    "Policy",
    "PolicySpaces",
    "PolicyTask",
    "Processes",
    "RealTime",
    "RecurrentMixture",
    "Rollout",
    "RouteExpert",
    "Scores",
    "SolverStep",
    "SquaredError",
    "Step",
    "TrainingSettings",
    "Transformer",
    "TransformerSettings",
    "Trunk",
    "TrunkSettings",
    "TwoStep",
    "UNet1D",
    "UNet1DSettings",
    "WarmStart",
    "Windows",
    "as_pictures",
    "bootstrap",
    "bounded",
    "collect",
    "continue_chunk",
    "demonstrate",
    "draw_chunk",
    "draw_paths",
    "export_policy",
    "latency",
    "load_policy",
    "power_decay",
    "roll_out",
    "score",
    "soft_mask",
    "solve",
    "solver_steps",
    "train_chunk_policy",
    "train_diffusion_policy",
    "train_policy",
    "wilson",
    "write_episodes",
    "write_video",
]
