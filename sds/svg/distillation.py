"""Text to SVG: a drawing optimised until all views of it please a frozen prior.

Jain et al. 2022, "VectorFusion: Text-to-SVG by Abstracting Pixel-Based Diffusion Models".
"""

import math
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from scorefield.devices import to_device
from scorefield.priors.noise import noise_generator
from scorefield.priors.prior import ImagePrior, check_is_prior
from scorefield.runs.job import run
from scorefield.runs.metrics import Metric
from scorefield.sds.distillation import Distillation, DistillationJob
from scorefield.sds.objective import PromptedDenoisers, to_config
from scorefield.sds.presets import settings_for
from scorefield.sds.svg.augmentation import warp
from scorefield.sds.svg.drawing import WHITE, Drawing
from scorefield.sds.svg.export import export_drawing
from scorefield.sds.svg.optimize import on_white, optimized
from scorefield.sds.svg.penalties import crossing_penalty, saturation_penalty
from scorefield.sds.svg.pixels import pixel_document
from scorefield.sds.svg.presets import PRESETS
from scorefield.sds.svg.settings import MOST_TRACED, TextToSvgSettings
from scorefield.sds.svg.styles import Icon, PixelArt, Style
from scorefield.sds.svg.trace import (
    best_sample,
    fitting_loss,
    fitting_size,
    layers,
    place,
)
from scorefield.sds.tracing.settings import TraceSettings
from scorefield.sds.tracing.trace import trace_image
from scorefield.sds.vector import Document, parse_svg, svg_text

__all__ = ["TextToSvg", "text_to_svg"]

PREVIEW = 256
"""Side of the previews, pixels."""

_START = -1
"""Key of what is drawn besides the numbers of the steps, which have 0 and above."""


