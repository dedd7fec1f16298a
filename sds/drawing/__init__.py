"""Text to SVG: drawings distilled from a frozen prior."""

from scorefield.sds.drawing.augmentation import Augmentation, warp
from scorefield.sds.drawing.cleaning import cleaned
from scorefield.sds.drawing.distillation import TextToSvg, TextToSvgSettings
from scorefield.sds.drawing.drawing import Drawing, Rates
from scorefield.sds.drawing.evaluation import evaluate_drawings
from scorefield.sds.drawing.finish import finish_drawing, text_to_svg
from scorefield.sds.drawing.penalties import crossing_penalty, saturation_penalty
from scorefield.sds.drawing.styles import Icon, PixelArt, Sketch, Style
from scorefield.sds.drawing.trace import Rank, best_sample, rank_by_prior

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
