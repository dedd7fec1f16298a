"""Frozen diffusion priors as score fields: levels, predictions, denoisers, guidance, sampling."""

from scorefield.priors.codec import LatentCodec, PixelCodec
from scorefield.priors.denoiser import (
    Condition,
    ConditionedDenoiser,
    Denoiser,
    predict_together,
)
from scorefield.priors.empirical import EmpiricalPrior
from scorefield.priors.guidance import ClassifierFreeGuidance
from scorefield.priors.images import contact_sheet, load_image, save_gif, save_image
from scorefield.priors.judge import Judge, Verdict, frechet_distance
from scorefield.priors.levels import DiscreteSchedule, FlowSchedule, NoiseLevel, NoiseSchedule
from scorefield.priors.loading import EMBEDDED, PriorError, load_prior
from scorefield.priors.loop import NonFiniteError, Task, optimise
from scorefield.priors.mixture import GaussianMixturePrior
from scorefield.priors.noise import keyed_noise, noise_generator
from scorefield.priors.prediction import Prediction
from scorefield.priors.prior import FrozenPrior, ImagePrior
from scorefield.priors.runs import RunFolder
from scorefield.priors.sampling import sample
from scorefield.priors.text import TextEncoder

__all__ = [
    "EMBEDDED",
    "ClassifierFreeGuidance",
    "Condition",
    "ConditionedDenoiser",
    "Denoiser",
    "DiscreteSchedule",
    "EmpiricalPrior",
    "FlowSchedule",
    "FrozenPrior",
    "GaussianMixturePrior",
    "ImagePrior",
    "Judge",
    "LatentCodec",
    "NoiseLevel",
    "NoiseSchedule",
    "NonFiniteError",
    "PixelCodec",
    "Prediction",
    "PriorError",
    "RunFolder",
    "Task",
    "TextEncoder",
    "Verdict",
    "contact_sheet",
    "frechet_distance",
    "keyed_noise",
    "load_image",
    "load_prior",
    "noise_generator",
    "optimise",
    "predict_together",
    "sample",
    "save_gif",
    "save_image",
]