class TextToSvg(DistillationJob):
    """A `Job`: it redraws a sample, then follows the prior, and writes the drawing.

    settings: what to draw, and how.
    prior: what it should look like.
    size: longer side of the final image, pixels.

    Raises:
        ValueError: words the prior does not know, a prompt the objective lacks, or a size that the
            codec does not divide.
    """

    def __init__(self, prior: ImagePrior, settings: TextToSvgSettings, size: int = 512) -> None:
        check_is_prior(prior)
        if size < 1:
            raise ValueError(f"size must be at least 1 pixel; got {size}")
        self.size = size
        self.settings = settings
        self.prior = prior
        settings.check_sizes(prior.image_size)
        # The weights of the penalties are for 1,024 latents, over which the loss is summed.
        self.weight = math.prod(prior.latent_shape) / 1024
        self.prompt = _put(settings, prior)
        self.distillation = Distillation(prior, settings)
        self.drawing = _begin(settings)
        self.target: Tensor | None = None
        self.redrawn = ""  # the target with few shapes, an SVG
        self.distillation.check(self.prompt)
        with torch.no_grad():  # and so is a rasteriser that is not there or cannot draw this
            self.drawing.render(8)

    @property
    def steps(self) -> int:
        """Updates of tracing and distillation together."""
        return self.settings.updates

    def denoisers(self) -> PromptedDenoisers:
        """The prior under the prompt, as it is put to it."""
        return self.distillation.denoisers(self.prompt)

    def step(self, step: int) -> Mapping[str, Metric]:
        """One update of the tracing, or of the distillation."""
        settings = self.settings
        if self.target is None and settings.samples_first:
            self.target = best_sample(
                self.prior,
                self.prompt,
                samples=settings.samples,
                seed=settings.seed,
                rank=settings.rank,
            )
            if settings.redraws:
                self._redraw(svg_text(_redrawn(self.target, settings.style)))
            elif isinstance(settings.style, PixelArt):
                side = settings.style.grid
                squares = settings.style.squares(F.adaptive_avg_pool2d(self.target, side))
                self.drawing.replace([], squares)
        done = step - (settings.updates - settings.distillation_steps)
        if done < 0 and self.target is not None:
            return self._trace(step, self.target)
        return self._distil(done, noise_generator(settings.seed, step))

    def _redraw(self, text: str) -> None:
        """Go on with a drawing of few opaque shapes; those of one colour share it."""
        document = parse_svg(text)
        known: dict[tuple[float, ...], Tensor] = {}
        for shape in document.shapes():
            if isinstance(shape.fill, Tensor):
                shape.fill = known.setdefault(tuple(shape.fill.tolist()), shape.fill)
        rates, rasterise = self.settings.style.rates, self.settings.rasterise
        self.drawing = Drawing(document, rates, opaque=True, rasterise=rasterise)
        self.redrawn = text

    def _trace(self, step: int, target: Tensor) -> Mapping[str, Metric]:
        settings, style = self.settings, self.settings.style
        assert isinstance(style, Icon)
        size = fitting_size(target)
        counts = layers(style.paths)
        for number, count in enumerate(counts):
            if step == number * settings.trace_steps // len(counts):
                with torch.no_grad():
                    image = self.drawing.render(target.shape[-1])
                shapes = place(style, image, target, count, settings.seed + number)
                self.drawing.add(shapes)
        fit = fitting_loss(self.drawing.render(size), target)
        self.drawing.update(fit + style.crossing * self._crossing())
        return {"fit": fit.detach(), "paths": float(len(self.drawing.shapes))}

    def _distil(self, step: int, generator: torch.Generator) -> Mapping[str, Metric]:
        settings, style = self.settings, self.settings.style
        progress = step / settings.distillation_steps
        if self._respawns(step):
            self._respawn(generator)
        size = settings.size_at(progress, self.prior.image_size)
        samples = 1 if size >= 256 else 2  # of a small view each pixel is the mean of several
        image = self.drawing.render(round(size * samples / settings.augmentation.crop))
        image = to_device(image, self.prior.device)
        homographies = settings.augmentation.draw(settings.views, generator)
        views = warp(image, homographies, size, WHITE, samples=samples)
        distilled, latents = self.distillation.look(views, self.denoisers(), progress, generator)
        loss = distilled.loss
        metrics: dict[str, Metric] = dict(distilled.metrics)
        if style.crossing:
            crossing = to_device(self._crossing(), self.prior.device)
            loss = loss + self.weight * style.crossing * crossing
            metrics["crossing"] = crossing.detach()
        if style.saturation:
            loss = loss + self.weight * style.saturation * saturation_penalty(views)
        factor = settings.refine_rate if settings.fits or settings.redraws else 1.0
        self.drawing.update(loss, factor * _rate(progress, settings.warmup))
        prompts = [self.prompt] * settings.views
        return {**metrics, **self.distillation.learn(latents, prompts, generator)}

    def _crossing(self) -> Tensor:
        return crossing_penalty([shape.geometry for shape in self.drawing.shapes])

    def _respawns(self, step: int) -> bool:
        settings = self.settings
        return bool(
            isinstance(settings.style, Icon)
            and not settings.given
            and not settings.samples_first
            and settings.respawn_every
            and step
            and step % settings.respawn_every == 0
            and step <= settings.respawn_until * settings.distillation_steps
        )

    def _respawn(self, generator: torch.Generator) -> None:
        """Replace paths that are faint or tiny by circles on top."""
        style = self.settings.style
        assert isinstance(style, Icon)
        gone = [number for number, shape in enumerate(self.drawing.shapes) if style.is_spent(shape)]
        shapes = [style.random(generator) for _ in gone]
        self.drawing.replace(gone, shapes)

    def preview(self, step: int) -> Float[Tensor, "3 height width"]:
        """The drawing as it is."""
        return self.drawing.render(PREVIEW)

    def state(self) -> dict[str, Any]:
        """Drawing, the sample that is traced and, if there is one, phi."""
        state: dict[str, Any] = {"drawing": self.drawing.state()}
        if self.target is not None:
            state["target"] = self.target
        if self.redrawn:
            state["redrawn"] = self.redrawn
        return {**state, **super().state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Inverse of `state`."""
        if state.get("redrawn"):
            self._redraw(state["redrawn"])
        self.drawing.load_state(state["drawing"])
        self.target = state.get("target")
        super().load_state(state)

    def config(self) -> dict[str, Any]:
        """All that the result depends on, as JSON values."""
        settings = self.settings
        return {
            **super().config(),
            "style": to_config(settings.style),
            "rank": to_config(settings.rank),
            "rasterise": settings.rasterise and type(settings.rasterise).__name__,
        }

    def finish(self, folder: Path, *, progress: bool = True) -> dict[str, Path]:
        """Write `final.svg`, `final.png` and what else `export_drawing` does.

        The drawing is cleaned of what cannot be seen, unless it was a user's, and titled.
        """
        settings, document = self.settings, self.drawing.document
        # Of a grid every square counts, the white ones too.
        if not (settings.given or isinstance(settings.style, PixelArt)):
            document = optimized(document)
        if settings.background:
            document = on_white(document)
        title = None if settings.given else settings.prompt
        return export_drawing(document, folder, size=self.size, traced=self.target, title=title)


def text_to_svg(
    prior: ImagePrior,
    prompt: str | TextToSvgSettings,
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    progress: bool = True,
    preview_every: int = 10,
    checkpoint_every: int = 100,
    size: int = 512,
) -> Path:
    """Distil a prompt into a drawing and write it as SVG; returns the folder.

    ``text_to_svg(load_prior("shapes"), "a yellow duck", "runs/duck")`` is all it takes. The folder
    is a run folder: killed at any moment, the same call with `resume` goes on.

    Args:
        prior: what it should look like.
        prompt: what to draw, or all settings.
        out: a new or empty folder, or with `resume` the folder of the same run.
        resume: go on with the run in the folder, if there is one.
        progress: whether to show progress on standard error.
        preview_every: a preview, and a frame of the animation, after every so many steps; 0 for
            neither.
        checkpoint_every: a checkpoint after every so many steps; 0 for the last only.
        size: longer side of `final.png`, pixels.

    Raises:
        ValueError: before anything starts: settings, words or folder are not accepted.
        NonFiniteError: on the way; the last checkpoint is kept.
    """
    run(
        TextToSvg(prior, settings_for(TextToSvgSettings, prompt, prior, PRESETS), size),
        out,
        resume=resume,
        progress=progress,
        preview_every=preview_every,
        checkpoint_every=checkpoint_every,
    )
    return Path(out)


def _put(settings: TextToSvgSettings, prior: ImagePrior) -> str:
    """The prompt as it is put to a prior: by the template, or the first way it knows."""
    if settings.template:
        return settings.template.replace("{}", settings.prompt)
    for template in settings.style.prompts:
        prompt = template.replace("{}", settings.prompt)
        try:
            prior.condition(prompt)
        except ValueError:  # a word that it does not know
            continue
        return prompt
    return settings.prompt


def _redrawn(image: Tensor, style: Style) -> Document:
    """A sample with few opaque shapes, or as pixel art."""
    if isinstance(style, PixelArt):
        return pixel_document(image, style.grid, style.colours)
    assert isinstance(style, Icon)
    paths = min(style.paths, MOST_TRACED)
    # what is faint or fine in a sample is its blur, not the thing
    return trace_image(image, TraceSettings(paths=paths, faint=2.0, tolerance=3.0))


def _begin(settings: TextToSvgSettings) -> Drawing:
    """The drawing as it is before the first step."""
    style = settings.style
    if settings.given:
        with warnings.catch_warnings():  # what is left out was said when the file was read
            warnings.simplefilter("ignore", UserWarning)
            document = parse_svg(str(settings.start))
        if next(document.shapes(), None) is None:
            raise ValueError("start holds no shapes; give an SVG with paths or basic shapes")
    else:
        generator = noise_generator(settings.seed, _START)
        shapes = [] if settings.samples_first else style.start(generator)
        document = Document(list[Any](shapes), style.view_box)
    varies = not settings.given
    return Drawing(
        document,
        style.rates,
        opaque=style.opaque,
        blank=style.blank if varies else None,
        rasterise=settings.rasterise,
    )


def _rate(progress: float, warmup: float) -> float:
    """Factor of the learning rates: linear from 0.02 to 1, then a cosine to 0.4."""
    if progress < warmup:
        return 0.02 + 0.98 * progress / warmup
    done = (progress - warmup) / max(1e-12, 1 - warmup)
    return 0.4 + 0.6 * 0.5 * (1 + math.cos(math.pi * done))
