"""Frozen diffusion priors as score fields.

Levels and predictions; denoisers and what takes and gives them: guidance, composition, adapters;
samplers, correctors, energies and likelihoods; loading of pretrained models and the embedded ones.
"""

from scorefield.images import (
    contact_sheet,
    film_strips,
    load_image,
    save_gif,
    save_image,
    save_mp4,
    side_by_side,
)
from scorefield.priors.clip_unet import ClipUNet
from scorefield.priors.codec import LatentCodec, PixelCodec, VideoCodec
from scorefield.priors.composition.compose import (
    Composition,
    EnergyComposition,
    compose,
    conjunction,
)
from scorefield.priors.composition.feynman_kac import (
    WeightedParticles,
    sample_fkc,
    systematic_resampling,
)
from scorefield.priors.composition.pure_noise import FromPureNoise
from scorefield.priors.composition.superposition import Superposition, superpose_and, superpose_or
from scorefield.priors.composition.video_adapter import (
    convex_video_adapter,
    guided_video_adapter,
    inverse_video_adapter,
    video_adapter,
)
from scorefield.priors.composition.weights import Window
from scorefield.priors.conformance import ConformanceError, check_prior
from scorefield.priors.denoiser import Condition, ConditionedDenoiser, Denoiser, predict_together
from scorefield.priors.energy.ito import ito_increment, log_likelihood_ito, sample_with_likelihood
from scorefield.priors.energy.langevin import annealed_langevin, langevin
from scorefield.priors.energy.likelihood import (
    LogLikelihood,
    bits_per_dim,
    level_grid,
    log_likelihood_ode,
)
from scorefield.priors.energy.line_integral import HasEnergy, asymmetry, line_integral_energy
from scorefield.priors.energy.mcmc import HMC, MALA, UHMC, ULA, Corrector
from scorefield.priors.exact.empirical import EmpiricalPrior
from scorefield.priors.exact.gaussian_mixture import GaussianMixturePrior
from scorefield.priors.exact.standard_normal import StandardNormal
from scorefield.priors.features.cache import FeatureCache
from scorefield.priors.features.network_cost import LayerCost, NetworkCost, network_cost
from scorefield.priors.guidance.autoguidance import AutoGuidance
from scorefield.priors.guidance.cfg_plus_plus import CFGPlusPlus
from scorefield.priors.guidance.classifier import ClassifierGuidance, NoisyClassifier
from scorefield.priors.guidance.classifier_free import ClassifierFreeGuidance, GuidanceInterval
from scorefield.priors.guidance.diffusers_guiders import DiffusersGuidance
from scorefield.priors.guidance.perp_neg import PerpNeg
from scorefield.priors.guidance.projected import AdaptiveProjectedGuidance
from scorefield.priors.judge import Judge, Verdict, frechet_distance
from scorefield.priors.levels import DiscreteSchedule, FlowSchedule, NoiseLevel, NoiseSchedule
from scorefield.priors.loading import EMBEDDED, PriorError, load_prior
from scorefield.priors.noise import keyed_noise, noise_generator
from scorefield.priors.prediction import Prediction
from scorefield.priors.prior import FrozenPrior, ImagePrior
from scorefield.priors.sampling import CollapseWarning, sample
from scorefield.priors.steps import ddim_step, level_path
from scorefield.priors.text import Conditioner, PipelineTextEncoder, PromptEncoder, TextEncoder
from scorefield.runs.folder import RunFolder
from scorefield.runs.loop import NonFiniteError, Task, optimise

__all__ = [
    "EMBEDDED",
    "HMC",
    "MALA",
    "UHMC",
    "ULA",
    "AdaptiveProjectedGuidance",
    "AutoGuidance",
    "CFGPlusPlus",
    "ClassifierFreeGuidance",
    "ClassifierGuidance",
    "ClipUNet",
    "CollapseWarning",
    "Composition",
    "Condition",
    "ConditionedDenoiser",
    "Conditioner",
    "ConformanceError",
    "Corrector",
    "Denoiser",
    "DiffusersGuidance",
    "DiscreteSchedule",
    "EmpiricalPrior",
    "EnergyComposition",
    "FeatureCache",
    "FlowSchedule",
    "FromPureNoise",
    "FrozenPrior",
    "GaussianMixturePrior",
    "GuidanceInterval",
    "HasEnergy",
    "ImagePrior",
    "Judge",
    "LatentCodec",
    "LayerCost",
    "LogLikelihood",
    "NetworkCost",
    "NoiseLevel",
    "NoiseSchedule",
    "NoisyClassifier",
    "NonFiniteError",
    "PerpNeg",
    "PipelineTextEncoder",
    "PixelCodec",
    "Prediction",
    "PriorError",
    "PromptEncoder",
    "RunFolder",
    "StandardNormal",
    "Superposition",
    "Task",
    "TextEncoder",
    "Verdict",
    "VideoCodec",
    "WeightedParticles",
    "Window",
    "annealed_langevin",
    "asymmetry",
    "bits_per_dim",
    "check_prior",
    "compose",
    "conjunction",
    "contact_sheet",
    "convex_video_adapter",
    "ddim_step",
    "film_strips",
    "frechet_distance",
    "guided_video_adapter",
    "inverse_video_adapter",
    "ito_increment",
    "keyed_noise",
    "langevin",
    "level_grid",
    "level_path",
    "line_integral_energy",
    "load_image",
    "load_prior",
    "log_likelihood_ito",
    "log_likelihood_ode",
    "network_cost",
    "noise_generator",
    "optimise",
    "predict_together",
    "sample",
    "sample_fkc",
    "sample_with_likelihood",
    "save_gif",
    "save_image",
    "save_mp4",
    "side_by_side",
    "superpose_and",
    "superpose_or",
    "systematic_resampling",
    "video_adapter",
]
