"""Control by denoising: policies that sample action chunks given observations.

Readers of other formats are in `scorefield.control.data.formats`, simulators,
which are installed apart, in `scorefield.control.environments.simulators`.
"""

from scorefield.control.data.episodes import Episode, Episodes, EpisodeWriter, write_episodes
from scorefield.control.data.normalizer import Limits, bounded
from scorefield.control.data.spaces import Horizons, PolicySpaces
from scorefield.control.data.windows import Windows, as_pictures
from scorefield.control.environments.collection import collect, demonstrate
from scorefield.control.environments.environment import Environment, Expert, Observations, Step
from scorefield.control.environments.image_observations import VIEW, Observing
from scorefield.control.environments.planar import AVOIDING, TWO_ROUTES, Layout, PlanarTask
from scorefield.control.environments.routes import DISTURBANCE, SPEED, RouteExpert
from scorefield.control.evaluation.drawing import draw_paths, write_video
from scorefield.control.evaluation.rollout import Rollout, latency, roll_out
from scorefield.control.evaluation.scores import Scores, bootstrap, score, wilson
from scorefield.control.networks.encoders import EncoderSettings, ObservationEncoder
from scorefield.control.networks.network import ChunkNetwork
from scorefield.control.networks.perceptron import Trunk, TrunkSettings
from scorefield.control.networks.transformer import Transformer, TransformerSettings
from scorefield.control.networks.unet1d import UNet1D, UNet1DSettings
from scorefield.control.policies.chunk_policy import HEADS, ChunkPolicy, train_chunk_policy
from scorefield.control.policies.chunking import Continuing, continue_chunk, soft_mask
from scorefield.control.policies.denoising import (
    ChunkDenoiser,
    Follow,
    RealTime,
    WarmStart,
    draw_chunk,
)
from scorefield.control.policies.diffusion_policy import DiffusionPolicy, DiffusionSettings
from scorefield.control.policies.draws import Draws
from scorefield.control.policies.export import export_policy
from scorefield.control.policies.heads import (
    Diffusion,
    Head,
    Mixture,
    RecurrentMixture,
    SquaredError,
    TwoStep,
)
from scorefield.control.policies.loading import load_policy
from scorefield.control.policies.policy import ChunkRequest, NetworkPolicy, Policy
from scorefield.control.policies.solver import SolverStep, solve, solver_steps
from scorefield.control.training.diffusion import (
    DiffusionPolicyTask,
    power_decay,
    train_diffusion_policy,
)
from scorefield.control.training.processes import Processes
from scorefield.control.training.train import PolicyTask, train_policy

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
