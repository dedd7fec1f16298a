"""The networks of the recipe before any training."""

from pathlib import Path

from scorefield.priors.training.codec import make_codec
from scorefield.priors.training.diffusion import TextToLatents
from scorefield.priors.training.shapes import save_shapes
from scorefield.priors.training.text_to_image import make_pipeline
from scorefield.priors.training.tokenizer import make_tokenizer


def untrained_shapes(folder: Path) -> Path:
    """A folder with a pipeline like that of `shapes`, of random weights."""
    tokenizer = make_tokenizer()
    return save_shapes(make_pipeline(make_codec(), TextToLatents(tokenizer), tokenizer), folder)
