"""Text to SVG: drawings distilled from a frozen prior."""

from scorefield.sds.svg.augmentation import Augmentation, warp
from scorefield.sds.svg.cleaning import cleaned
from scorefield.sds.svg.distillation import TextToSvg, TextToSvgSettings
from scorefield.sds.svg.drawing import Drawing, Rates
from scorefield.sds.svg.evaluation import evaluate_drawings
from scorefield.sds.svg.finish import finish_drawing, text_to_svg
from scorefield.sds.svg.penalties import crossing_penalty, saturation_penalty
from scorefield.sds.svg.styles import Icon, PixelArt, Sketch, Style
from scorefield.sds.svg.trace import Rank, best_sample, rank_by_prior

__all__ = [
    "Augmentation",
    "Drawing",
    "Icon",
    "PixelArt",
    "Rank",
    "Rates",
    "Sketch",
    "Style",
    "TextToSvg",
    "TextToSvgSettings",
    "best_sample",
    "cleaned",
    "crossing_penalty",
    "evaluate_drawings",
    "finish_drawing",
    "rank_by_prior",
    "saturation_penalty",
    "text_to_svg",
    "warp",
]
